"""What dspy.GEPA 3.4.1 gets wrong in a whole run, and does not show.

With `from dspy import GEPA` in place of ours every test fails but the last, which says what a
plug-in of its own could get wrong. So only what both classes have is used: proposers, metrics, the
program that comes back.
"""

import dspy
import pytest
from scripted_engine import AuthError, answer, scripted_lm
from swap_task import CODES, LEARNED, examples, instructions, task_lm, task_reply

from dspy_gepa import GEPA
from dspy_gepa.errors import WorkerError


def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
    score = float(gold.answer == pred.answer)
    return dspy.Prediction(score=score, feedback=f"The answer is {gold.answer}.")


def optimized(program, propose=None, lm=None, *, rows=8, **settings):
    """The program that comes back; without a proposer, all texts become the one that is right."""
    given = {
        "metric": metric,
        "max_metric_calls": 60,
        "num_threads": 1,
        "reflection_lm": scripted_lm("never asked"),
        "instruction_proposer": propose or all_become(LEARNED),
        **settings,
    }
    optimizer = GEPA(**given)
    with dspy.context(lm=lm or task_lm()):
        return optimizer.compile(program, trainset=examples(rows), valset=examples(4))


def all_become(text):
    """A proposer that always says this."""

    def propose(candidate, reflective_dataset, components_to_update):
        return dict.fromkeys(components_to_update, text)

    return propose


class Twins(dspy.Module):
    """Two predictors with one signature; each is asked in its own manner."""

    def __init__(self):
        super().__init__()
        self.first = dspy.Predict("question -> answer")
        self.second = dspy.Predict("question -> answer")

    def forward(self, question):
        self.first(question=f"FIRST {question}")
        return self.second(question=f"SECOND {question}")


def test_predictors_with_equal_signatures_keep_their_own_calls():
    """Trap 5: the records of one component never hold the calls of the other."""
    seen = {}

    def propose(candidate, reflective_dataset, components_to_update):
        for name, records in reflective_dataset.items():
            asked = {each["Inputs"]["question"].split()[0] for each in records}
            seen.setdefault(name, set()).update(asked)
        return dict.fromkeys(components_to_update, "Try.")

    optimized(Twins(), propose, component_selector="all")
    assert seen == {"first": {"FIRST"}, "second": {"SECOND"}}


def shown(records):
    return "\n".join(str(each["Generated Outputs"]) + each["Feedback"] for each in records)


class TestFailures:
    """Trap 6: what failed is what there is to learn from."""

    def seen_by_reflection(self, program, lm=None, **settings):
        seen = []

        def propose(candidate, reflective_dataset, components_to_update):
            seen.append(shown(reflective_dataset[components_to_update[0]]))
            return dict.fromkeys(components_to_update, LEARNED)

        optimized(program, propose, lm, **settings)
        return seen[0] if seen else ""

    def test_a_partly_read_reply(self):
        """One of two fields is missing; the raw reply is shown."""
        lm = scripted_lm(answer(answer="half of it"))
        program = dspy.Predict("question -> answer, why")
        assert "half of it" in self.seen_by_reflection(program, lm)

    def test_a_crash_of_the_program(self):
        """Kind, message and place; the calls until then are shown."""

        class Crashing(dspy.Module):
            def __init__(self):
                super().__init__()
                self.answer = dspy.Predict("question -> answer")

            def forward(self, question):
                found = self.answer(question=question)
                if "bill" not in question:
                    return found
                return dspy.Prediction(answer={code: code for code in CODES.values()}[found.answer])

        said = self.seen_by_reflection(Crashing(), reflection_minibatch_size=8)
        assert "KeyError: 'unknown'" in said
        assert "in forward" in said

    def test_a_metric_that_raises(self):
        """Its message is feedback too."""

        def raising(gold, pred, trace=None, pred_name=None, pred_trace=None):
            if "bill" in gold.question:
                raise LookupError("no such code")
            return 0.0

        said = self.seen_by_reflection(
            dspy.Predict("question -> answer"), metric=raising, reflection_minibatch_size=8
        )
        assert "LookupError: no such code" in said

    def test_a_program_that_always_crashes(self):
        """Then no text is at fault: the run stops with the first failure, before a reflection."""

        class Crashing(dspy.Module):
            def __init__(self):
                super().__init__()
                self.answer = dspy.Predict("question -> answer")

            def forward(self, question):
                return {}[self.answer(question=question).answer]

        def propose(candidate, reflective_dataset, components_to_update):
            return dict.fromkeys(components_to_update, "Try.")

        with pytest.raises(WorkerError, match=r"each of the first 4 examples.*KeyError: 'unknown'"):
            optimized(Crashing(), propose)


