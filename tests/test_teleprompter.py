"""`GEPA` as its users call it: a program and data go in, the program comes out improved."""

import copy
import pickle
from collections.abc import Sequence

import dspy
import label_task
import pytest
from label_task import LEARNED, TRAIN, VALIDATION, gepa
from scripted_engine import answer, scripted_lm

from dspy_gepa import GEPA
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.events import Ended, RolledOut
from dspy_gepa.errors import ReflectionError, SettingsError, WorkerError, WrongType

pytestmark = pytest.mark.usefixtures("label_task_configured")


def instructions(program):
    return {name: p.signature.instructions for name, p in program.named_predictors()}


def test_compile_improves_the_program_and_leaves_the_student_as_it_was(program):
    """The returned copy holds the better instruction; the student keeps its own."""
    before = instructions(program)
    improved = gepa().compile(program, TRAIN, VALIDATION)
    assert instructions(improved) == {"self": LEARNED}
    assert instructions(program) == before
    assert type(improved) is type(program)
    assert vars(improved).keys() == vars(program).keys()


def test_arguments_go_by_position_or_by_keyword(program):
    """`compile(student, trainset, valset)` is the same run either way."""
    by_position = gepa().compile(program, TRAIN, VALIDATION)
    by_keyword = gepa().compile(student=program, trainset=TRAIN, valset=VALIDATION)
    assert instructions(by_position) == instructions(by_keyword)


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_the_number_of_threads_does_not_change_the_result(program, num_threads):
    """1, 2 and 8 threads give the same candidates and scores."""
    optimizer = gepa(search="paper", num_threads=num_threads, track_stats=True)
    improved = optimizer.compile(program, TRAIN, VALIDATION)
    found = improved.detailed_results
    texts = [each["self"] for each in found.to_dict()["candidates"]]
    assert texts == [
        "Given the fields `message`, produce the fields `code`.",
        "Give the code. leak means M4; ship means Z9.",
        LEARNED,
    ]
    assert found.val_aggregate_scores == [0.0, 0.5, 1.0]
    assert found.parents == [[None], [0], [1]]


def test_the_ledger_equals_what_an_instrumented_metric_counts(program):
    """Every metric call is counted, and none is made beyond the limit."""
    for limit in (1, 7, 30, 55, 200):
        calls = []

        def counted(gold, pred, trace=None, calls=calls):
            calls.append(gold)
            return label_task.metric(gold, pred)

        optimizer = gepa(counted, max_metric_calls=limit)
        optimizer.compile(program, TRAIN, VALIDATION)
        assert optimizer.result.tally.metric_calls == len(calls) <= limit


def test_calls_for_predictor_feedback_are_counted_too(program):
    """A metric that declares pred_name is asked again, and the ledger says so."""
    calls = []

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        calls.append(pred_name)
        score, feedback = label_task.metric(gold, pred)
        return dspy.Prediction(score=score, feedback=feedback)

    optimizer = gepa(metric, max_metric_calls=60)
    optimizer.compile(program, TRAIN, VALIDATION)
    assert optimizer.result.tally.metric_calls == len(calls) <= 60
    assert "self" in calls


def test_track_stats_leaves_dspys_own_result_on_the_program(program):
    """`detailed_results` has every field of DSPy's result, and JSON saves do not carry it."""
    optimizer = gepa(search="paper", track_stats=True, track_best_outputs=True)
    improved = optimizer.compile(program, TRAIN, VALIDATION)
    found = improved.detailed_results
    assert isinstance(found, dspy.teleprompt.gepa.gepa.DspyGEPAResult)
    assert found.best_idx == 2
    assert instructions(found.best_candidate) == {"self": LEARNED}
    assert found.val_subscores[2] == dict.fromkeys(range(8), 1.0)
    assert found.per_val_instance_best_candidates[0] == {2}
    assert [(k, output.code) for k, output in found.best_outputs_valset[0]] == [(2, "Q7")]
    assert found.total_metric_calls == optimizer.result.tally.metric_calls
    assert found.num_full_val_evals == 3
    assert found.seed == 0
    assert [name for name, _ in improved.named_predictors()] == ["self"]


