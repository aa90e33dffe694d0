"""Specialists and verdicts in conditions that a user meets and nobody had named."""

import asyncio
import copy
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Literal

import dspy
import label_task
import numpy as np
import pydantic
import pytest
from label_task import TRAIN, VALIDATION, Counting
from scripted_engine import answer, scripted_lm

from dspy_gepa import GEPA, Specialists

CODES = label_task.CODES
HELDOUT = label_task.examples(40)[20:]
TABLE = [("message: money bill", [1.0, 0.0]), ("message: door lock", [0.0, 1.0])]


def ruled(signature, topic):
    return dspy.Predict(signature.with_instructions(f"{topic} means {CODES[topic]}."))


def made(chooser="nearest", table=TABLE, topics=("bill", "lock")):
    """Members that know one code each."""
    student = dspy.Predict("message -> code")
    members = [ruled(student.signature, topic) for topic in topics]
    return Specialists(student, members, table, chooser=chooser)


def routes(program):
    return [program.chosen(message=each) for each in ("a bill of money", "the lock of a door")]


def compiled(metric, heldout=HELDOUT, **settings):
    given = {"max_metric_calls": 120, "num_threads": 1, **settings}
    optimizer = GEPA(metric, reflection_lm=label_task.reflection_lm(), **given)
    with dspy.context(lm=label_task.task_lm()):
        program = optimizer.compile(
            dspy.Predict("message -> code"), TRAIN, VALIDATION, heldout=heldout
        )
    return program, optimizer.result


def test_a_bound_model_is_asked_by_every_member_and_no_key_is_saved(tmp_path):
    """`set_lm` reaches all of them, a copy keeps it, and the file holds no secret."""
    program = made()
    lm = label_task.task_lm()
    program.set_lm(lm)
    for each in (program, program.deepcopy()):
        assert each(message="a bill of money").code == "Q7"
        assert each(message="the lock of a door").code == "K2"
    program.set_lm(dspy.LM("openai/some-model", api_key="sk-secret-of-mine"))
    program.save(str(tmp_path / "x.json"))
    assert "some-model" in (tmp_path / "x.json").read_text()
    assert "secret-of-mine" not in (tmp_path / "x.json").read_text()


def test_the_table_goes_through_json_with_scores_that_are_missing(tmp_path):
    """NaN is no JSON: it is saved as nothing, and estimates leave it out as before."""
    table = [*TABLE, ("message: a boat", [float("nan"), 1.0])]
    program = made(table=table)
    program.save(str(tmp_path / "x.json"))
    json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    loaded = Specialists(dspy.Predict("message -> code"))
    loaded.load(str(tmp_path / "x.json"))
    for words in ("a bill of money", "a boat", "neither"):
        assert loaded.expected(message=words) == program.expected(message=words)


@pytest.mark.parametrize("name", ["x.json", "x.pkl"])
def test_fewer_members_than_before_are_loaded_too(tmp_path, name):
    """What is loaded into has as many as the file, not as many as it had."""
    made().save(str(tmp_path / name))
    loaded = made(topics=("bill", "lock", "ship"), table=[])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded.load(str(tmp_path / name), **({"allow_pickle": True} if "pkl" in name else {}))
    assert len(loaded.members) == 2
    assert routes(loaded) == [0, 1]


def test_a_file_of_something_else_changes_nothing(tmp_path):
    """The members that were there are there afterwards."""
    dspy.ChainOfThought("a -> b").save(str(tmp_path / "other.json"))
    program = made()
    before = program.dump_state()
    with pytest.raises((AttributeError, LookupError, ValueError)):
        program.load(str(tmp_path / "other.json"))
    assert program.dump_state() == before
    assert routes(program) == [0, 1]


def test_copies_route_alike_and_by_their_own_table():
    """Deep, shallow and DSPy's own; a copy whose table is emptied asks the best one."""
    program = made()
    for each in (copy.deepcopy(program), program.deepcopy(), copy.copy(program)):
        assert routes(each) == [0, 1]
    emptied = program.reset_copy()
    assert routes(emptied) == [0, 0]
    assert routes(program) == [0, 1]


def test_many_threads_and_tasks_at_once_get_the_right_member():
    """Which is asked depends on the input alone."""
    program = made()
    words = [f"{'bill money' if n % 2 else 'lock door'} {n}" for n in range(40)]
    expected = ["Q7" if n % 2 else "K2" for n in range(40)]
    lm = label_task.task_lm()

    def one(message):
        with dspy.context(lm=lm):
            return program(message=message).code

    async def all_at_once():
        with dspy.context(lm=lm):
            found = await asyncio.gather(*(program.acall(message=each) for each in words))
        return [each.code for each in found]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, words)) == expected
    assert asyncio.run(all_at_once()) == expected


class OnlyAsync(dspy.Module):
    """A program that can only be awaited."""

    def __init__(self, code):
        super().__init__()
        self.code = code
        self.answer = dspy.Predict("message -> code")

    async def aforward(self, message):
        await asyncio.sleep(0)
        return dspy.Prediction(code=self.code)


