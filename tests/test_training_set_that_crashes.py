"""A training set that the program cannot be run on is an error, and no success without result."""

import dspy
import pytest
from swap_task import LEARNED, exact, examples, gepa, instructions, task_lm

from dspy_gepa.errors import SettingsError, WorkerError


class Asking(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


class Open(Asking):
    """Takes anything, and needs a question."""

    def forward(self, **inputs):
        return self.answer(question=inputs["question"])


class OpenLate(Asking):
    """Asks, and crashes on what only training examples lack."""

    def forward(self, **inputs):
        found = self.answer(question=inputs.get("question", "?"))
        return dspy.Prediction(answer=found.answer, asked=inputs["question"])


class Waiting(Asking):
    async def aforward(self, question):
        return await self.answer.acall(question=question)

    forward = None


class Calling(Asking):
    def __call__(self, question):
        return self.answer(question=question)


def renamed(rows, name="query"):
    """The same examples with another name for their input."""
    return [
        dspy.Example(**{name: each.question}, answer=each.answer).with_inputs(name) for each in rows
    ]


def compiled(program, trainset, valset, metric=exact, **settings):
    lm = task_lm()
    optimizer = gepa(metric, **settings)
    with dspy.context(lm=lm):
        try:
            return optimizer.compile(program, trainset, valset)
        finally:
            compiled.calls = len(lm.history)


class TestBeforehand:
    """What shows in the names of inputs is said before anything is spent."""

    @pytest.mark.parametrize(
        "program",
        [Asking(), Calling(), dspy.Predict("question -> answer"),
         dspy.ChainOfThought("question -> answer"),
         dspy.ReAct("question -> answer", tools=[len])],
        ids=lambda program: type(program).__name__,
    )  # fmt: skip
    @pytest.mark.parametrize("which", ["trainset", "valset", "both"])
    def test_wrong_names(self, program, which):
        """The error says what the examples have, what the program takes, and of which set."""
        train, val = examples(6), examples(4)
        train = train if which == "valset" else renamed(train)
        val = val if which == "trainset" else renamed(val)
        with pytest.raises(SettingsError) as caught:
            compiled(program, train, val)
        wrong = "valset" if which == "valset" else "trainset"
        assert f"{wrong}[0] has the inputs ['query']" in str(caught.value)
        assert "question" in str(caught.value)
        assert compiled.calls == 0

    def test_inputs_that_are_missing_or_too_many(self):
        """Every argument without a default has to be there, and no other."""

        class Two(Asking):
            def forward(self, question, hint, more=None):
                return self.answer(question=question)

        with pytest.raises(SettingsError, match="hint"):
            compiled(Two(), examples(4), None)
        both = [each.copy(hint="h", extra="e").with_inputs("question", "hint", "extra")
                for each in examples(4)]  # fmt: skip
        with pytest.raises(SettingsError, match="extra"):
            compiled(Two(), both, None)

    def test_what_must_pass(self):
        """Likewise."""
        with pytest.raises(SettingsError, match=r"must_pass\[0\]"):
            compiled(Asking(), examples(4), None, must_pass=renamed(examples(1)))

    def test_one_example_that_fits_is_enough(self):
        """The others are failures of their own, as before."""
        rows = [*renamed(examples(3)), *examples(6)]
        assert instructions(compiled(Asking(), rows, examples(4))) == {"answer": LEARNED}

    def test_optional_inputs_and_fields_without_an_example(self):
        """DSPy runs a predictor without some of its inputs."""
        program = dspy.Predict("history, question -> answer")
        assert instructions(compiled(program, examples(8), examples(4))) == {"self": LEARNED}


class TestWhileRunning:
    """What shows only when it is run ends the run as an error."""

    @pytest.mark.parametrize("rows", [1, 2, 3, 10, 40])
    @pytest.mark.parametrize("settings", [{}, {"search": "paper"}, {"num_threads": 8}], ids=repr)
    def test_every_training_example_crashes(self, rows, settings):
        """After ten of them, or all there are; what it was is told, and the program handed over."""
        with pytest.raises(WorkerError, match=r"training.*KeyError: 'question'") as caught:
            compiled(Open(), renamed(examples(rows)), examples(4), **settings)
        assert instructions(caught.value.program) == instructions(Open())

    def test_a_crash_after_the_model_was_asked(self):
        """A rewrite might have mended it; none did."""
        with pytest.raises(WorkerError, match="training"):
            compiled(OpenLate(), renamed(examples(6)), examples(4))

    def test_a_metric_that_crashes_on_training_examples_alone(self):
        """It lacks a label there."""

        def metric(gold, pred, trace=None):
            return float(gold.reference == pred.answer)

        val = [each.copy(reference=each.answer).with_inputs("question") for each in examples(4)]
        with pytest.raises(WorkerError, match="training"):
            compiled(Asking(), examples(6), val, metric)

    def test_a_rewrite_that_mends_it_is_a_success(self):
        """Where the crash follows from what the model says, a better text is the cure."""

        class Strict(Asking):
            def forward(self, question):
                found = self.answer(question=question)
                if "fragile" in question and found.answer == "unknown":
                    raise ValueError("no such code")
                return found

        rows = examples(6)
        for each in rows:
            each.question += " fragile"
        improved = compiled(Strict(), rows, examples(4))
        assert instructions(improved) == {"answer": LEARNED}

    @pytest.mark.parametrize("crashing", [1, 5, 11])
    def test_one_training_example_that_works_is_enough(self, crashing):
        """Among twelve."""
        rows = [*renamed(examples(crashing)), *examples(12 - crashing)]
        improved = compiled(Open(), rows, examples(4))
        assert instructions(improved) == {"answer": LEARNED}

    def test_answers_that_cannot_be_read_are_no_crash(self):
        """Another text may make the model keep to the format."""

        def reply(prompt):
            from swap_task import task_reply

            return task_reply(prompt) if LEARNED in prompt or "book" in prompt else "what?"

        from scripted_engine import scripted_lm

        val = examples(4)
        for each in val:
            each.question += " in the book"
        optimizer = gepa(exact)
        with dspy.context(lm=scripted_lm(reply)):
            improved = optimizer.compile(Asking(), examples(6), val)
        assert instructions(improved) == {"answer": LEARNED}


def test_the_run_can_be_carried_on_once_the_program_is_mended(tmp_path):
    """The directory holds what was paid for; the same call reports the same."""
    for _ in range(2):
        with pytest.raises(WorkerError, match="training"):
            compiled(Open(), renamed(examples(6)), examples(4), log_dir=tmp_path)