def test_without_a_validation_set_the_training_set_serves_and_is_paid_once(program):
    """One set for both: no example is run twice with the same candidate."""
    optimizer = gepa()
    optimizer.compile(program, TRAIN)
    known = optimizer.result.state.known
    assert optimizer.result.tally.rollouts == len(known)


def test_no_budget_means_light(program):
    """Without any budget the limit is that of auto="light"."""
    optimizer = GEPA(label_task.metric, reflection_lm=label_task.reflection_lm())
    optimizer.compile(program, TRAIN, VALIDATION)
    with_light = GEPA(label_task.metric, auto="light", reflection_lm=label_task.reflection_lm())
    with_light.compile(program, TRAIN, VALIDATION)
    limits = optimizer.result.state.settings.limits
    assert limits == with_light.result.state.settings.limits == Limits(metric_calls=166)


def test_the_configured_model_reflects_where_no_other_is_given(program):
    """Without reflection_lm the LM that DSPy has configured writes the texts."""

    def reply(prompt):
        if "[[ ## message ## ]]" in prompt and "<new_text>" not in prompt:
            return answer(code="Q7" if "always Q7" in prompt else "unknown")
        return "<new_text>Say always Q7.</new_text>"

    with dspy.context(lm=scripted_lm(reply)):
        improved = gepa(reflection_lm=None).compile(
            program, label_task.examples(6, ("bill",)), label_task.examples(4, ("bill",))
        )
    assert instructions(improved) == {"self": "Say always Q7."}


@pytest.mark.parametrize("strategy", ["pareto", "current_best", "epsilon_greedy", "top_k_pareto"])
@pytest.mark.parametrize("selector", ["round_robin", "all"])
def test_every_named_strategy_runs(program, strategy, selector):
    """All names that the constructor takes lead to the better program."""
    optimizer = gepa(candidate_selection_strategy=strategy, component_selector=selector)
    improved = optimizer.compile(program, TRAIN, VALIDATION)
    assert instructions(improved) == {"self": LEARNED}


def test_strategies_may_be_functions(program):
    """A function selects the parent, from the second proposal on; another the components."""
    seen = []

    def newest(view, random):
        seen.append(view.ticket)
        return len(view.candidates) - 1

    def first_called(view):
        return view.called[:1]

    optimizer = gepa(
        search="paper", candidate_selection_strategy=newest, component_selector=first_called
    )
    improved = optimizer.compile(program, TRAIN, VALIDATION)
    assert instructions(improved) == {"self": LEARNED}
    assert seen == [2]


def test_only_the_component_that_is_rewritten_changes():
    """Round robin rewrites one component a proposal; all rewrites both at once."""
    one = gepa(component_selector="round_robin", track_stats=True)
    program = label_task.Pipeline()
    first = one.compile(program, TRAIN, VALIDATION)
    before = instructions(program)
    changed = [
        [name for name in before if texts["candidates"][1][name] != before[name]]
        for texts in [first.detailed_results.to_dict()]
    ]
    assert changed in ([["draft"]], [["final"]])
    both = gepa(component_selector="all")
    second = both.compile(program, TRAIN, VALIDATION)
    assert instructions(second) == {"draft": LEARNED, "final": LEARNED}


def test_a_budget_below_the_floor_warns_and_holds(program, capsys):
    """The warning names the floor, and what fits is done."""
    optimizer = gepa(max_metric_calls=5)
    optimizer.compile(program, TRAIN, VALIDATION)
    assert optimizer.result.tally.metric_calls <= 5
    assert "5 metric calls is below the useful floor of 83" in capsys.readouterr().err


