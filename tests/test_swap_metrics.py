"""Metrics found in the wild, each through a whole `GEPA(...).compile`."""

import functools
import itertools
import json
from types import SimpleNamespace

import dspy
import numpy as np
import pytest
from dspy.evaluate import CompleteAndGrounded, SemanticF1, answer_exact_match, answer_passage_match
from scripted_engine import RateLimitError, answer, scripted_lm
from swap_task import CODES, LEARNED, compiled, examples, gepa, instructions, task_lm, task_reply

from dspy_gepa.errors import MetricError, WorkerError


def is_right(gold, pred):
    return gold.answer == pred.answer


def learned(optimizer, program=None, *, best=1.0, seed=0.0):
    """The improved program, where the run went as the metric says."""
    improved = compiled(optimizer, program)
    result = optimizer.result
    assert list(instructions(improved).values()) == [LEARNED]
    assert [result.mean_scores[0], result.mean_scores[result.best]] == pytest.approx([seed, best])
    return improved


class TestDspysOwn:
    """Metrics that DSPy ships, which dspy.GEPA refuses or never reflects on."""

    @pytest.mark.parametrize(
        "metric", [answer_exact_match, functools.partial(answer_exact_match, frac=0.9)]
    )
    def test_answer_exact_match(self, metric):
        """Its fourth parameter is a fraction, keeps its value, and the labels are the feedback."""
        optimizer = gepa(metric)
        learned(optimizer)
        (prompt,) = optimizer.reflection_lm.engine.prompts
        assert "Expected answer: " in prompt
        assert "Given answer: unknown" in prompt

    def test_answer_passage_match(self):
        """A metric of three parameters that reads what the program retrieved."""

        class Retrieving(dspy.Module):
            def __init__(self):
                super().__init__()
                self.answer = dspy.Predict("question -> answer")

            def forward(self, question):
                found = self.answer(question=question).answer
                return dspy.Prediction(answer=found, context=[f"The code is {found}."])

        learned(gepa(answer_passage_match), Retrieving())

    def test_semantic_f1(self):
        """A module with a model of its own scores by its measure and not by pass or fail."""
        metric = SemanticF1()

        def judge(prompt):
            given = prompt.rpartition("[[ ## ground_truth ## ]]")[2]
            truth, _, response = given.partition("[[ ## system_response ## ]]")
            part = 1.0 if truth.strip() in response else 0.6
            return answer(reasoning="so", recall=part, precision=part)

        metric.set_lm(scripted_lm(judge))
        program = dspy.ChainOfThought("question -> response")
        optimizer = gepa(metric, num_threads=4)
        learned(optimizer, program, seed=0.6)
        judged = metric.module.predict.lm.engine.prompts
        assert len(judged) == optimizer.result.tally.metric_calls
        assert "Expected response: " in optimizer.reflection_lm.engine.prompts[0]

    def test_complete_and_grounded(self):
        """Two model calls a judgement, made with the model that is configured."""

        class Grounded(dspy.Module):
            def __init__(self):
                super().__init__()
                self.respond = dspy.Predict("question -> response")

            def forward(self, question):
                found = self.respond(question=question).response
                return dspy.Prediction(response=found, context="A book of codes.")

        def reply(prompt):
            if "`groundedness`" not in prompt and "`completeness`" not in prompt:
                return task_reply(prompt)
            share = 0.5 if "unknown" in prompt.rpartition("system_response ## ]]")[2] else 1.0
            names = ("reasoning", "ground_truth_key_ideas", "system_response_key_ideas")
            more = ("system_response_claims", "discussion")
            return answer(
                **dict.fromkeys((*names, *more), "x"), completeness=share, groundedness=share
            )

        optimizer = gepa(CompleteAndGrounded())
        with dspy.context(lm=scripted_lm(reply)):
            improved = optimizer.compile(Grounded(), examples(8), examples(4))
        assert instructions(improved) == {"respond": LEARNED}
        assert optimizer.result.mean_scores == (0.5, 1.0)


class Exact:
    """A metric as an object, and as a method."""

    def __call__(self, gold, pred, trace=None):
        return is_right(gold, pred)

    def strictly(self, gold, pred, trace=None):
        return is_right(gold, pred)

    @staticmethod
    def at_rest(example, prediction, trace=None):
        return is_right(example, prediction)


def weighted(weight, gold, pred, trace=None):
    return weight * is_right(gold, pred)


def five(gold, pred, trace, pred_name, pred_trace):
    """As dspy.GEPA's protocol says, which gives 0 everywhere there, as nobody passes the others."""
    return dspy.Prediction(score=is_right(gold, pred), feedback=f"The answer is {gold.answer}.")


