"""Specialists: chosen, filled within the budget, routed to where that helps, saved and loaded."""

import dspy
import label_task
import numpy as np
import pytest
from scripted_engine import new_texts, scripted_lm
from warm_python import ALONE

from dspy_gepa import GEPA, Specialists, load_run
from dspy_gepa.errors import SettingsError
from dspy_gepa.specialists.routing import Routing

TOPICS = ("bill", "lock")


def shown(topic, number):
    """An example whose words tell its kind, and nothing else."""
    words = {"bill": "money invoice refund bill", "lock": "door key entry lock"}[topic]
    code = label_task.CODES[topic]
    message = f"{words} case{number}"
    return dspy.Example(message=message, code=code).with_inputs("message")


def examples(first, count):
    return [shown(TOPICS[n % 2], n) for n in range(first, first + count)]


TRAIN, VALIDATION, TEST = examples(0, 20), examples(20, 40), examples(60, 40)


def forgetful_lm():
    """A model that writes one rule alone, of the kind that its prompt shows failing."""
    written = []

    def reply(prompt):
        topic = TOPICS[len(written) % 2]
        written.append(topic)
        return new_texts(prompt, f"Rule {len(written)}: {topic} means {label_task.CODES[topic]}.")

    return scripted_lm(reply)


class Counting:
    """The metric, with its calls."""

    __name__ = "counting"

    def __init__(self):
        self.calls = 0

    def __call__(self, gold, pred, trace=None):
        self.calls += 1
        return float(gold.code == pred.code), "It is another code."


def compiled(metric=None, lm=None, heldout=None, **settings):
    """The program and the result."""
    lm = lm or forgetful_lm()
    given = {"max_metric_calls": 400, "specialists": 2, "num_threads": 1}
    given |= {"reflection_lm": lm, "use_merge": False, **settings}
    optimizer = GEPA(metric or Counting(), **given)
    with dspy.context(lm=label_task.task_lm()):
        program = optimizer.compile(
            dspy.Predict("message -> code"), TRAIN, VALIDATION, heldout=heldout
        )
    return program, optimizer.result


def score(program, of=TEST):
    with dspy.context(lm=label_task.task_lm()):
        return sum(program(message=each.message).code == each.code for each in of) / len(of)


@pytest.fixture(scope="module")
def specialized():
    """The metric, the program and the result of one search."""
    metric = Counting()
    return metric, *compiled(metric)


def test_two_kinds_of_inputs_get_two_members(specialized):
    """What is said to be gained is gained on inputs that nobody saw."""
    metric, program, result = specialized
    routing = result.routing
    assert routing.chooser == "nearest"
    assert isinstance(program, Specialists)
    assert routing.evidence
    assert len(routing.members) == 2
    assert sorted(routing.shares.values()) == [0.5, 0.5]
    assert score(program) == 1.0
    assert routing.gain == pytest.approx(0.5, abs=0.05)
    assert 0 < routing.low < 0.5 < routing.high
    assert "stores the inputs" in str(routing)
    assert metric.calls == result.tally.metric_calls <= 400


@pytest.mark.parametrize("budget", [60, 90, 120])
def test_the_limit_holds(budget):
    """Their missing scores are held for beforehand."""
    metric = Counting()
    program, result = compiled(metric, max_metric_calls=budget)
    assert metric.calls == result.tally.metric_calls <= budget
    assert str(result.routing)
    assert score(program) >= 0.0


def test_the_plan_shows_them():
    """One validation set for each beside the first, and one more where all are run."""
    with dspy.context(lm=label_task.task_lm()):
        for chooser, count in (("nearest", 80), ("vote", 120)):
            optimizer = GEPA(Counting(), max_metric_calls=420, specialists=3, chooser=chooser)
            plan = optimizer.plan(dspy.Predict("message -> code"), TRAIN, VALIDATION, TEST)
            # And a third of what is left to search with, for what the best one fails.
            held = count + (420 - 80 - count) // 3
            assert plan.specialists == held
            assert plan.forecast.settings.limits.metric_calls == 420 - 80 - held
            assert f"specialists            up to {held} metric calls more" in str(plan)


def test_one_kind_of_input_keeps_the_single_best():
    """A plain copy of the student comes back, and the sentence says why."""
    program, result = compiled(lm=label_task.saying("bill means Q7. lock means K2."))
    assert type(program) is dspy.Predict
    assert not result.routing.evidence
    assert result.routing.members == (result.best,)
    assert str(result.routing).startswith("the single best program")


def test_the_verdict_is_on_what_is_returned_and_the_same_call_pays_once(tmp_path):
    """The specialists as a whole are run on the held-out examples; filled scores are kept, so that
    a second call asks for nothing."""
    first, second = Counting(), Counting()
    program, result = compiled(first, log_dir=tmp_path, heldout=TEST)
    assert (result.verdict.kind, result.verdict.best_score) == ("better", 1.0)
    assert result.verdict.returned == "best"
    again, result_again = compiled(second, log_dir=tmp_path, heldout=TEST)
    assert second.calls == 0
    assert result_again.tally == result.tally
    assert result_again.routing.members == result.routing.members
    assert [p.signature.instructions for _, p in again.named_predictors()] == [
        p.signature.instructions for _, p in program.named_predictors()
    ]