@pytest.mark.parametrize("chooser", ["nearest", "vote", lambda inputs: 1])
def test_programs_that_can_only_be_awaited_are(chooser):
    """By every chooser that needs no model."""
    program = Specialists(OnlyAsync("a"), [OnlyAsync("a"), OnlyAsync("b")], TABLE, chooser=chooser)
    found = asyncio.run(program.acall(message="the lock of a door"))
    assert found.code == ("a" if chooser == "vote" else "b")


class Part(pydantic.BaseModel):
    name: str
    count: int


@pytest.mark.parametrize(
    ("signature", "values", "best"),
    [
        (dspy.Signature("message -> n: int"), [1, 2, 2], 2),
        (dspy.Signature("message -> ok: bool"), [True, False, False], False),
        (dspy.Signature("message -> each: list[str]"), [["a"], ["b"], ["b"]], ["b"]),
        (dspy.Signature("message -> kind: Literal['x', 'y']", custom_types={"Literal": Literal}),
         ["x", "y", "y"], "y"),
        (dspy.Signature("message -> part: Part", custom_types={"Part": Part}),
         [Part(name="a", count=1), Part(name="b", count=2), Part(name="b", count=2)],
         Part(name="b", count=2)),
        (dspy.Signature("message -> part: dict[str, int]"), [{"a": 1}, {"b": 2}, {"b": 2}],
         {"b": 2}),
    ],
)  # fmt: skip
def test_typed_answers_are_counted_by_what_they_say(signature, values, best):
    """Numbers, lists, models and tables; what comes back has its type."""
    (field,) = signature.output_fields

    class Fixed(dspy.Module):
        def __init__(self, value):
            super().__init__()
            self.value, self.answer = value, dspy.Predict(signature)

        def forward(self, message):
            return dspy.Prediction(**{field: self.value})

    program = Specialists(Fixed(values[0]), [Fixed(each) for each in values], chooser="vote")
    found = program(message="m")[field]
    assert (found, type(found)) == (best, type(best))


def test_inputs_of_images_alone_go_to_the_best_member():
    """They are all alike, so nothing is known of any of them; and nothing breaks."""
    image = dspy.Image("data:image/png;base64,QUJD")
    table = [("page: <Image>", [1.0, 0.0])] * 3 + [("page: <Image>", [0.0, 1.0])]
    program = made(table=table)
    assert program.chosen(page=image) == 0
    assert program.expected(page=image) == [0.75, 0.25]


def test_evaluate_takes_them_as_any_program():
    """DSPy's own evaluation, in threads."""
    rows = [
        dspy.Example(message=f"{words} {n}", code=code).with_inputs("message")
        for n in range(5)
        for words, code in (("bill money", "Q7"), ("lock door", "K2"))
    ]
    evaluate = dspy.Evaluate(
        devset=rows, metric=lambda a, b, trace=None: a.code == b.code, num_threads=4
    )
    with dspy.context(lm=label_task.task_lm()):
        assert evaluate(made()).score == 100


@pytest.mark.parametrize("share", [np.float64(0.25), np.float32(0.25), Fraction(1, 4)])
def test_a_share_of_any_kind_of_number(share):
    """As the float that it is."""
    _, result = compiled(Counting(), heldout=share)
    assert result.verdict.n == 2


@pytest.mark.parametrize("held", [tuple(HELDOUT), iter(HELDOUT), dict(enumerate(HELDOUT)).values()])
def test_examples_in_any_collection(held):
    """Also one that can be read once only; or it is refused before anything is spent."""
    metric = Counting()
    try:
        _, result = compiled(metric, heldout=held)
    except ValueError:
        assert metric.calls == 0
    else:
        assert result.verdict.n == 20


@pytest.mark.parametrize("returned", [float("nan"), None, "good", ValueError("no gold")])
def test_a_metric_that_fails_on_held_out_examples_loses_no_program(returned):
    """The search is over: what it found comes back, and the sentence says why it is unchecked."""

    class Failing(Counting):
        def __call__(self, gold, pred, trace=None):
            found = super().__call__(gold, pred, trace)
            if int(gold.message.split()[-1].strip(".")) < 20:
                return found
            if isinstance(returned, Exception):
                raise returned
            return returned

    program, result = compiled(Failing())
    assert "means" in program.signature.instructions
    assert result.verdict.kind in ("not checked", "no evidence of improvement")
    assert str(result.verdict)


def test_a_model_that_is_asked_for_a_member_may_be_awaited_and_talk():
    """The first number in what it says counts."""

    def reply(prompt):
        if "[[ ## member ## ]]" in prompt:
            return answer(member="I would ask member 1, because it knows locks.")
        return answer(code="K2" if "lock means" in prompt else "?")

    async def asked():
        with dspy.context(lm=scripted_lm(reply)):
            return await made("lm").acall(message="the lock of a door")

    assert asyncio.run(asked()).code == "K2"
