"""Errors and log lines, through whole runs: they say where, what to do, and nothing raw."""

import logging
import re

import dspy
import pytest
from scripted_engine import AuthError, RateLimitError, scripted_lm
from swap_task import exact, examples, gepa, instructions, task_lm

from dspy_gepa.errors import GEPAError, MetricError, SettingsError, WorkerError, readable
from dspy_gepa.metrics import Classification

WILD = "\x1b[31mred\x1b[0m\r\x07\x9b2K\u202egnirts\ud800 plain\tand\nlines"


def compiled(metric, trainset, valset=None, *, lm=None, **settings):
    optimizer = gepa(metric, **{"num_threads": 1, **settings})
    with dspy.context(lm=lm or task_lm()):
        return optimizer.compile(dspy.Predict("question -> answer"), trainset, valset)


class TestPlaces:
    """An example is named by the set and the place at which its user has it."""

    @pytest.mark.parametrize(
        ("sets", "wrong", "place"),
        [
            ((6, 5), ("val", 3), r"valset\[3\]"),
            ((3, 5), ("train", 2), r"trainset\[2\]"),
            ((6, None), ("train", 5), r"trainset\[5\]"),
            ((12, 1), ("val", 0), r"valset\[0\]"),
        ],
    )
    @pytest.mark.parametrize("times", [1, 3])
    def test_an_error_of_the_metric(self, sets, wrong, place, times):
        """Wherever it stands among all of them, and however often it is run."""
        train = examples(sets[0])
        val = None if sets[1] is None else examples(sets[0] + sets[1])[sets[0] :]
        culprit = {"train": train, "val": val}[wrong[0]][wrong[1]]

        def metric(gold, pred, trace=None):
            return None if gold is culprit else exact(gold, pred)

        with pytest.raises(MetricError, match=place):
            compiled(metric, train, val, rollouts_per_example=times)

    def test_what_must_pass(self):
        """It is in neither set."""
        anchor = examples(12)[11]

        def metric(gold, pred, trace=None):
            return None if gold is anchor else exact(gold, pred)

        with pytest.raises(MetricError, match=r"must_pass\[0\]"):
            compiled(metric, examples(6), examples(4), must_pass=[anchor])

    def test_a_metric_of_ours_that_cannot_judge_an_example(self):
        """What it raises itself says where, too."""
        rows = examples(6)
        rows[4].answer = "no label"
        metric = Classification(["Q7", "M4", "K2", "Z9", "unknown"], "answer")
        with pytest.raises(MetricError, match=r"(?s)trainset\[4\].*none of the labels"):
            compiled(metric, rows)


class TestAdvice:
    """What an error advises fits what happened."""

    def advice(self, lm, **settings):
        with pytest.raises(WorkerError) as caught:
            compiled(exact, examples(6), examples(4), lm=lm, **settings)
        assert caught.value.__cause__ is not None
        return str(caught.value)

    def failing(self, error):
        def reply(prompt):
            raise error

        return scripted_lm(reply)

    def test_a_wrong_key(self):
        """Is what to look at."""
        assert "Check the model's name, its key" in self.advice(self.failing(AuthError("no key")))

    def test_a_busy_server(self, monkeypatch):
        """Is asked less."""
        monkeypatch.setattr("dspy_gepa.run.pace.PAUSES_SECONDS", (0.0,))
        told = self.advice(self.failing(RateLimitError("busy")))
        assert "num_threads" in told
        assert "key" not in told

    def test_a_model_whose_price_is_not_known(self):
        """Has a key that works, and the error says itself what to do."""

        def price(model, usage):
            return 0.01 if usage["total_tokens"] == 2000 else None

        told = self.advice(task_lm(), max_usd=1.0, price=price)
        assert "key" not in told
        assert "price" in told

    def test_no_model_at_all(self):
        """DSPy says what to do, and that is told."""
        optimizer = gepa(exact)
        with dspy.context(lm=None), pytest.raises(WorkerError) as caught:
            optimizer.compile(dspy.Predict("question -> answer"), examples(4))
        assert "dspy.configure" in str(caught.value)
        assert "its key" not in str(caught.value)


class TestPrograms:
    """An error that comes after something was found hands it over."""

    def broken_late(self, break_down):
        """The error of a run that breaks down once a member was accepted."""
        seen = []

        def metric(gold, pred, trace=None):
            seen.append(pred.answer)
            return break_down() if seen.count(gold.answer) and len(seen) > 24 else exact(gold, pred)

        with pytest.raises(GEPAError) as caught:
            compiled(metric, examples(8), examples(24), max_metric_calls=200)
        return caught.value

    def test_a_metric_that_returns_no_score_late(self):
        """The seed at least was validated by then."""
        error = self.broken_late(lambda: None)
        assert isinstance(error, MetricError)
        assert list(instructions(error.program)) == ["self"]

    def test_before_anything_was_found_there_is_none(self):
        """The attribute is there, and None."""
        with pytest.raises(MetricError) as caught:
            compiled(lambda gold, pred: None, examples(4))
        assert caught.value.program is None