def anything(*args, **kwargs):
    assert not kwargs
    gold, pred = args
    return is_right(gold, pred)


@pytest.mark.parametrize(
    "metric",
    [
        functools.partial(weighted, 1.0),
        functools.partial(five, trace=None),
        Exact(),
        Exact().strictly,
        Exact.at_rest,
        lambda gold, pred: gold.answer == pred.answer,
        five,
        anything,
    ],
)
def test_whatever_can_be_called_is_a_metric(metric):
    """Partials, objects, methods, lambdas: none is given anything that it did not ask for."""
    learned(gepa(metric))


SCORES = {
    "bool": is_right,
    "numpy float": lambda gold, pred: np.float32(is_right(gold, pred)),
    "numpy int": lambda gold, pred: np.int64(is_right(gold, pred)),
    "numpy bool": lambda gold, pred: np.bool_(is_right(gold, pred)),
    "numpy mean": lambda gold, pred: np.mean([is_right(gold, pred)]),
    "dict": lambda gold, pred: {"score": is_right(gold, pred), "feedback": "look it up"},
    "Prediction": lambda gold, pred: dspy.Prediction(score=is_right(gold, pred)),
    "without feedback": lambda gold, pred: dspy.Prediction(
        score=is_right(gold, pred), feedback=None
    ),
    "object": lambda gold, pred: SimpleNamespace(score=is_right(gold, pred), feedback="no"),
}


@pytest.mark.parametrize("metric", SCORES.values(), ids=SCORES)
def test_every_form_of_score_is_a_plain_number(metric):
    """What the run reports can be written as JSON, whatever the metric returned."""
    optimizer = gepa(metric, track_stats=True)
    found = learned(optimizer).detailed_results
    assert found.val_subscores == [dict.fromkeys(range(4), 0.0), dict.fromkeys(range(4), 1.0)]
    assert json.loads(json.dumps(found.val_aggregate_scores)) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (["too short", "no code"], '["too short", "no code"]'),
        ({"code": "missing"}, '{"code": "missing"}'),
        (404, "404"),
        (dspy.Prediction(hint="look it up"), "look it up"),
        (None, "Expected answer: "),
        ("  ", "Expected answer: "),
    ],
    ids=repr,
)
def test_feedback_that_is_no_text_is_shown_all_the_same(said, shown):
    """(score, feedback) with lists, dicts and numbers; without words the labels stand in."""
    optimizer = gepa(lambda gold, pred: (is_right(gold, pred), said))
    learned(optimizer)
    assert shown in optimizer.reflection_lm.engine.prompts[0]


def test_one_object_that_is_always_returned_is_never_changed():
    """A metric may keep its verdicts and hand out the same ones again."""

    class Sealed(dspy.Prediction):
        def __setattr__(self, name, value):
            assert name.startswith("_"), f"{name} was set"
            super().__setattr__(name, value)

        def __setitem__(self, name, value):
            raise AssertionError(f"{name} was set")

    verdicts = {right: Sealed(score=float(right), feedback=None) for right in (False, True)}

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        return verdicts[is_right(gold, pred)]

    learned(gepa(metric))
    assert [dict(each) for each in verdicts.values()] == [
        {"score": 0.0, "feedback": None},
        {"score": 1.0, "feedback": None},
    ]


def test_a_judge_that_changes_its_mind_is_asked_once_a_rollout():
    """No pair of candidate and example is judged twice, so what was said stands."""
    moods, judged = itertools.cycle([0.1, 0.4, 0.2]), []
    judge = scripted_lm(lambda prompt: f"{next(moods)}")

    def metric(gold, pred, trace=None):
        mood = float(judge(f"How good is {pred.answer}?")[0])
        judged.append((gold.question, pred.answer))
        return min(1.0, mood + is_right(gold, pred))

    optimizer = gepa(metric, num_threads=1)
    compiled(optimizer)
    result = optimizer.result
    assert len(judged) == len(judge.history) == result.tally.metric_calls
    assert len(judged) == len(result.state.known) <= 80
    assert result.improved


def test_a_metric_that_asks_its_judge_again_has_scored():
    """It handles the outage of its own judge; the run goes on."""
    state = iter([True, False] * 500)

    def busy(prompt):
        if next(state):
            raise RateLimitError("busy")
        return "1"

    judge = scripted_lm(busy)

    def metric(gold, pred, trace=None):
        try:
            said = judge("?")
        except dspy.LMError:
            said = judge("again?")
        return float(said[0]) * is_right(gold, pred)

    learned(gepa(metric, num_threads=1))


