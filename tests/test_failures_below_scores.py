"""A rollout that fails never counts as better than one that worked, whatever the scores are."""

import itertools
import json
import logging
import zlib
from statistics import fmean

import dspy
import numpy as np
import pytest
from label_task import saying
from scripted_engine import answer, new_texts, scripted_lm

from dspy_gepa import GEPA, load_run
from dspy_gepa.command.main import main
from dspy_gepa.core.comparing import comparable, scored_beside
from dspy_gepa.core.frontier import with_failures_assumed
from dspy_gepa.core.rollout import Rollout

FAR, NEAR, CRASHING, FALTERING = "Add five.", "Add one.", "Say nothing.", "Say little."
ROWS = [dspy.Example(number=n, answer=n).with_inputs("number") for n in range(10)]
SCALES = {
    "best is 0, as named": {"perfect_score": 0.0},
    "best is 0, not named": {},
    "no best": {"perfect_score": None, "skip_perfect_score": False},
    "the published search": {"search": "paper"},
    "one at a time": {"num_threads": 1, "window": 1},
    "four at once": {"num_threads": 4, "window": 4},
}


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.add = dspy.Predict(dspy.Signature("number: int -> answer: int", FAR))

    def forward(self, number):
        return self.add(number=number)


def task_lm():
    """Is five or one above the number, as it is told; or cannot be read."""

    def reply(prompt):
        number = int(prompt.rsplit("[[ ## number ## ]]", 1)[1].split()[0])
        if CRASHING in prompt or (FALTERING in prompt and number % 2):
            return "No idea."
        return answer(answer=number + (1 if NEAR in prompt else 5))

    return scripted_lm(reply)


def distance(gold, pred, trace=None):
    return -abs(gold.answer - pred.answer)


def optimized(*texts, metric=distance, compiled_with=(), **settings):
    """The instruction that is returned where a reflection says these in turn, and the result."""
    settings = {"max_metric_calls": 120, "progress": "off", **settings}
    optimizer = GEPA(metric, reflection_lm=saying(*texts), **settings)
    with dspy.context(lm=task_lm()):
        program = optimizer.compile(Program(), trainset=ROWS, valset=ROWS, **dict(compiled_with))
    return program.add.signature.instructions, optimizer.result


@pytest.mark.parametrize("settings", SCALES.values(), ids=SCALES)
class TestNegativeScores:
    """A metric that is a distance turned round."""

    def test_a_text_that_always_fails_is_not_kept(self, settings):
        """Though 0, what a failure counts as by default, is the best that there could be."""
        text, result = optimized(CRASHING, **settings)
        assert text == FAR
        assert not result.improved

    def test_what_really_gains_is_found_after_it(self, settings):
        """It is not held up by what failed before."""
        text, result = optimized(CRASHING, FALTERING, NEAR, **settings)
        assert text == NEAR
        assert result.mean_scores[result.best] == -1

    def test_a_text_that_sometimes_fails_is_not_kept(self, settings):
        """Nor is its mean, of the answers that it gave, what it is shown with as a gain."""
        text, _ = optimized(FALTERING, **settings)
        assert text == FAR


@pytest.mark.parametrize("texts", [(FAR, NEAR), (FAR,)], ids=["far and near", "far alone"])
def test_a_program_that_fails_can_be_mended(texts):
    """Its honest answers count for more than failures, however far they are below 0."""
    program = Program()
    program.add.signature = program.add.signature.with_instructions(CRASHING)
    optimizer = GEPA(distance, reflection_lm=saying(*texts), max_metric_calls=120)
    with dspy.context(lm=task_lm()):
        mended = optimizer.compile(program, trainset=ROWS, valset=ROWS)
    assert mended.add.signature.instructions in texts
    assert optimizer.result.improved


def test_a_failure_score_that_was_given_stands():
    """Whoever says that a crash is worth 0 among negative scores gets that, and a warning."""
    text, _ = optimized(CRASHING, failure_score=0.0)
    assert text == CRASHING


def test_it_is_said(caplog):
    """Once, at the first negative score, with the argument that changes it."""
    with caplog.at_level(logging.INFO):
        optimized(CRASHING)
    said = [each for each in caplog.records if "scores can be negative" in each.getMessage()]
    assert len(said) == 1
    assert "failure_score" in said[0].getMessage()
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_scores_of_0_and_more_are_judged_as_before():
    """There a failure is a 0, and mending two answers outweighs breaking one of no worth."""
    text, result = optimized(NEAR, metric=lambda gold, pred: 1 / (1 + pred.answer - gold.answer))
    assert text == NEAR
    assert result.state.scores.min() > 0


def test_a_reflection_is_not_told_that_a_failure_scored_more():
    """Where other answers scored below 0, what failed has no score in the prompt."""
    program = Program()
    program.add.signature = program.add.signature.with_instructions(FALTERING)
    lm = saying(NEAR)
    settings = {"max_metric_calls": 60, "reflection_minibatch_size": 8, "progress": "off"}
    optimizer = GEPA(distance, reflection_lm=lm, **settings)
    with dspy.context(lm=task_lm()):
        optimizer.compile(program, trainset=ROWS, valset=ROWS)
    prompt = lm.engine.prompts[0]
    assert "no score, to be improved" in prompt
    assert "score -5, to be improved" in prompt
    assert "score 0" not in prompt


def test_the_verdict_counts_no_failure_as_a_gain():
    """Not on held-out examples either."""
    heldout = [dspy.Example(number=n, answer=n).with_inputs("number") for n in range(20, 30)]
    _, result = optimized(FALTERING, NEAR, compiled_with={"heldout": heldout})
    assert result.verdict.kind == "better"
    assert (result.verdict.seed_score, result.verdict.best_score) == (-5, -1)