class TestRawText:
    """Control characters of others' texts reach neither a terminal nor a log."""

    def is_readable(self, text):
        return not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)

    def test_what_is_escaped_and_what_is_not(self):
        """Letters of any language, emoji, tabs and line ends stay as they are."""
        kept = "Größe 数量 \U0001f469\u200d\U0001f680 a\tb\nc"
        assert readable(kept) == kept
        assert readable("a\r\nb") == "a\nb"
        assert readable("\x1b[31m\x00\x9b\u202e\ud800") == r"\x1b[31m\x00\x9b\u202e\ud800"

    @pytest.mark.parametrize("kind", [*GEPAError.__subclasses__()], ids=lambda kind: kind.__name__)
    def test_every_error_of_ours(self, kind):
        """As it is printed; its arguments keep the text as it was."""
        error = kind.__new__(kind, WILD)
        Exception.__init__(error, WILD)
        assert self.is_readable(f"{error}")
        assert error.args == (WILD,)

    def test_a_servers_error(self, caplog):
        """In the error and in the log, with the traceback that is logged of an observer."""

        def watch(event, state):
            raise ValueError(WILD)

        def reply(prompt):
            raise AuthError(WILD)

        with caplog.at_level(logging.INFO), pytest.raises(WorkerError) as caught:
            compiled(exact, examples(4), lm=scripted_lm(reply), observers=[watch])
        assert self.is_readable(str(caught.value))
        assert "red" in str(caught.value)
        self.check(caplog)

    def test_a_programs_failure_and_a_reflections_reason(self, caplog):
        """Whatever is told of proposals and rollouts."""

        def propose(candidate, reflective_dataset, components_to_update):
            raise ValueError(WILD)

        with caplog.at_level(logging.INFO), pytest.raises(GEPAError) as caught:
            compiled(exact, examples(4), instruction_proposer=propose)
        assert self.is_readable(str(caught.value))
        self.check(caplog)

    def test_a_name_of_the_users(self, caplog):
        """A component's name, a metric's, an argument's."""

        class Program(dspy.Module):
            def __init__(self):
                super().__init__()
                self.steps = {WILD: dspy.Predict("question -> answer")}

            def forward(self, question):
                return self.steps[WILD](question=question)

        optimizer = gepa(exact)
        with caplog.at_level(logging.INFO), dspy.context(lm=task_lm()):
            optimizer.compile(Program(), examples(4))
            plan = optimizer.plan(Program(), examples(4))
        assert self.is_readable(f"{plan}")
        self.check(caplog)
        with pytest.raises(SettingsError) as caught:
            gepa(exact, **{WILD: 1})
        assert self.is_readable(str(caught.value))

    def check(self, caplog):
        formatter = logging.Formatter()
        lines = [formatter.format(each) for each in caplog.records if "dspy_gepa" in each.name]
        assert lines
        assert [line for line in lines if not self.is_readable(line)] == []


class TestScales:
    """What is said of scores on another scale is what happens with them."""

    def told(self, caplog, scale, **settings):
        """The warnings about scores, and the result."""
        optimizer = gepa(lambda gold, pred: scale(exact(gold, pred)), num_threads=1, **settings)
        with caplog.at_level(logging.WARNING), dspy.context(lm=task_lm()):
            optimizer.compile(dspy.Predict("question -> answer"), examples(8), examples(4))
        said = [each.getMessage() for each in caplog.records]
        return [each for each in said if each.startswith("The metric scored")], optimizer.result

    def test_a_score_above_the_perfect_one(self, caplog):
        """It is learned from, as the warning says, which comes once."""
        (said,), result = self.told(caplog, lambda score: 40 + 60 * score)
        assert "above perfect_score=1" in said
        assert "learned from like any other" in said
        assert "perfect_score=40" not in said
        assert result.improved

    def test_a_score_below_that_of_a_failure(self, caplog):
        """A crash would then count for more, as the warning says."""
        settings = {"perfect_score": 0, "failure_score": 0}
        (said,), result = self.told(caplog, lambda score: score - 1, **settings)
        assert "below failure_score=0" in said
        assert result.improved

    @pytest.mark.parametrize(
        ("scale", "settings"),
        [
            (lambda score: score, {}),
            (lambda score: 100 * score, {"perfect_score": 100}),
            (lambda score: score - 1, {"perfect_score": 0, "failure_score": -1}),
            (lambda score: 0.3 + score / 2, {"perfect_score": 0.8}),
        ],
    )
    def test_a_scale_that_was_named(self, caplog, scale, settings):
        """Nothing is said, and the run ends where there is nothing left to gain."""
        said, result = self.told(caplog, scale, **settings)
        assert said == []
        assert "perfect score on every validation example" in result.stop_reason
