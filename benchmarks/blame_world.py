"""Three steps in a row with one planted fault, answered by a scripted model.

`classify` says of what kind a thing is, `route` which desk takes that kind, `sign` which code that
desk answers with; each hands an order number on. All of these facts are drawn by the seed. The
model does what the instruction of a step states, and knows nothing else: it looks up which value
stands with a key, in whatever words, and takes the first where two are stated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any

import dspy

__all__ = ["FAULTS", "STEPS", "Pipeline", "Question", "StepsLM", "graded", "question"]

STEPS = ("classify", "route", "sign")
FAULTS = ("dropped", "wrong", "contradictory", "upstream", "two", "none")
"""A rule is gone; has another value; stands beside its opposite. Upstream: an early step does not
hand on what only the last one shows. Two: dropped in one step and wrong in another. None: the
instructions are right, and two training rows expect a wrong code."""

THINGS = ("kettle", "lamp", "radio", "camera", "drill", "printer", "heater", "tent")
KINDS = ("amber", "cobalt", "ivory", "jade", "coral", "onyx", "pearl", "rust")
DESKS = ("Oslo", "Lima", "Cairo", "Quito", "Dakar", "Hanoi", "Turin", "Perth")
PATTERNS = (
    "The {thing} of order {number} is broken.",
    "Order {number}: where is my {thing}?",
    "I sent the {thing} back, order {number}.",
    "Please change the {thing} in order {number}.",
    "My {thing}, order {number}, makes a noise.",
    "Is the {thing} of order {number} still under warranty?",
)
_OPENINGS = {
    "classify": "Say of what kind the message is. Write the order number after the kind.",
    "route": "Say which desk takes the kind. Write the order number after the desk.",
    "sign": "Give the code of the desk. Write the order number after the code.",
}
_RULES = {
    "classify": "A message about a {0} is of the kind {1}.",
    "route": "The kind {0} goes to the desk {1}.",
    "sign": "The desk {0} answers with the code {1}.",
}
_NUMBER = re.compile(r"\border numbers?\b", re.IGNORECASE)


class Pipeline(dspy.Module):  # type: ignore[misc]  # DSPy is untyped here
    """From a message to a code, in three steps."""

    def __init__(self, instructions: Mapping[str, str]) -> None:
        super().__init__()
        fields = ("message -> kind", "kind -> desk", "desk -> code")
        for step, own in zip(STEPS, fields, strict=True):
            setattr(self, step, dspy.Predict(dspy.Signature(own, instructions[step])))

    def forward(self, message: str) -> Any:
        """The prediction with the code."""
        kind = self.classify(message=message).kind
        return self.sign(desk=self.route(kind=kind).desk)


@dataclass(frozen=True)
class Question:
    """One reflection: a program with a known fault, and what it runs on."""

    fault: str
    faulty: frozenset[str]
    """The steps that are at fault."""
    tables: Mapping[str, Mapping[str, str]]
    """Step to what is right there."""
    instructions: Mapping[str, str]
    """As the program is given."""
    good: Mapping[str, str]
    """Without the fault."""
    train: list[dspy.Example]
    unseen: list[dspy.Example]

    @property
    def program(self) -> Pipeline:
        """The program with the fault."""
        return Pipeline(self.instructions)


def question(number: int) -> Question:
    """The fault and its step go round; its facts are drawn by the number."""
    random, fault = Random(f"blame {number}"), FAULTS[number % len(FAULTS)]
    place = number // len(FAULTS) % len(STEPS)
    kinds, desks = random.sample(KINDS, 4), random.sample(DESKS, 4)
    letters, digits = random.sample("ABCDEFGHKLMPRSTUVX", 4), random.sample("123456789", 4)
    signs = [letter + digit for letter, digit in zip(letters, digits, strict=True)]
    tables = {
        "classify": dict(zip(random.sample(THINGS, 8), 2 * kinds, strict=True)),
        "route": dict(zip(kinds, desks, strict=True)),
        "sign": dict(zip(desks, signs, strict=True)),
    }
    good = {
        step: "\n".join([_OPENINGS[step], *(_RULES[step].format(*pair) for pair in table.items())])
        for step, table in tables.items()
    }
    steps = [STEPS[place], STEPS[(place + 1 + random.randrange(2)) % 3]]
    faults = {"two": ("dropped", "wrong"), "none": ()}.get(fault, (fault,))
    if fault == "upstream":
        steps = [STEPS[place % 2]]  # what the last step leaves out is not upstream
    broken = dict(good)
    for step, own in zip(steps, faults, strict=False):
        broken[step] = planted(own, step, tables[step], random)
    faulty = frozenset(step for step in STEPS if broken[step] != good[step])
    patterns = random.sample(PATTERNS, len(PATTERNS))
    train, unseen = (
        [
            example(tables, pattern.format(thing=thing, number=random.randint(1000, 9999)), thing)
            for thing in THINGS
            for pattern in own
        ]
        for own in (patterns[:3], patterns[3:])
    )
    random.shuffle(train)
    if fault == "none":
        train[:2] = [mislabeled(each, signs) for each in train[:2]]
    return Question(fault, faulty, tables, broken, good, train, unseen)


def planted(fault: str, step: str, table: Mapping[str, str], random: Random) -> str:
    """The instruction of a step with a fault in it."""
    opening = _OPENINGS[step]
    rules = [_RULES[step].format(*pair) for pair in table.items()]
    if fault == "upstream":
        return "\n".join([opening.split(". ")[0] + ".", *rules])
    place = random.randrange(len(rules))
    key, value = list(table.items())[place]
    other = _RULES[step].format(key, random.choice(sorted({*table.values()} - {value})))
    rules[place : place + 1] = {
        "dropped": [],
        "wrong": [other],
        "contradictory": [other, rules[place]],
    }[fault]
    return "\n".join([opening, *rules])


def example(tables: Mapping[str, Mapping[str, str]], message: str, thing: str) -> dspy.Example:
    """A message with its code and order number."""
    code = tables["sign"][tables["route"][tables["classify"][thing]]]
    number = re.search(r"\d{4}", message)
    assert number is not None
    return dspy.Example(message=message, code=f"{code} #{number[0]}").with_inputs("message")


def mislabeled(gold: dspy.Example, signs: Sequence[str]) -> dspy.Example:
    """The same message with the code of another desk."""
    code, number = gold.code.split()
    other = signs[(signs.index(code) + 1) % len(signs)]
    return dspy.Example(message=gold.message, code=f"{other} {number}").with_inputs("message")


def graded(gold: dspy.Example, prediction: Any, trace: Any = None) -> tuple[float, str]:
    """Right or wrong at the end, and what was expected there."""
    del trace
    if prediction.code == gold.code:
        return 1.0, "Right."
    return 0.0, f"Expected '{gold.code}', got '{prediction.code}'."


class StepsLM(dspy.BaseLM):  # type: ignore[misc]  # DSPy is untyped here
    """Does what the instruction of a step states, and nothing else."""

    def __init__(self, tables: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__("steps", "chat", 0.0, 1000, cache=False)
        self.tables = tables

    def forward(
        self, prompt: str | None = None, messages: Any = None, **settings: Any
    ) -> SimpleNamespace:
        """The answer of one step, in the form of DSPy's default adapter."""
        del prompt, settings
        system, asked = messages[0]["content"], messages[-1]["content"]
        fields = {"kind": "classify", "desk": "route", "code": "sign"}
        field = re.findall(r"starting with the field `\[\[ ## (\w+) ## \]\]`", asked)[-1]
        instruction = system.split("your objective is:", 1)[1]
        given = asked.split("Respond with", 1)[0]
        answer = self.answer(fields[field], instruction, given)
        text = f"[[ ## {field} ## ]]\n{answer}\n\n[[ ## completed ## ]]"
        message = SimpleNamespace(content=text, tool_calls=None)
        return SimpleNamespace(
            choices=[SimpleNamespace(message=message, finish_reason="stop", index=0)],
            usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            model=self.model,
        )

    def answer(self, step: str, instruction: str, given: str) -> str:
        """The value that the instruction states for what is given, and the order number."""
        table = self.tables[step]
        key = next((key for key in table if _has(given, key)), "")
        value = stated(instruction, key, tuple(table.values())) if key else ""
        number = re.search(r"\b\d{4}\b", given)
        mark = f" #{number[0]}" if number and _NUMBER.search(instruction) else ""
        return f"{value or 'unknown'}{mark}"


def stated(instruction: str, key: str, values: Sequence[str]) -> str:
    """The first value that a line or sentence with the key states for it; "" if none does.

    The value that follows the key counts, and else the last one before it: "jade: kettle, lamp".
    """
    for part in re.split(r"[\n;]|\.\s", instruction):
        found = _at(part, key)
        if found < 0:
            continue
        places = [(_at(part, value), value) for value in dict.fromkeys(values)]
        after = [each for each in places if each[0] > found]
        before = [each for each in places if 0 <= each[0] < found]
        if after or before:
            return min(after)[1] if after else max(before)[1]
    return ""


def _at(text: str, word: str) -> int:
    found = re.search(rf"(?<!\w){re.escape(word)}s?(?!\w)", text, re.IGNORECASE)
    return found.start() if found else -1


def _has(text: str, word: str) -> bool:
    return _at(text, word) >= 0
