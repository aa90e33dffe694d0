"""`log_dir`: a run is kept, and carried on where it stopped."""

import json
import logging
from functools import partial

import dspy
import label_task
import pytest
from label_task import LEARNED

from dspy_gepa import GEPA, load_run
from dspy_gepa.errors import JournalMismatch

pytestmark = pytest.mark.usefixtures("label_task_configured")


class Counting:
    """The metric, with its calls; interrupts the run at one of them."""

    __name__ = "counting"

    def __init__(self, interrupt_at=None):
        self.calls = 0
        self.interrupt_at = interrupt_at

    def __call__(self, gold, pred, trace=None):
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        return label_task.metric(gold, pred)


def compiled(metric, folder, program, **settings):
    lm = label_task.reflection_lm()
    given = {"max_metric_calls": 200, "num_threads": 1, "reflection_lm": lm, **settings}
    optimizer = GEPA(metric, log_dir=str(folder), **given)
    train, val = label_task.examples(12), label_task.examples(8)
    return optimizer.compile(program, train, val), optimizer.result


def outcome(result):
    return result.members, result.proposals, result.mean_scores


def test_an_interrupted_run_goes_on_without_paying_twice(program, tmp_path):
    """Ctrl-C at any metric call, then the same call again: the same run, each pair paid once."""
    whole = Counting()
    expected, reference = compiled(whole, tmp_path / "whole", program)
    for moment in range(1, whole.calls, 5):
        folder = tmp_path / str(moment)
        first, second = Counting(moment), Counting()
        compiled(first, folder, program)
        improved, result = compiled(second, folder, program)
        assert outcome(result) == outcome(reference)
        assert improved.signature.instructions == expected.signature.instructions == LEARNED
        # The call that was interrupted is made again; nothing else is.
        assert first.calls + second.calls == whole.calls + 1


def test_a_finished_run_costs_nothing_again(program, tmp_path):
    """The same call on a finished directory returns the program from disk."""
    first, second = Counting(), Counting()
    compiled(first, tmp_path, program)
    improved, _ = compiled(second, tmp_path, program)
    assert improved.signature.instructions == LEARNED
    assert second.calls == 0


def test_a_larger_budget_carries_on(program, tmp_path):
    """What a small budget found is kept, and not paid again."""
    small, large = Counting(), Counting()
    compiled(small, tmp_path, program, max_metric_calls=30)
    improved, result = compiled(large, tmp_path, program, max_metric_calls=200)
    assert improved.signature.instructions == LEARNED
    assert result.tally.metric_calls == small.calls + large.calls


@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_budget_too_small_for_the_seed_can_be_raised(program, tmp_path, search):
    """The run is the one that had the larger budget from the beginning, for the same price."""
    whole, small, large = Counting(), Counting(), Counting()
    _, expected = compiled(whole, tmp_path / "whole", program, search=search)
    compiled(small, tmp_path / "run", program, search=search, max_metric_calls=3)
    _, result = compiled(large, tmp_path / "run", program, search=search)
    assert outcome(result) == outcome(expected)
    assert (small.calls, small.calls + large.calls) == (3, whole.calls)
    assert outcome(load_run(tmp_path / "run").result) == outcome(expected)


class Improving:
    """A gate; each has its own place in memory, as in each process."""

    def __call__(self, child, parents):
        return sum(child) > max(map(sum, parents))


class Oldest:
    """Selects the seed."""

    def __call__(self, view, random):
        return 0


class Told:
    """A reflection LM that is no more than a function."""

    def __init__(self):
        self.lm = label_task.reflection_lm()

    def __call__(self, prompt):
        return self.lm(prompt)


def called_at_most(most, view):
    return tuple(view.candidate)[:most]


@pytest.mark.parametrize(
    "objects",
    [
        lambda: {"gate": Improving()},
        lambda: {"candidate_selection_strategy": Oldest()},
        lambda: {"component_selector": partial(called_at_most, 1)},
        lambda: {"component_selector": partial(lambda one, view: (next(iter(view.candidate)),), 1)},
        lambda: {"reflection_lm": Told()},
    ],
)
def test_objects_are_the_same_wherever_they_lie(program, tmp_path, objects):
    """A run with a strategy or a model that is an object of the user's goes on with another one
    of its kind, as a new process makes it."""
    small, large, first, second = Counting(), Counting(), objects(), objects()
    compiled(small, tmp_path, program, max_metric_calls=30, **first)
    _, result = compiled(large, tmp_path, program, **second)
    assert result.tally.metric_calls == small.calls + large.calls
    assert small.calls > 0


def test_a_function_with_other_arguments_is_another_one(program, tmp_path):
    """The difference names both."""
    compiled(Counting(), tmp_path, program, component_selector=partial(called_at_most, 1))
    with pytest.raises(JournalMismatch, match=r"called_at_most>, 2\)' given, .*, 1\)' stored"):
        compiled(Counting(), tmp_path, program, component_selector=partial(called_at_most, 2))


