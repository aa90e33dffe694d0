"""What a run directory tells is what the call told, word for word, whatever kind of run it was."""

import json

import dspy
import label_task
import pytest
from label_task import interrupt
from scripted_engine import scripted_lm

from dspy_gepa import GEPA, load_run, optimize_anything
from dspy_gepa.errors import GEPAError, WorkerError
from dspy_gepa.story.stored import story_in

TRAIN, VALIDATION = label_task.examples(12), label_task.examples(8)
HELD = [
    dspy.Example(message=f"Again the {topic}.", code=code).with_inputs("message")
    for topic, code in label_task.CODES.items()
]


class Broken(label_task.Counting):
    """A metric that cannot be called any more after some calls."""

    def __call__(self, gold, pred, trace=None):
        said = super().__call__(gold, pred, trace)
        if self.calls > 9:
            raise RuntimeError("no connection to the judge")
        return said


def scored(gold, pred, trace=None):
    """With objectives."""
    score, feedback = label_task.metric(gold, pred)
    objectives = {"short": float(len(pred.code) < 4), "right": score}
    return dspy.Prediction(score=score, feedback=feedback, objective_scores=objectives)


def unknowns(pairs):
    """A winner by something else than the score: as many unknown answers as can be."""
    return sum(prediction.code == "unknown" for _, prediction in pairs) / len(pairs)


KINDS = {
    "plain": {},
    "paper": {"search": "paper"},
    "aggregate": {"aggregate_metric": unknowns},
    "demonstrations": {"max_bootstrapped_demos": 2, "max_labeled_demos": 2},
    "objectives": {"metric": scored, "frontier_type": "objective"},
    "hybrid": {"metric": scored, "frontier_type": "hybrid", "objectives": {"short": "min"}},
    "held out": {"heldout": HELD},
    "seed returned": {
        "heldout": HELD,
        "if_no_evidence": "seed",
        "reflection_lm": lambda _prompt: "<new_text>Answer with a code.</new_text>",
    },
    "specialists": {"specialists": 2, "max_metric_calls": 120},
    "few calls": {"max_metric_calls": 20},
    "constraints": {"constraints": ["Names no customer."], "frozen": {"self": ["code"]}},
    "must pass": {"must_pass": HELD[:2]},
    "no merges": {"use_merge": False, "search": "paper"},
    "merges": {"use_merge": True, "search": "paper", "max_metric_calls": 160},
    "no examples": {"log_examples": False},
    "threads": {"num_threads": 3},
    "limit in tokens": {"max_total_tokens": 400},
    "limit in proposals": {"max_proposals": 2},
    "useless replies": {"reflection_lm": lambda _prompt: "no", "max_metric_calls": 10},
    "stopped": {"metric": label_task.Counting(12, interrupt)},
    "no member": {"metric": label_task.Counting(2, interrupt)},
    "scale of its own": {"perfect_score": 2.0, "failure_score": -1.0, "max_metric_calls": 60},
    "not the whole": {"perfect_score": None, "skip_perfect_score": False, "max_metric_calls": 60},
}


def compiled(folder, **asked):
    """The optimizer after a run in this directory."""
    given = {"max_metric_calls": 100, "num_threads": 1, "reflection_lm": label_task.reflection_lm()}
    metric = asked.pop("metric", label_task.metric)
    of_compile = {name: asked.pop(name) for name in ("heldout", "if_no_evidence") if name in asked}
    optimizer = GEPA(metric, log_dir=str(folder), **{**given, **asked})
    with dspy.context(lm=label_task.task_lm()):
        student = dspy.Predict("message -> code")
        optimizer.compile(student, TRAIN, VALIDATION, **of_compile)
    return optimizer


def assert_same(loaded, told):
    """That both say the same, in every way in which they can be asked."""
    assert repr(loaded) == repr(told)
    assert loaded._repr_html_() == told._repr_html_()
    assert loaded.to_dict() == told.to_dict()
    for name in ("returned", "tally", "aggregates", "verdict", "routing", "stop_reason"):
        if told.members or name != "returned":
            assert getattr(loaded, name) == getattr(told, name), name
    if told.members:
        assert loaded.diff() == told.diff()
        assert loaded.explain() == told.explain()


@pytest.mark.parametrize("kind", KINDS)
def test_the_directory_tells_what_the_call_told(kind, tmp_path):
    """Printed, in a notebook, as a dictionary, and asked for its parts."""
    told = compiled(tmp_path / "run", **KINDS[kind]).result
    assert_same(load_run(tmp_path / "run").result, told)


def test_so_does_that_of_a_run_that_was_carried_on(tmp_path):
    """With all that happened before, and both sessions."""
    folder = tmp_path / "run"
    compiled(folder, metric=label_task.Counting(12, interrupt))
    told = compiled(folder, metric=label_task.Counting()).result
    loaded = load_run(folder)
    assert_same(loaded.result, told)
    first, second = loaded.story.sessions
    assert first.metric_calls == 12
    assert first.metric_calls + second.metric_calls == told.tally.metric_calls
    assert loaded.story.spending.keys() >= {"validating the seed", "reflections"}