def locked(prompt):
    raise AuthError("wrong key")


@pytest.mark.parametrize(
    "settings",
    [
        {"lm": scripted_lm(locked)},
        {"reflection_lm": scripted_lm(locked), "instruction_proposer": None},
    ],
    ids=["of the program", "of the reflection"],
)
def test_a_dead_key_is_no_success(settings):
    """Trap 7: the run stops with the cause, and the seed is not returned as its result."""
    with pytest.raises(RuntimeError, match="wrong key"):
        optimized(dspy.Predict("question -> answer"), **settings)


def test_a_proposer_that_always_raises_ends_the_run():
    """Trap 8: it is asked once a proposal and soon no more, and what it raised is told."""
    calls = []

    def broken(candidate, reflective_dataset, components_to_update):
        calls.append(components_to_update)
        raise ZeroDivisionError("in the proposer")

    with pytest.raises(RuntimeError, match="in the proposer"):
        optimized(dspy.Predict("question -> answer"), broken, max_metric_calls=2000)
    assert len(calls) <= 15


@pytest.mark.parametrize("unusable", ["", "   ", "half a \ud800 pair"], ids=repr)
def test_a_text_that_no_program_can_say_is_no_candidate(unusable):
    """Trap 18: an empty text would become DSPy's default, and half a pair ends the run."""
    texts = iter([unusable, LEARNED, *[LEARNED] * 99])
    tried = []

    def propose(candidate, reflective_dataset, components_to_update):
        return dict.fromkeys(components_to_update, next(texts))

    def reply(prompt):
        tried.append("Guess." in prompt or LEARNED in prompt)
        return task_reply(prompt)

    program = dspy.Predict(dspy.Signature("question -> answer", "Guess."))
    improved = optimized(program, propose, scripted_lm(reply))
    assert instructions(improved) == {"self": LEARNED}
    assert all(tried)


@pytest.mark.parametrize("size", [1, 2])
def test_a_small_training_set_is_not_shown_twice(size):
    """No example is padded into a minibatch again, and none is paid for again."""
    asked = []

    def propose(candidate, reflective_dataset, components_to_update):
        asked.append([each["Inputs"]["question"] for each in reflective_dataset["self"]])
        return dict.fromkeys(components_to_update, "Try.")

    optimized(dspy.Predict("question -> answer"), propose, rows=size)
    assert all(len(set(each)) == len(each) == size for each in asked)


class Counted:
    """The metric, with the number of its calls of whatever kind."""

    calls = 0

    def __call__(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
        self.calls += 1
        return metric(gold, pred)


def test_the_limit_holds_for_every_kind_of_call():
    """Trap 11: calls for feedback count, and no limit is overshot."""
    for limit in (5, 13, 31):
        counted = Counted()

        optimized(
            dspy.Predict("question -> answer"),
            all_become("Try something else."),
            metric=counted,
            max_metric_calls=limit,
        )
        assert counted.calls <= limit


def test_every_call_of_a_predictor_is_shown():
    """A predictor that is called twice a run gives two records, and none is drawn by chance."""

    class Twice(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question):
            self.answer(question=f"EARLY {question}")
            return self.answer(question=f"LATE {question}")

    counts = []

    def propose(candidate, reflective_dataset, components_to_update):
        words = [each["Inputs"]["question"].split()[0] for each in reflective_dataset["answer"]]
        counts.append((words.count("EARLY"), words.count("LATE")))
        return dict.fromkeys(components_to_update, "Try.")

    optimized(Twice(), propose)
    assert counts
    assert all(early == late >= 3 for early, late in counts)


def test_the_result_is_no_frozen_program():
    """Traps 14 and 17: it is a part of another program like any, with no parameter more."""
    student = dspy.ChainOfThought("question -> answer")
    improved = optimized(student, track_stats=True)

    class Parent(dspy.Module):
        def __init__(self):
            super().__init__()
            self.part = improved

    assert improved._compiled is False
    assert [name for name, _ in Parent().named_parameters()] == ["part.predict"]
    assert instructions(Parent()) == {"part.predict": LEARNED}