def test_demonstrations_that_make_it_fail_are_left_out():
    """Though the program with them scores nothing but failures."""

    def reply(prompt):
        if prompt.count("[[ ## number ## ]]") > 2:  # one in the form, and one asked about
            return "No idea."
        return answer(answer=int(prompt.rsplit("[[ ## number ## ]]", 1)[1].split()[0]) + 5)

    optimizer = GEPA(
        distance,
        reflection_lm=saying(FAR),
        max_metric_calls=120,
        max_bootstrapped_demos=2,
        metric_threshold=-9,
    )
    with dspy.context(lm=scripted_lm(reply)):
        program = optimizer.compile(Program(), trainset=ROWS, valset=ROWS)
    assert program.add.demos == []
    assert "left out" in optimizer.result.demonstrations


def test_a_run_that_is_carried_on_comes_to_the_same(tmp_path):
    """Whether a failure has a score follows from what is on record."""
    texts = (CRASHING, FALTERING, NEAR, CRASHING)
    whole = optimized(*texts, max_metric_calls=90)[1]
    optimized(*texts, max_metric_calls=30, log_dir=tmp_path)
    kept = load_run(tmp_path).result
    again = optimized(*texts, max_metric_calls=90, log_dir=tmp_path)[1]
    assert kept.mean_scores == whole.mean_scores[: len(kept.members)]
    assert load_run(tmp_path).result.mean_scores == again.mean_scores
    assert again.members[again.best].candidate == whole.members[whole.best].candidate


def test_a_story_has_no_score_for_a_failure():
    """Not 0, which would read as the best."""
    _, result = optimized(FALTERING, NEAR)
    gates = [pair for each in result.story.proposals for pair in each.gate]
    assert gates
    assert all(pair.after is None or pair.after < 0 for pair in gates)


def rollouts(*scores):
    """None for a failure."""
    return [Rollout(0.0, failure="it broke") if s is None else Rollout(s) for s in scores]


class Assumed:
    assumed_failure_score = 0.0


@pytest.mark.parametrize("order", [*itertools.permutations([None, -2.0, 3.0])])
def test_no_failure_is_above_a_score_that_it_is_compared_with(order):
    """In whatever order they stand."""
    (scores,) = comparable(Assumed, rollouts(*order))
    failed = [score for score, given in zip(scores, order, strict=True) if given is None]
    assert max(failed) < min(score for score in scores if score not in failed)


def test_a_failure_is_a_0_among_scores_that_are_none_lower():
    """As it is for most metrics, and where nothing worked at all."""
    assert comparable(Assumed, rollouts(None, 0.0), rollouts(1.0)) == [[0.0, 0.0], [1.0]]
    assert comparable(Assumed, rollouts(None), rollouts()) == [[0.0], []]
    unknown = np.array([[np.nan, -np.inf]])
    assert with_failures_assumed(unknown, 0.0)[0, 1] == 0.0
    assert with_failures_assumed(unknown, None)[0, 1] == -np.inf


def test_what_failed_after_a_search_ranks_below_all_of_it():
    """Also where it is nothing but failures, which say nothing of the scale."""

    class Searched:
        settings = Assumed
        scores = np.array([[-5.0, np.nan, -3.0]])

    assert scored_beside(Searched, rollouts(None, None, -4.0)) == [-7.0, -7.0, -4.0]


@pytest.mark.parametrize("search", ["default", "paper"])
@pytest.mark.parametrize("start", [FAR, CRASHING])
def test_the_number_of_threads_changes_nothing(search, start):
    """What a failure counts as follows from what is compared, and not from what came first."""

    def reflection(prompt):
        texts = [CRASHING, FALTERING, FAR, f"{FALTERING} Be quick.", NEAR]
        return new_texts(prompt, texts[zlib.crc32(prompt.encode()) % len(texts)])

    def searched(num_threads):
        program = Program()
        program.add.signature = program.add.signature.with_instructions(start)
        lm, limits = scripted_lm(reflection), {"max_metric_calls": 150, "max_reflection_calls": 12}
        settings = {"num_threads": num_threads, "search": search, "window": 2, "progress": "off"}
        optimizer = GEPA(distance, reflection_lm=lm, **limits, **settings)
        with dspy.context(lm=task_lm()):
            optimizer.compile(program, trainset=ROWS, valset=ROWS)
        state = optimizer.result.state
        verdicts = [(record.candidate, record.verdict) for record in state.history]
        return verdicts, optimizer.result.mean_scores, optimizer.result.best

    first = searched(1)
    assert len(first[0]) > 3
    assert all(searched(threads) == first for threads in (2, 8))


def test_what_is_kept_and_printed_has_a_word_for_a_failure_and_no_infinity(tmp_path, capsys):
    """On the page, as JSON, and in the statistics of the result as `dspy.GEPA` has them."""
    program = Program()
    program.add.signature = program.add.signature.with_instructions(FALTERING)
    kept = {"log_dir": tmp_path, "track_stats": True}
    optimizer = GEPA(distance, reflection_lm=saying(NEAR), max_metric_calls=80, **kept)
    with dspy.context(lm=task_lm()):
        optimized = optimizer.compile(program, trainset=ROWS, valset=ROWS)
    assert optimized.add.signature.instructions == NEAR
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "-inf" not in page
    assert "failed" in page
    subscores = optimized.detailed_results.val_subscores
    means = optimized.detailed_results.val_aggregate_scores
    assert fmean(subscores[0].values()) == pytest.approx(means[0])
    capsys.readouterr()
    assert main(["show", str(tmp_path), "--json"]) == 0
    json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
