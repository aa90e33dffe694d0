"""What programs answer is kept in `log_dir` as values, where the choice of a winner needs it."""

import dataclasses
import datetime as dt
import enum
from decimal import Decimal
from typing import Literal

import dspy
import label_task
import pydantic
import pytest

from dspy_gepa import GEPA, load_run
from dspy_gepa.errors import JournalError
from dspy_gepa.program.rollouts.outputs import OutputForms, lost_in
from dspy_gepa.values.plain import dumps, loads, packed, unpacked


class Topic(enum.Enum):
    """A kind of message."""

    BILL = "bill"
    LOCK = "lock"
    SHIP = "ship"
    LEAK = "leak"


class Named(pydantic.BaseModel):
    """A finding."""

    name: str
    at: int = 0


@dataclasses.dataclass
class Place:
    """Where something is."""

    room: str


class Unkept:
    """An object that nobody can write down."""

    def __init__(self, code):
        self.code = code


ANSWERS = {
    "enumeration": (Topic, lambda code: Topic.LOCK),
    "model": (Named, lambda code: Named(name=code)),
    "models": (list[Named], lambda code: [Named(name=code, at=at) for at in (1, 2)]),
    "dataclass": (Place, Place),
    "date": (dt.date, lambda code: dt.date(2026, 1, 2)),
    "decimal": (Decimal, lambda code: Decimal("0.10")),
    "set": (set[str], lambda code: {code, "x"}),
    "union": (Named | None, lambda code: None),
    "literal": (Literal["a", "b"], lambda code: "a"),
    "nested": (dict[str, list[Named]], lambda code: {"k": [Named(name=code)]}),
    "tuple": (tuple[str, int], lambda code: (code, 1)),
    "image": (dspy.Image, lambda code: dspy.Image(url="data:image/png;base64,iVBORw0KGgo=")),
}


class Answering(dspy.Module):
    """Answers with what is made of the code that its model gives."""

    def __init__(self, make, annotation=str):
        super().__init__()
        self.say = dspy.Predict("message -> code")
        # Only declared: its type is one of the program's signatures.
        declared = dspy.Signature("code -> text").append("found", dspy.OutputField(), annotation)
        self.find, self.make = dspy.Predict(declared), [make]

    def forward(self, message):
        return self.make[0](self.say(message=message).code)


def kept(output, annotation=str):
    """An answer after a way through a journal."""
    forms = OutputForms(Answering(None, annotation))
    written = dumps(packed(forms.stored(output)))
    return forms.restored(unpacked(loads(written)))


@pytest.mark.parametrize(("annotation", "make"), ANSWERS.values(), ids=ANSWERS)
def test_values_of_the_signatures_types_come_back(annotation, make):
    """Equal, and of the same type: in a prediction, alone, and beside others."""
    value = make("Q7")
    assert kept(value, annotation) == value
    assert type(kept(value, annotation)) is type(value)
    prediction = dspy.Prediction(found=value, other=1.5, words=["a", {"b": None}])
    found = kept(prediction, annotation)
    assert type(found) is dspy.Prediction
    assert dict(found.items()) == dict(prediction.items())
    assert lost_in(found) == ""


@pytest.mark.parametrize(
    "plain",
    [None, True, 7, -0.5, "text", b"bytes", [1, [2]], ("a", 1), {"a": (1,), 2: None}, {"x"}, {}],
)
def test_plain_values_come_back_whatever_the_signatures_say(plain):
    """A program may answer with anything, not only with a prediction."""
    assert (kept(plain), type(kept(plain))) == (plain, type(plain))


def test_a_part_of_a_type_is_kept_as_well():
    """Where the signature has a list of it."""
    assert kept(Named(name="x"), list[Named]) == Named(name="x")


@pytest.mark.parametrize("value", [Unkept("a"), Named(name="x"), [Unkept("a")], Topic.BILL])
def test_what_cannot_be_kept_is_told_apart(value):
    """No signature has its type; its text is there, and that it is no more than that."""
    assert lost_in(kept(value)) != ""
    assert lost_in(kept(dspy.Prediction(a=1, b=value))) != ""


def judged(gold, pred, trace=None):
    """Whether the code stands in what was found."""
    topic = next(topic for topic in label_task.CODES if topic in gold.message)
    return float(gold.code in str(pred)), f"{topic} means {gold.code}"


def compiled(make, annotation, folder, aggregate):
    """What a run returns that chooses by this aggregate metric, and what it found."""
    optimizer = GEPA(
        judged,
        aggregate_metric=aggregate,
        reflection_lm=label_task.reflection_lm(),
        max_metric_calls=80,
        num_threads=1,
        log_dir=str(folder),
        track_best_outputs=True,
        track_stats=True,
    )
    with dspy.context(lm=label_task.task_lm()):
        program = optimizer.compile(
            Answering(make, annotation), label_task.examples(12), label_task.examples(8)
        )
    return program, optimizer.result


def test_the_aggregate_metric_is_told_values_after_a_run_was_carried_on(tmp_path):
    """So the same winner is chosen."""

    def most_unknown(pairs):
        return sum(pred.found.name == "unknown" for _, pred in pairs)

    def make(code):
        return dspy.Prediction(found=Named(name=code))

    program, result = compiled(make, Named, tmp_path, most_unknown)
    again, carried = compiled(make, Named, tmp_path, most_unknown)
    assert (carried.aggregates, carried.best) == (result.aggregates, result.best)
    assert result.best == 0 < len(result.members) - 1
    outputs = [p.detailed_results.best_outputs_valset for p in (program, again)]
    assert [[out.found for _, out in of] for of in outputs[0].values()] == [
        [out.found for _, out in of] for of in outputs[1].values()
    ]


def test_a_choice_that_needs_what_was_not_kept_is_refused(tmp_path, caplog):
    """When it is first met it is said, and a later call does not choose by less."""

    def make(code):
        return dspy.Prediction(found=Unkept(code), text=code)

    compiled(make, str, tmp_path, lambda pairs: sum(len(p.found.code) for _, p in pairs))
    assert "answers of type Unkept only the text is kept" in caplog.text
    with pytest.raises(JournalError, match="cannot be carried on with an aggregate_metric"):
        compiled(make, str, tmp_path, lambda pairs: 0.0)
    rollouts = load_run(tmp_path).result.state.known.values()
    assert {type(rollout.output) for rollout in rollouts} == {dict}
