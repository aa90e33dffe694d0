"""The smallest budgets, as smoke tests and first tries have them: one whole proposal happens."""

from contextlib import suppress

import dspy
import pytest
from dspy.utils.dummies import DummyLM
from hypothesis import given
from hypothesis import strategies as st
from scripted_engine import scripted_lm
from swap_task import LEARNED, examples, gepa, instructions, task_lm

from dspy_gepa import GEPA
from dspy_gepa.errors import ReflectionError


class Counted:
    """A metric of three or of five parameters that counts its calls, as an outsider would."""

    def __init__(self, score=None):
        self.calls = 0
        self.score = score

    def count(self, gold, pred):
        self.calls += 1
        if self.score is not None:
            return self.score
        return float(gold.answer == pred.answer), f"The answer is {gold.answer}."


class Three(Counted):
    def __call__(self, gold, pred, trace=None):
        return self.count(gold, pred)


class Five(Counted):
    def __call__(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
        return self.count(gold, pred)


class Two(dspy.Module):
    """Two predictors, so that a metric that is asked about each is asked twice an example."""

    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("question -> draft")
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        self.draft(question=question)
        return self.answer(question=question)


def one():
    return dspy.Predict("question -> answer")


SETS = [
    (1, None),
    (2, None),
    (3, None),
    (8, None),
    (1, 1),
    (3, 3),
    (8, 5),
    (2, 30),
    (30, 30),
    (100, 2),
]
"""So many training and validation examples."""


def run(metric, limit, train, val, program=one, **settings):
    """A run with so many examples to learn from and to choose by; none where both are the same."""
    optimizer = gepa(metric, max_metric_calls=limit, **settings)
    rows = examples(train)
    with dspy.context(lm=task_lm()):
        improved = optimizer.compile(program(), rows, rows if val is None else examples(val))
    assert metric.calls == optimizer.result.tally.metric_calls <= limit
    return improved, optimizer.result


@pytest.mark.parametrize("limit", range(5, 11))
@pytest.mark.parametrize("number", range(len(SETS)), ids=lambda number: f"{SETS[number]}")
def test_one_whole_proposal_happens(limit, number):
    """An example is looked at, its rewrite gated and validated, and the limit holds; for both kinds
    of metrics at every limit and with all sets, in turn."""
    sets, kind = SETS[number], (Three, Five)[(limit + number) % 2]
    improved, result = run(kind(), limit, *sets)
    assert [each.verdict.kind for each in result.proposals][:1] == ["accepted"]
    assert instructions(improved) == {"self": LEARNED}


@pytest.mark.parametrize("limit", range(5, 11))
@pytest.mark.parametrize("selector", ["all", "round_robin"])
def test_with_several_components(limit, selector):
    """A metric that would be asked about each is asked where that fits, and else not."""
    _, result = run(Five(), limit, 6, 6, Two, component_selector=selector)
    # One that is rewritten alone may be the one that is not at fault.
    kinds = {"all": {"accepted"}, "round_robin": {"accepted", "rejected"}}
    assert {each.verdict.kind for each in result.proposals[:1]} <= kinds[selector]
    assert result.proposals[0].charge.rollouts >= 2


@pytest.mark.parametrize("limit", range(5, 11))
def test_in_the_papers_search(limit):
    """Where the whole validation set fits twice, as that search validates on all of it."""
    _, result = run(Five(), limit, 2, None, search="paper")
    assert [each.verdict.kind for each in result.proposals][:1] == ["accepted"]


@pytest.mark.parametrize("kind", [Three, Five])
def test_two_calls_on_the_one_example_that_there_is(kind):
    """The program as it is, and the rewrite; nothing is left for more words of the metric."""
    improved, result = run(kind(), 2, 1, None)
    assert result.improved
    assert instructions(improved) == {"self": LEARNED}


@given(
    limit=st.integers(1, 30),
    train=st.integers(1, 12),
    val=st.none() | st.integers(1, 12),
    kind=st.sampled_from([Three, Five]),
    program=st.sampled_from([one, Two]),
    search=st.sampled_from(["default", "paper"]),
    score=st.sampled_from([None, 0.0, 0.5]),
    threads=st.sampled_from([1, 4]),
)
def test_no_limit_is_exceeded(limit, train, val, search, threads, **more):
    """Whatever the sizes are; and with 5 calls or more the default search always reflects."""
    metric = more["kind"](more["score"])
    settings = {"search": search, "num_threads": threads}
    _, result = run(metric, limit, train, val, more["program"], **settings)
    if limit >= 5 and search == "default":
        assert result.tally.reflection_calls
        assert len(result.proposals) >= 1


def test_a_tiny_run_is_carried_on_with_a_larger_budget(tmp_path):
    """What follows from the budget, such as on how many examples a child is validated, may grow."""
    first, second = Five(), Five()
    rows = examples(8)
    with dspy.context(lm=task_lm()):
        small = gepa(first, max_metric_calls=5, log_dir=tmp_path)
        small.compile(one(), rows, examples(30))
        large = gepa(second, max_metric_calls=60, log_dir=tmp_path)
        large.compile(one(), rows, examples(30))
    assert first.calls + second.calls == large.result.tally.metric_calls <= 60
    assert large.result.proposals[0] == small.result.proposals[0]


class TestAsDSPysOwnTestsCallIt:
    """Five-argument metrics, scripted models of DSPy's own, budgets of 2 to 8, one or two rows."""

    def compiled(self, program, metric, limit, proposals, rows=1, **settings):
        words = dict.fromkeys(program.signature.output_fields, "same") if rows else {}
        task = DummyLM([words or {"answer": "same"}] * 50)
        reflecting = DummyLM([{"new_text": each} for each in proposals] * 20)
        given = {"reflection_lm": reflecting, **settings}
        data = [
            dspy.Example(question=f"q{n}", answer="expected").with_inputs("question")
            for n in range(max(rows, 1))
        ]
        optimizer = GEPA(metric, max_metric_calls=limit, **given)
        with dspy.context(lm=task):
            improved = optimizer.compile(program, trainset=data, valset=data)
        return improved, reflecting, optimizer.result

    @pytest.mark.parametrize("limit", [2, 3, 4, 5, 6, 8])
    @pytest.mark.parametrize("rows", [1, 2])
    def test_a_metric_that_never_changes(self, limit, rows):
        """The program comes back, and where a proposal fits the reflecting model was asked."""

        def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
            return dspy.Prediction(score=0.3, feedback="Test feedback")

        texts = ["Improved instruction", "Better instruction"]
        improved, reflecting, _ = self.compiled(one(), metric, limit, texts, rows)
        assert list(instructions(improved)) == ["self"]
        assert reflecting.history or limit < 2 * rows

    @pytest.mark.parametrize("reply", ["", "I cannot help with that.", "<new_text></new_text>"])
    def test_a_reflecting_model_that_says_nothing_of_use(self, reply, caplog):
        """The program comes back as it was, with one warning; with more to spend it is an error."""

        def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
            return 0.3

        def compiled(limit, unit="max_metric_calls"):
            optimizer = GEPA(metric, reflection_lm=scripted_lm(reply), **{unit: limit})
            with dspy.context(lm=task_lm()):
                return optimizer.compile(one(), examples(2), examples(2))

        assert instructions(compiled(6)) == instructions(one())
        assert instructions(compiled(6, "max_rollouts")) == instructions(one())
        warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert [each for each in warnings if "The program is as it was" in each]
        with pytest.raises(ReflectionError):
            compiled(60)

    def test_a_metric_that_rises_with_every_call(self):
        """The first rewrite is accepted, and statistics tell the candidates."""
        calls = []

        def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
            calls.append(pred)
            return dspy.Prediction(score=min(0.3 + len(calls) * 0.1, 1.0), feedback="Rising.")

        improved, _, result = self.compiled(
            one(), metric, 8, ["Updated instruction"], track_stats=True, num_threads=1
        )
        assert result.improved
        found = improved.detailed_results.candidates
        assert instructions(found[1]) == {"self": "Updated instruction"}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_program_that_is_perfect_on_all_examples_is_returned(count):
    """Also where the seed was right on most of them, so that it leads on few."""
    known = "Give the code. bill means Q7; lock means K2; ship means Z9"
    student = dspy.Predict(dspy.Signature("question -> answer", known))
    rows = [
        dspy.Example(question=f"Which code has the {topic}, case {n}?", answer=code)
        for n, (topic, code) in enumerate([("leak", "M4"), *[("bill", "Q7")] * (count - 1)])
    ]
    rows = [row.with_inputs("question") for row in rows]
    optimizer = gepa(Three(), max_metric_calls=60)
    with dspy.context(lm=task_lm()):
        improved = optimizer.compile(student, examples(8), rows)
    assert "perfect score on every validation example" in optimizer.result.stop_reason
    assert instructions(improved) == {"self": LEARNED}


@pytest.mark.parametrize("reply", ["<new_text>\nGive the code.\n</new_text>", "No idea."])
def test_one_call_of_the_reflection_lm_is_one_question(reply):
    """What its answer gives is tried; where that is nothing, it is said, and nothing is asked."""
    asked = []

    def reflect(prompt):
        asked.append(prompt)
        return reply

    optimizer = GEPA(
        lambda gold, pred: 0.3,
        reflection_lm=scripted_lm(reflect),
        max_reflection_calls=1,
        max_metric_calls=40,
    )
    with dspy.context(lm=task_lm()), suppress(ReflectionError):
        optimizer.compile(one(), examples(4), examples(4))
    (shown,) = [each for each in optimizer.result.proposals if each.reflected_examples]
    assert shown.verdict.kind == ("failed" if reply == "No idea." else "rejected")
    assert len(asked) == optimizer.result.tally.reflection_calls == 1