def test_a_budget_in_rollouts_is_told_in_rollouts(program, capsys):
    """Not in metric calls, of which there are enough."""
    optimizer = gepa(max_metric_calls=300, max_rollouts=30)
    optimizer.compile(program, TRAIN, VALIDATION)
    assert "30 rollouts is below the useful floor of 83" in capsys.readouterr().err
    assert " of 30 rollouts, " in optimizer.result.stop_reason


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"auto": "light", "max_metric_calls": 9}, SettingsError, "2 budgets"),
        ({"auto": "light", "max_full_evals": 1}, SettingsError, "3 budgets"),
        ({"auto": "tiny", "max_metric_calls": None}, SettingsError, "'tiny'"),
        ({"max_metric_calls": 0}, SettingsError, "max_metric_calls=0"),
        ({"max_metric_calls": 2.5}, WrongType, "max_metric_calls=2.5"),
        ({"reflection_minibatch_size": 0}, SettingsError, "reflection_minibatch_size=0"),
        ({"num_threads": 0}, SettingsError, "num_threads=0"),
        ({"candidate_selection_strategy": "best"}, SettingsError, "'best'"),
        ({"component_selector": "first"}, SettingsError, "'first'"),
        ({"component_selector": 3}, WrongType, "3 was given"),
        ({"perfect_score": "1"}, WrongType, "perfect_score is '1'"),
        ({"perfect_score": float("inf")}, SettingsError, "perfect_score is inf"),
        ({"perfect_score": None}, SettingsError, "skip_perfect_score=False"),
        ({"failure_score": "low"}, WrongType, "failure_score is 'low'"),
        ({"failure_score": float("-inf")}, SettingsError, "failure_score is -inf"),
        ({"failure_score": float("nan")}, SettingsError, "failure_score is nan"),
        ({"track_best_outputs": True, "track_stats": False}, SettingsError, "track_stats=True"),
        ({"metric": "label_task.metric"}, WrongType, "'label_task.metric'"),
        ({"metric": lambda gold: 1.0}, WrongType, "gold"),
    ],
)
def test_a_bad_argument_is_refused_in_the_constructor(settings, error, words):
    """The message names what was given; nothing is spent."""
    with pytest.raises(error, match=words.replace("(", r"\(")):
        gepa(**{"auto": None, **settings})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"trainset": []}, SettingsError, "[Tt]rainset"),
        ({"trainset": None}, SettingsError, "[Tt]rainset"),
        ({"trainset": [dspy.Example(message="a", code="b")]}, SettingsError, "with_inputs"),
        ({"trainset": [{"message": "a"}]}, WrongType, r"trainset\[0\] is a dict"),
        ({"valset": [dspy.Example(message="a", code="b")]}, SettingsError, r"valset\[0\]"),
        ({"student": dspy.Module()}, SettingsError, "predictor"),
        ({"student": dspy.Predict}, WrongType, "Predict"),
    ],
)
def test_a_bad_argument_is_refused_before_any_call(program, arguments, error, words):
    """compile fails before it asks a model or a metric anything."""
    lm = label_task.task_lm()
    calls = []
    optimizer = gepa(lambda gold, pred: calls.append(gold))
    given = {"student": program, "trainset": label_task.examples(6), **arguments}
    with dspy.context(lm=lm), pytest.raises(error, match=words):
        optimizer.compile(**given)
    assert (lm.history, calls) == ([], [])


def test_no_reflection_model_anywhere_is_an_error(program):
    """Neither an argument nor a configured LM: said before anything is spent."""
    with dspy.context(lm=None), pytest.raises(SettingsError, match="reflection_lm"):
        gepa(reflection_lm=None).compile(program, label_task.examples(6))


def test_a_program_without_a_model_stops_the_run_with_its_cause(program):
    """No LM for the task is no score of 0: the run ends with the reason."""
    with dspy.context(lm=None), pytest.raises(WorkerError, match="LM"):
        gepa().compile(program, label_task.examples(6))