def test_a_finished_run_gives_them_without_a_rollout(tmp_path):
    """From the scores that the search left; of a run that was loaded, given its examples."""
    student = dspy.Predict("message -> code")
    metric = Counting()
    # The published search validates every member on all examples.
    _, result = compiled(metric, specialists=None, search="paper", log_dir=tmp_path)
    calls = metric.calls
    assert result.routing is None
    program = result.specialists(student, most=2)
    assert metric.calls == calls
    assert result.routing.evidence
    assert score(program) == 1.0
    run = load_run(tmp_path)
    loaded = run.specialists(student, VALIDATION[::-1], most=2)
    assert run.result.routing == result.routing
    assert score(loaded) == 1.0
    run.specialists(student, VALIDATION, most=2, chooser="lm")
    assert "not by a model" in str(run.result.routing)
    with pytest.raises(SettingsError, match="load_run"):
        load_run(tmp_path).result.specialists(student)
    with pytest.raises(SettingsError, match="valset"):
        run.specialists(student, VALIDATION[1:])
    for wrong in ({"most": 1}, {"most": True}, {"chooser": "vote"}, {"chooser": "best"}):
        with pytest.raises(SettingsError):
            result.specialists(student, **wrong)


def test_texts_and_table_are_saved_and_loaded(specialized, tmp_path):
    """By DSPy's own `save` and `load`, into a module that was made from the student alone."""
    _, program, _ = specialized
    program.save(str(tmp_path / "routed.json"))
    assert "money invoice" in (tmp_path / "routed.json").read_text()
    loaded = Specialists(dspy.Predict("message -> code"))
    loaded.load(str(tmp_path / "routed.json"))
    assert len(loaded.members) == 2
    assert score(loaded) == 1.0
    assert loaded.dump_state() == program.dump_state()
    loaded.save(str(tmp_path / "again.json"))
    assert (tmp_path / "again.json").read_text() == (tmp_path / "routed.json").read_text()


LOADING = """
import dspy
program = dspy.load(sys.argv[1], allow_pickle=True)
lm = dspy.utils.DummyLM([{"code": "x"}] * 9)
with dspy.context(lm=lm):
    print(program(message="money invoice").code, program.chosen(message="a refund of the bill"))
    print(program.chosen(message="my door key"))
program.save(sys.argv[2], save_program=True)
print(dspy.load(sys.argv[2], allow_pickle=True).chosen(message="my door key"))
assert not any(name.startswith("dspy_gepa.") for name in sys.modules)
"""


def test_a_whole_program_is_loaded_without_this_package(specialized, tmp_path, warm_python):
    """Where importing it fails, it routes as it does here, and can be saved again."""
    _, program, _ = specialized
    program.save(str(tmp_path / "whole"), save_program=True)
    places = (tmp_path / "whole", tmp_path / "again")
    done = warm_python.run(ALONE + LOADING, *places, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    bill, lock = program.chosen(message="refund of the bill"), program.chosen(message="door key")
    assert done.stdout.split() == ["x", str(bill), str(lock), str(lock)]


@pytest.mark.parametrize("chooser", ["vote", "judge", "lm"])
def test_every_chooser_can_be_asked_for(chooser):
    """What they bring is measured within the budget; the calls are counted."""
    metric = Counting()
    _, result = compiled(metric, chooser=chooser)
    assert result.routing.chooser == chooser
    assert metric.calls == result.tally.metric_calls <= 400
    assert str(result.routing)


@pytest.mark.parametrize(
    "settings",
    [
        {"specialists": 1},
        {"specialists": "3"},
        {"chooser": "nearby"},
        {"max_bootstrapped_demos": 2},
        {"max_metric_calls": 40},
    ],
)
def test_what_cannot_be_is_refused(settings):
    """Before anything is spent."""
    metric = Counting()
    with pytest.raises(SettingsError):
        compiled(metric, **settings)
    assert metric.calls == 0


def test_images_are_not_compared_as_text():
    """Only what they are counts, and no encoded content is stored."""
    from dspy_gepa.specialists.choosers import inputs_as_text

    image = dspy.Image("data:image/png;base64,QUJD")
    words = inputs_as_text((), {"page": image, "notes": ["a", {"b": 2}], "n": np.int64(3)})
    assert words == "n: 3\nnotes: a b: 2\npage: <Image>"


@pytest.mark.parametrize(
    ("chooser", "words"),
    [
        ("nearest", ["chosen by the scores on the others.", "60% to member 0, 40% to member 2."]),
        ("function", ["chosen by the function.", "60% to member 0, 40% to member 2."]),
        ("lm", ["by the scores on the others, and not by a model", "60% to member 0"]),
        ("vote", ["the most frequent answer counted.", "all of them: members 0, 2."]),
        ("judge", ["the answer that the judge chose counted.", "all of them: members 0, 2."]),
    ],
)
@pytest.mark.parametrize("evidence", [True, False])
def test_a_routing_says_how_its_gain_was_measured_and_who_answers(chooser, words, evidence):
    """Whatever chooses; without evidence nobody is routed to."""
    measured = {"gain": 0.19, "low": 0.05, "high": 0.31, "n": 36, "chooser": chooser}
    routing = Routing(evidence=evidence, members=(0, 2), shares={0: 0.6, 2: 0.4}, **measured)
    how, who = words
    beginning = "2 specialists" if evidence else "the single best program"
    assert str(routing).startswith(beginning)
    assert "+0.19 (estimate: +0.05 to +0.31) against the best member alone" in str(routing)
    assert how in str(routing)
    assert (who in str(routing)) == evidence