def test_an_outcome_is_not_that_of_what_came_after(tmp_path):
    """Where a run is carried on and killed, what is known of the end of the first part is over."""
    folder = tmp_path / "run"
    compiled(folder, max_metric_calls=12)
    assert load_run(folder).story.has_outcome
    outcome = (folder / "outcome.json").read_text()
    compiled(folder, max_metric_calls=100)
    (folder / "outcome.json").write_text(outcome)
    assert not load_run(folder).story.has_outcome


def test_fields_of_an_outcome_that_another_version_wrote_are_passed_over(tmp_path):
    """A directory of yesterday's version is read, whatever it knew beside."""
    folder = tmp_path / "run"
    result = compiled(folder, heldout=HELD).result
    told = story_in(folder)
    kept = json.loads((folder / "outcome.json").read_text())
    fields = kept["fields"]
    parts = (fields["story"], fields["story"]["afterwards"], fields["demo_tally"])
    for part in (*parts, fields["further_tally"], fields["verdict"]):
        part["of_another_version"] = 1
    (folder / "outcome.json").write_text(json.dumps(kept))
    assert told.has_outcome
    assert story_in(folder) == told
    assert_same(load_run(folder).result, result)


def test_so_does_that_of_a_run_that_was_killed_and_carried_on(tmp_path):
    """At any commit; before that, the directory of the dead run says that it died."""
    copying = label_task.Copying(tmp_path / "run")
    compiled(tmp_path / "run", observers=[copying])
    folder, _ = copying.copies[1]
    assert load_run(folder).story.status == "died"
    told = compiled(folder).result
    assert_same(load_run(folder).result, told)


@pytest.mark.parametrize("kind", ["broken", "vain"])
def test_so_does_that_of_a_call_that_an_error_ended(kind, tmp_path):
    """The optimizer's result and the directory's: neither says that it is under way."""
    asked = {
        "broken": {"metric": Broken()},
        "vain": {"reflection_lm": lambda _prompt: "no"},
    }[kind]
    given = {"max_metric_calls": 100, "num_threads": 1, "reflection_lm": label_task.reflection_lm()}
    metric = asked.pop("metric", label_task.metric)
    optimizer = GEPA(metric, log_dir=str(tmp_path / "run"), **{**given, **asked})
    with dspy.context(lm=label_task.task_lm()), pytest.raises(GEPAError):
        optimizer.compile(dspy.Predict("message -> code"), TRAIN, VALIDATION)
    assert optimizer.result.story.status != "under way"
    assert_same(load_run(tmp_path / "run").result, optimizer.result)


@pytest.mark.parametrize(
    "given", [{}, {"dataset": ["ab", "abc", "b"]}, {"dataset": ["ab", "b"], "testset": ["aab"]}]
)
def test_so_does_that_of_anything(given, tmp_path):
    """One text, a data set, and one with a test set, whose verdict is the run's."""

    def evaluator(artifact, example="aaa"):
        score = sum(letter in artifact for letter in example) / len(example)
        return score, f"It lacks {set(example) - set(artifact)}."

    told = optimize_anything(
        "x",
        evaluator,
        reflection_lm=label_task.saying("b", "ab", "abc"),
        max_evals=30,
        num_threads=1,
        log_dir=str(tmp_path / "run"),
        **given,
    )
    loaded = load_run(tmp_path / "run").result
    assert_same(loaded, told.run)
    assert loaded.story.has_outcome
    assert (loaded.verdict.kind == "not checked") == ("testset" not in given)


def test_a_run_that_broke_says_so(tmp_path):
    """Nothing is called done; what was spent is all there."""
    with pytest.raises(WorkerError):
        compiled(tmp_path / "run", metric=Broken())
    story = load_run(tmp_path / "run").story
    assert (story.status, story.has_outcome) == ("broke", False)
    assert story.total.metric_calls == load_run(tmp_path / "run").result.tally.metric_calls


def test_what_is_printed_holds_no_data(tmp_path):
    """At most 12 lines, without a word of examples, answers or feedback; without control signs."""
    ideas = scripted_lm("<new_text>Answer.\x1b]0;title\x07 Be short.</new_text>")
    result = compiled(tmp_path / "run", reflection_lm=ideas, max_metric_calls=60).result
    saved = load_run(tmp_path / "run")
    for shown in (result, saved, result.members[0], result.proposals, saved.result):
        assert repr(shown).count("\n") < 12
        assert "Something about" not in repr(shown)
        assert "means" not in repr(shown)
        assert "\x1b" not in repr(shown)
    assert "<script" not in result._repr_html_()
    assert "\x1b" not in result._repr_html_() + result.diff() + result.explain()
    assert json.loads(json.dumps(result.to_dict()))["schema"] == "dspy_gepa.run/2"