class TestRange:
    """Scores outside of 0 to 1."""

    @pytest.mark.parametrize(
        ("seed", "best", "words"),
        [(-0.5, 0.5, ["failure_score=0", "-0.5"]), (0, 100, ["perfect_score=1", "100"])],
    )
    def test_outside_of_what_was_told_they_are_warned_of_once(self, seed, best, words, capsys):
        """A crash would count for more than an answer below the failure score; and percent, with
        the default of 1.0: whoever reads the log knows what to set."""
        given = {} if "perfect" in words[0] else {"failure_score": 0}
        optimizer = gepa(
            lambda gold, pred: best if is_right(gold, pred) else seed, num_threads=4, **given
        )
        learned(optimizer, seed=seed, best=best)
        (warning,) = warnings_in(capsys)
        assert all(word in warning for word in words)

    @pytest.mark.parametrize(
        ("seed", "best", "settings"),
        [
            (0.0, 1.0, {}),
            (-1.0, 0.0, {"perfect_score": 0.0}),
            (-1.0, 0.0, {"perfect_score": 0.0, "failure_score": -9.0}),
            (-0.5, 0.5, {}),
            (40, 100, {"perfect_score": 100.0}),
            (40, 100, {"perfect_score": None, "skip_perfect_score": False}),
        ],
        ids=["usual", "a loss", "a loss, with a failure", "below 0", "percent", "no perfect score"],
    )
    def test_within_what_was_told_nobody_is_warned(self, seed, best, settings, capsys):
        """And partial scores are learned from."""
        optimizer = gepa(lambda gold, pred: best if is_right(gold, pred) else seed, **settings)
        learned(optimizer, seed=seed, best=best)
        assert warnings_in(capsys) == []


def warnings_in(capsys):
    """Lines of the log at level WARNING about the range of scores."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if " WARNING " in line and "_score" in line]


def test_a_metric_that_raises_on_some_examples():
    """It is the failure score there, reflection is told why, and the run goes on."""
    calls = []

    def metric(gold, pred, trace=None):
        calls.append(gold)
        if "bill" not in gold.question:
            return is_right(gold, pred)
        return float({code: topic for topic, code in CODES.items()}[pred.answer] in gold.question)

    optimizer = gepa(metric, failure_score=-1.0, reflection_minibatch_size=8)
    learned(optimizer, seed=-0.25)
    assert "The metric raised KeyError: 'unknown'" in optimizer.reflection_lm.engine.prompts[0]
    assert len(calls) == optimizer.result.tally.metric_calls


def test_a_metric_that_raises_on_all_examples():
    """It is the metric that is at fault: the run stops and says what was raised."""

    def metric(gold, pred, trace=None):
        raise KeyError("no such code")

    optimizer = gepa(metric)
    with pytest.raises(
        WorkerError, match=r"each of the first 4 examples.*KeyError: 'no such code'"
    ):
        compiled(optimizer)
    assert optimizer.result.state.is_broken


def test_a_metric_sees_the_callers_settings_in_every_thread():
    """dspy.settings and dspy.context hold for the metric as they hold for the program."""
    seen = set()

    def metric(gold, pred, trace=None):
        seen.add((dspy.settings.lm, dspy.settings.house, dspy.settings.trace is None))
        with dspy.context(lm=None):
            assert dspy.settings.lm is None
        return is_right(gold, pred)

    lm, optimizer = task_lm(), gepa(metric, num_threads=8)
    with dspy.context(house="ours", lm=lm):
        optimizer.compile(dspy.Predict("question -> answer"), examples(8), examples(4))
    assert {each[:2] for each in seen} == {(lm, "ours")}
    assert optimizer.result.improved


def test_a_metric_that_runs_a_program_of_its_own_leaves_no_step_in_the_trace():
    """Its predictor has the student's very signature, and is none of the student's."""
    judge = dspy.Predict("question -> answer")
    traces = []

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        judge(question=gold.question)
        if pred_name:
            traces.append((len(trace), len(pred_trace)))
        return is_right(gold, pred), f"{pred_name}"

    learned(gepa(metric))
    assert set(traces) == {(1, 1)}


@pytest.mark.parametrize("returned", [None, float("nan"), "0.5", {"feedback": "no score"}])
def test_what_is_no_score_ends_the_run_with_metric_and_example(returned):
    """No value is made up; the error says what came and what may come."""

    def broken(gold, pred, trace=None):
        return returned

    with pytest.raises(MetricError, match=r"broken .* for trainset\[\d+\].*Return a finite number"):
        compiled(gepa(broken))