def test_reflections_that_never_work_are_an_error(program):
    """Paying for reflections that give nothing is not returned as success."""
    silent = scripted_lm("I cannot help with that.")
    with pytest.raises(ReflectionError, match="reflection_lm"):
        gepa(reflection_lm=silent).compile(program, TRAIN)


def test_ctrl_c_returns_the_best_program_so_far(program):
    """The first interrupt ends the run; the best member is returned."""

    class WhileWaiting:
        """Interrupts as a terminal does: while the run waits for an answer."""

        def __call__(self, gold, pred, trace=None):
            if self.is_due():
                raise KeyboardInterrupt
            return label_task.metric(gold, pred)

        def is_due(self):
            return self.members >= 2

        members = 0

        def observe(self, event, state):
            self.members = len(state.members)

    metric = WhileWaiting()
    optimizer = gepa(metric, search="paper", num_threads=1, observers=[metric.observe])
    improved = optimizer.compile(program, TRAIN, VALIDATION)
    assert instructions(improved) == {"self": "Give the code. leak means M4; ship means Z9."}
    assert "interrupted" in optimizer.result.stop_reason


def test_an_observer_sees_every_event_and_a_broken_one_disturbs_nothing(program, caplog):
    """Events come in order and end with Ended; an observer that raises is told no more."""
    seen = []

    def broken(event, state):
        seen.append("broken")
        raise RuntimeError("no")

    optimizer = gepa(observers=[broken, lambda event, state: seen.append(event)])
    improved = optimizer.compile(program, TRAIN, VALIDATION)
    assert instructions(improved) == {"self": LEARNED}
    assert seen.count("broken") == 1
    assert isinstance(seen[-1], Ended)
    rollouts = sum(isinstance(event, RolledOut) for event in seen)
    assert rollouts == optimizer.result.tally.rollouts


def test_the_plan_tells_costs_before_anything_is_spent(program, capsys):
    """The cost of the program as it is, of a proposal, how many fit, and a warning below the floor;
    both searches, and no model is asked."""
    val = label_task.examples(52)[12:]
    lm = label_task.reflection_lm()
    with dspy.context(lm=None):
        plan = gepa(max_metric_calls=200, reflection_lm=lm).plan(program, TRAIN, val)
        paper = gepa(max_metric_calls=60, search="paper", reflection_lm=lm).plan(
            program, TRAIN, val
        )
    printed = capsys.readouterr().out
    assert str(plan) in printed
    assert "program as it is       10 metric calls" in printed
    assert (plan.warning, plan.forecast.proposals) == ("", (7, 47))
    assert paper.forecast.seed.metric_calls == 40
    assert "below the useful floor of 178" in paper.warning
    assert str(paper) in printed


def test_a_larger_budget_may_widen_the_window_of_a_run_that_goes_on(program, tmp_path):
    """The window follows from the budget by default, and is no reason to refuse a directory."""
    val = label_task.examples(52)[12:]
    for calls in (30, 900):
        optimizer = gepa(max_metric_calls=calls, log_dir=str(tmp_path))
        optimizer.compile(program, TRAIN, val)
    assert optimizer.result.state.settings.window == 2


def test_an_example_may_be_run_several_times(program):
    """Each of its rollouts counts, and has a score of its own."""
    optimizer = gepa(max_metric_calls=60, rollouts_per_example=3)
    optimizer.compile(program, label_task.examples(6), label_task.examples(10)[6:])
    result = optimizer.result
    assert result.standings[result.best].examples == 12
    assert result.tally.rollouts <= 60


class Lazy(Sequence):
    """A data set that makes an example whenever it is asked for one, as those on disk do."""

    def __init__(self, examples):
        self._rows = [dict(example) for example in examples]

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, position):
        return dspy.Example(**self._rows[position]).with_inputs("message")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("given", [Lazy, iter], ids=["lazy", "iterator"])