def test_examples_that_must_pass_are_the_run_s(program, tmp_path):
    """Others are refused, and the run goes on with its own."""
    small, large, others = Counting(), Counting(), Counting()
    *own, another = label_task.examples(12)[9:]
    compiled(small, tmp_path, program, max_metric_calls=40, must_pass=own)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(JournalMismatch, match="first other one at position 1 given, 2 stored"):
        compiled(others, tmp_path, program, must_pass=[own[0], another])
    assert (others.calls, (tmp_path / "manifest.json").read_bytes()) == (0, before)
    _, result = compiled(large, tmp_path, program, must_pass=own)
    assert result.tally.metric_calls == small.calls + large.calls


def test_the_best_program_lies_in_the_directory(program, tmp_path):
    """As DSPy saves it; no key is written."""
    lm = label_task.reflection_lm()
    lm.kwargs["api_key"] = "a-key-that-must-not-be-written"
    optimizer = GEPA(
        label_task.metric, max_metric_calls=200, reflection_lm=lm, log_dir=str(tmp_path)
    )
    optimizer.compile(program, label_task.examples(12), label_task.examples(8))
    stored = json.loads((tmp_path / "best_program.json").read_text())
    assert stored["signature"]["instructions"] == LEARNED
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("a-key-that-must-not-be-written" in text for text in written)


def test_a_program_that_cannot_be_saved_is_returned_all_the_same(program, tmp_path, caplog):
    """One that DSPy cannot write as JSON, and one that something stands in the way of: the log says
    so, and nothing half written stays. The same call then costs nothing."""
    (tmp_path / "taken" / "best_program.json").mkdir(parents=True)
    unwritable = program.deepcopy()
    unwritable.demos = [dspy.Example(message="About the bill.", code=object())]
    for folder, student in (("taken", program), ("unwritable", unwritable)):
        for is_first in (True, False):
            metric = Counting()
            caplog.clear()
            with caplog.at_level(logging.ERROR, logger="dspy.teleprompt.dspy_gepa"):
                improved, result = compiled(metric, tmp_path / folder, student)
            assert improved.signature.instructions == LEARNED
            assert (metric.calls > 0) == is_first
            said = f"{tmp_path / folder} takes no copy of the best program, which is returned"
            assert caplog.messages[-1].startswith(said)
            assert len(result.members) > 1
        assert not list((tmp_path / folder).glob("*unfinished*"))


def test_another_run_is_refused_with_the_differences(program, tmp_path):
    """Another seed, other examples, another program: each is named, nothing is spent."""
    compiled(Counting(), tmp_path, program)
    with pytest.raises(JournalMismatch, match="seed"):
        compiled(Counting(), tmp_path, program, seed=1)
    with pytest.raises(JournalMismatch, match="must_pass examples: 1 given, 0 stored"):
        compiled(Counting(), tmp_path, program, must_pass=label_task.examples(9)[8:])
    other = dspy.Predict(program.signature.with_instructions("Something else."))
    with pytest.raises(JournalMismatch, match="component self"):
        compiled(Counting(), tmp_path, other)


def other(signature):
    """A program with this signature and the text of the usual one."""
    text = dspy.Predict("message -> code").signature.instructions
    return dspy.Predict(dspy.Signature(signature, text))


def with_demos():
    program = dspy.Predict("message -> code")
    program.demos = [dspy.Example(message="a", code="b")]
    return program


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda: other("message, context -> code"), r"predictor 1: 'self\(message: str, context"),
        (lambda: other("message -> code, why"), "predictor 1"),
        (lambda: other("message -> code: int"), r"predictor 1: 'self\(message: str -> code: int"),
        (lambda: other("message -> code: list[str]"), "predictor 1"),
        (
            lambda: dspy.Predict(
                dspy.Predict("message -> code").signature.with_updated_fields("code", desc="two")
            ),
            "descriptions and demonstrations of predictor 1",
        ),
        (with_demos, "descriptions and demonstrations of predictor 1"),
    ],
)
def test_another_program_with_the_same_texts_is_refused(program, tmp_path, changed, words):
    """What its predictors are given and answer, and what else is in their prompts."""
    compiled(Counting(20), tmp_path, program)
    with pytest.raises(JournalMismatch, match=words):
        compiled(Counting(), tmp_path, changed())
    assert compiled(Counting(), tmp_path, dspy.Predict("message -> code"))[1].improved


def test_two_predictors_in_another_order_are_another_program(tmp_path):
    """Also where their names are those of secrets."""

    class Program(dspy.Module):
        def __init__(self, **predictors):
            super().__init__()
            for name, predictor in predictors.items():
                setattr(self, name, predictor)

        def forward(self, message):
            return self.api_key(message=message)

    compiled(Counting(20), tmp_path, Program(api_key=other("message -> code")))
    with pytest.raises(
        JournalMismatch, match=r"predictor 1: 'api_key\(message: str -> code: str, x"
    ):
        compiled(Counting(), tmp_path, Program(api_key=other("message -> code, x")))