def test_examples_may_be_made_as_they_are_asked_for(program, given, times):
    """The run is that of the same examples in lists, each set with its own."""
    train, val = TRAIN, VALIDATION
    settings = {"max_metric_calls": 90, "rollouts_per_example": times}

    def run(trainset, valset):
        asked = []

        def metric(gold, pred, trace=None):
            asked.append(gold.message)
            return label_task.metric(gold, pred)

        anchors = [dspy.Example(message="About the bill.", code="Q7").with_inputs("message")]
        optimizer = gepa(metric, num_threads=1, must_pass=anchors, **settings)
        optimizer.compile(program, trainset, valset)
        return asked, optimizer.result.mean_scores

    assert run(given(train), given(val)) == run(train, val)
    assert run(given(train), None) == run(train, None)


class TestAttributes:
    """Arguments are attributes too, and a name that looks like one is not taken in silence."""

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("max_metric_callz", "'max_metric_calls'"),
            ("reflection_lms", "'reflection_lm'"),
            ("num_thread", "'num_threads'"),
            ("Seed", "'seed'"),
            ("minibatch_size", "'reflection_minibatch_size'"),
            ("num_evals", "'max_metric_calls' here"),
            ("error_score", "'failure_score'"),
            ("trainset", "compile has it"),
            ("cache_evaluation", "gepa_kwargs has it"),
        ],
    )
    def test_a_misspelt_one_is_answered_as_in_the_constructor(self, name, words):
        """With the nearest names, and nothing is set."""
        optimizer = GEPA(label_task.metric)
        with pytest.raises(WrongType, match=words):
            setattr(optimizer, name, 5)
        assert name not in vars(optimizer)

    @pytest.mark.parametrize(
        "name",
        [
            *("name", "notes", "tags", "owner", "run_id", "_max_rollout"),
            *("examples", "wandb", "text", "candidate", "fitness", "threshold"),
        ],
    )
    def test_a_note_of_ones_own_is_kept(self, name):
        """What is like no argument changes nothing, and nobody would think that it did."""
        optimizer = GEPA(label_task.metric)
        setattr(optimizer, name, "mine")
        assert getattr(optimizer, name) == getattr(copy.copy(optimizer), name) == "mine"

    def test_a_class_of_ones_own_has_what_attributes_it_likes(self):
        """Before and after the constructor."""

        class Own(GEPA):
            max_call = 3

            def __init__(self, metric):
                self.metrics = [metric]
                super().__init__(metric)
                self.max_metric_callz = 5

        own = Own(label_task.metric)
        own.seeds = [1, 2]
        assert (own.max_metric_callz, own.max_call, own.metrics, own.seeds) == (
            5,
            3,
            [label_task.metric],
            [1, 2],
        )

    def test_copies_and_pickles_obey_too(self):
        """They know the same arguments."""
        optimizer = GEPA(label_task.metric, max_metric_calls=7)
        for one in (
            copy.copy(optimizer),
            copy.deepcopy(optimizer),
            pickle.loads(pickle.dumps(optimizer)),
        ):
            assert one.max_metric_calls == 7
            one.max_metric_calls = 8
            with pytest.raises(WrongType, match="max_metric_calls"):
                one.max_metric_callz = 5
        assert optimizer.max_metric_calls == 7

    def test_the_metric_is_one_too(self):
        """Under both names, and checked."""
        optimizer = GEPA(label_task.metric)
        optimizer.metric = other = lambda gold, pred: 1.0
        assert optimizer.metric is optimizer.metric_fn is other
        with pytest.raises(SettingsError):
            optimizer.metric = 3

    def test_methods_can_be_replaced(self, monkeypatch):
        """As tools that watch optimizers do."""
        optimizer = GEPA(label_task.metric)
        monkeypatch.setattr(optimizer, "compile", lambda *_: "watched")
        assert optimizer.compile() == "watched"
