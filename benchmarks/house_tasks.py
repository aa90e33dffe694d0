"""Tasks whose facts nobody can know, and whose feedback says only what was expected.

The facts of a task (codes, forms, tables, meanings) are drawn by the seed. The metric says
"Expected code 'A2', got 'F1'." and no more. A row is made from sentence patterns, and the patterns
of training, validation and test are different ones: no test row stands in the other splits but for
names and numbers, so a text that lists cases does not carry over, and one that names the rule does.

`good` of a task is an instruction that was written by hand for its facts. It measures how much
there is to be gained; no search may see it. See `headroom.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from random import Random
from string import ascii_uppercase
from typing import Any, NamedTuple

import dspy
from house_sentences import (
    BOOKINGS,
    CATEGORIES,
    COUNTRIES,
    ITEMS,
    MOODS,
    ORDERS,
    PARCELS,
    SIZES,
    SLOTS,
    TOPICS,
)
from line_adapter import Lines

from dspy_gepa.demo.task import DemoTask, Graded, Splits

__all__ = ["HOUSE_TASKS", "SIZES_OF_SPLITS", "Expected", "HouseTask", "Row", "house_task"]

SIZES_OF_SPLITS = {"train": 24, "validation": 24, "test": 200}


class Row(NamedTuple):
    """One message with its right answer."""

    message: str
    answer: Mapping[str, str]
    """Field to value."""
    patterns: tuple[str, ...]
    """What it was made from; names and numbers are filled in."""


@dataclass(frozen=True)
class HouseTask:
    """A task for one seed."""

    task: DemoTask
    """What an optimizer is given."""
    good: str
    """An instruction that states the facts; never shown to a search."""
    rows: Mapping[str, tuple[Row, ...]]
    """By split, in the order of the task's examples."""


@dataclass(frozen=True)
class Expected:
    """A metric over some fields that says only what was expected."""

    fields: tuple[str, ...]
    is_graded: bool = False
    """Whether each field counts by itself; otherwise all of them must be right."""

    def __call__(self, gold: dspy.Example, prediction: Any, trace: Any = None) -> Graded:
        """The score, and for each wrong field what was expected."""
        del trace
        answers = {field: answered(prediction, field) for field in self.fields}
        wrong = [field for field in self.fields if answers[field] != gold[field]]
        right = (len(self.fields) - len(wrong)) / len(self.fields)
        remarks = [remark(field, gold[field], answers[field]) for field in wrong]
        return Graded(right if self.is_graded else float(right == 1), " ".join(remarks) or "Right.")


def answered(prediction: Any, field: str) -> str | None:
    """The answer without blanks and quotation marks around it; None if there is no text."""
    answer = getattr(prediction, field, None)
    return answer.strip().strip("'\"`").strip() if isinstance(answer, str) else None


def remark(field: str, wanted: str, answer: str | None) -> str:
    """The feedback: what was expected, and nothing about why."""
    if answer is None:
        return f"Expected {field} '{wanted}', got no answer that can be read."
    return f"Expected {field} '{wanted}', got '{answer[:80]}'."


def house_task(name: str, seed: int, *, test: int = SIZES_OF_SPLITS["test"]) -> HouseTask:
    """A task by its name, with so many test rows; the same seed gives the same rows."""
    return HOUSE_TASKS[name](seed, {**SIZES_OF_SPLITS, "test": test})


class Draw:
    """Everything that one seed draws for one task."""

    def __init__(self, name: str, seed: int) -> None:
        self.random = Random(f"{name} {seed}")

    def some(self, values: Sequence[Any], count: int) -> list[Any]:
        """So many different ones of these, in a random order."""
        return self.random.sample(list(values), count)

    def parted(self, patterns: Sequence[str]) -> dict[str, list[str]]:
        """The patterns, each in one split only: about 4 of 10 for the test alone."""
        mixed = self.some(patterns, len(patterns))
        test, validation = round(0.42 * len(mixed)), round(0.22 * len(mixed))
        return {
            "test": mixed[:test],
            "validation": mixed[test : test + validation],
            "train": mixed[test + validation :],
        }

    def all_parted(self, classes: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
        """The same for the patterns of several classes: class to split to patterns."""
        return {name: self.parted(patterns) for name, patterns in classes.items()}

    def filled(self, pattern: str, **values: str) -> str:
        """A sentence: the pattern with these values, else with random names and numbers."""
        slots = {name: self.random.choice(each) for name, each in SLOTS.items()}
        number = str(self.random.randint(2, 90))
        text = pattern.format(**{**slots, "number": number, **values})
        return text[0].upper() + text[1:]


def rows_of(
    sizes: Mapping[str, int], draw: Draw, cases: Sequence[Any], make: Callable[[str, Any], Row]
) -> dict[str, tuple[Row, ...]]:
    """So many different rows a split, that go round all cases again and again."""
    return {
        split: tuple(_different(draw, cases, partial(make, split), size))
        for split, size in sizes.items()
    }


def _different(
    draw: Draw, cases: Sequence[Any], make: Callable[[Any], Row], size: int
) -> list[Row]:
    rows: dict[str, Row] = {}
    turns = _endless(draw, cases)
    while len(rows) < size:
        row = make(next(turns))
        rows.setdefault(row.message, row)
    return list(rows.values())


def _endless(draw: Draw, cases: Sequence[Any]) -> Iterator[Any]:
    while True:
        yield from draw.some(cases, len(cases))


def finished(
    outputs: str,
    instruction: str,
    good: str,
    rows: Mapping[str, tuple[Row, ...]],
    *,
    is_graded: bool = False,
) -> HouseTask:
    """The task that has these output fields, this instruction and these rows."""
    examples = {
        split: [
            dspy.Example({"message": row.message, **row.answer}).with_inputs("message")
            for row in own
        ]
        for split, own in rows.items()
    }
    signature = f"message -> {outputs}"
    task = DemoTask(
        title=instruction,
        program=Lines(dspy.Signature(signature, instruction)),
        metric=Expected(tuple(rows["test"][0].answer), is_graded),
        splits=Splits(**examples),
        metric_calls=150,
        answer_tokens=32,
        recipe=f'from line_adapter import Lines\nprogram = Lines("{signature}")',
    )
    return HouseTask(task, good, rows)


SHORT = {
    "refund": "I want my money for the shoes.",
    "delivery": "The shoes have not come.",
    "broken": "The zip of the shoes tore.",
    "invoice": "Send me a receipt.",
    "login": "My account is blocked.",
    "praise": "Nice shoes, thanks!",
    "opening hours": "When do you open?",
    "job": "Do you have work for me?",
}
"""An example of each topic for the instruction by hand; none is a pattern of the rows."""


def codes(seed: int, sizes: Mapping[str, int]) -> HouseTask:
    """Four topics have a code, all else has the rest code; of two topics the first in rank wins."""
    draw = Draw("codes", seed)
    ranked = draw.some(tuple(TOPICS), 4)
    letters = draw.some("ABCDEFGHKLMNPQRSTUVWXYZ", 5)
    signs = [letter + draw.random.choice("123456789") for letter in letters]
    code, rest = dict(zip(ranked, signs[:4], strict=True)), signs[4]
    others = [topic for topic in TOPICS if topic not in code]
    sentences = draw.all_parted(TOPICS)
    pairs = list(combinations(ranked, 2))
    cases = [*pairs, *(2 * [(topic,) for topic in ranked]), *((each,) for each in others)]

    def make(split: str, topics: tuple[str, ...]) -> Row:
        patterns = [draw.random.choice(sentences[topic][split]) for topic in topics]
        draw.random.shuffle(patterns)
        message = " ".join(map(draw.filled, patterns))
        return Row(message, {"code": code.get(topics[0], rest)}, tuple(patterns))

    lines = "\n".join(f"{topic}: {code[topic]}" for topic in ranked)
    examples = "\n".join(
        f'"{SHORT[topic]}" is\ntopic: {topic}\ncode: {code.get(topic, rest)}' for topic in TOPICS
    )
    good = (
        f"Name the topic of the message, then its code.\n{lines}\nall other topics: {rest}\n"
        f"If there are two topics, the one that stands higher in this list counts.\n{examples}\n"
        f'"{SHORT[ranked[3]]} {SHORT[ranked[1]]}" is\ntopic: {ranked[1]}\ncode: {code[ranked[1]]}'
    )
    instruction = "Name the topic of the message, then its two-character house code."
    return finished("topic, code", instruction, good, rows_of(sizes, draw, cases, make))


class Form(NamedTuple):
    """A way to write a value, in words and as a function."""

    words: str
    write: Callable[..., str]


NAMES = (
    Form("only the last name in capital letters", lambda _, last: last.upper()),
    Form("only the last name in small letters", lambda _, last: last.lower()),
    Form("the last name, a comma and the first name", lambda first, last: f"{last}, {first}"),
    Form("the first letter, a dot and the last name", lambda first, last: f"{first[0]}. {last}"),
)
TIMES = (
    Form("like 16:45", lambda hour, minute: f"{hour:02}:{minute:02}"),
    Form("like 16h45", lambda hour, minute: f"{hour:02}h{minute:02}"),
    Form("like 16.45", lambda hour, minute: f"{hour:02}.{minute:02}"),
    Form("like 1645", lambda hour, minute: f"{hour:02}{minute:02}"),
)


def bookings(seed: int, sizes: Mapping[str, int]) -> HouseTask:
    """A form of two normalised values, a name and a time; both must be right."""
    draw = Draw("bookings", seed)
    name, clock = draw.random.choice(NAMES), draw.random.choice(TIMES)
    sign = draw.random.choice("@*=+~")

    def written(hour: int, minute: int) -> str:
        return sign + clock.write(hour, minute)

    patterns = draw.parted(BOOKINGS)

    def make(split: str, is_afternoon: Any) -> Row:
        pattern = draw.random.choice(patterns[split])
        hour = draw.random.randint(13, 21) if is_afternoon else draw.random.randint(7, 11)
        minute = draw.random.choice((0, 15, 30, 45))
        first, last = (draw.random.choice(SLOTS[each]) for each in ("first", "last"))
        words = f"{(hour - 1) % 12 + 1}:{minute:02} {'pm' if is_afternoon else 'am'}"
        message = draw.filled(pattern, first=first, last=last, time=words)
        answer = {"guest": name.write(first, last), "time": written(hour, minute)}
        return Row(message, answer, (pattern,))

    good = (
        f"Write the guest as {name.words}, and the time with 24 hours {clock.words} after a "
        f"{sign}. For example, Ada Stone at 4:45 pm:\nguest: {name.write('Ada', 'Stone')}\n"
        f"time: {written(16, 45)}\nAnd Karl Wolf at 8:15 am:\n"
        f"guest: {name.write('Karl', 'Wolf')}\ntime: {written(8, 15)}"
    )
    instruction = "Write down the guest and the time in the forms of the house."
    return finished(
        "guest, time", instruction, good, rows_of(sizes, draw, (True, True, False), make)
    )


COLORS = ("red", "blue", "green", "yellow", "black", "white", "pink", "gray", "brown", "orange")


def stickers(seed: int, sizes: Mapping[str, int]) -> HouseTask:
    """A color by country and category: one country has its own, two set a category apart."""
    draw = Draw("stickers", seed)
    own, second, third = draw.some(tuple(COUNTRIES), 3)
    apart, other = draw.some(tuple(CATEGORIES), 2)
    color = draw.some(COLORS, 4)
    table = {
        **{(own, category): color[0] for category in CATEGORIES},
        **{(second, category): color[1 if category == apart else 2] for category in CATEGORIES},
        **{(third, category): color[3 if category == other else 1] for category in CATEGORIES},
    }
    categories, countries = draw.all_parted(CATEGORIES), draw.all_parted(COUNTRIES)
    frames = draw.parted(PARCELS)

    def make(split: str, case: tuple[str, str]) -> Row:
        country, category = case
        where = draw.random.choice(countries[country][split])
        what = draw.random.choice(categories[category][split])
        frame = draw.random.choice(frames[split])
        message = draw.filled(frame, what=what, where=where)
        return Row(message, {"color": table[case]}, (frame, what, where))

    blocks = "\n\n".join(
        f"country: {country}\ncategory: {category}\ncolor: {name}"
        for (country, category), name in table.items()
    )
    good = f"The category is furniture, clothing or food. The color follows from both:\n\n{blocks}"
    instruction = "Name the country and the category of the parcel, then the color of its sticker."
    return finished(
        "country, category, color", instruction, good, rows_of(sizes, draw, tuple(table), make)
    )


SCALES = (
    ("red", "yellow", "green"),
    ("minus", "zero", "plus"),
    ("cold", "mild", "warm"),
    ("down", "level", "up"),
    ("rain", "cloud", "sun"),
    ("black", "gray", "white"),
    ("night", "dusk", "day"),
    ("thorn", "leaf", "rose"),
)
"""Words for moods from negative to positive, as everybody else uses them."""
TURNED = ((2, 1, 0), (1, 2, 0), (2, 0, 1))
"""Which word of a scale the house uses for negative, neutral and positive."""


def signals(seed: int, sizes: Mapping[str, int]) -> HouseTask:
    """The words of a usual scale, with meanings that are turned round."""
    draw = Draw("signals", seed)
    scale, turned = draw.random.choice(SCALES), draw.random.choice(TURNED)
    signal = dict(zip(MOODS, (scale[each] for each in turned), strict=True))
    sentences = draw.all_parted(MOODS)

    def make(split: str, mood: str) -> Row:
        pattern = draw.random.choice(sentences[mood][split])
        return Row(draw.filled(pattern), {"signal": signal[mood]}, (pattern,))

    lines = "\n".join(f"{mood}: {word}" for mood, word in signal.items())
    examples = "\n".join(
        f'"The shoe is {word}" is\nmood: {mood}\nsignal: {signal[mood]}'
        for mood, word in (("positive", "superb"), ("negative", "awful"), ("neutral", "brown"))
    )
    good = (
        "Name the mood of the customer, then the signal. The signals do not mean what one would "
        f"think.\n{lines}\n{examples}"
    )
    instruction = f"Name the mood of the customer, then the signal: {', '.join(scale)}."
    return finished("mood, signal", instruction, good, rows_of(sizes, draw, tuple(MOODS), make))


COUNTS = (
    Form("with three digits", lambda count: f"{count:03}"),
    Form("with an x behind it", lambda count: f"{count}x"),
    Form("with pcs behind it", lambda count: f"{count} pcs"),
    Form("with No before it", lambda count: f"No {count}"),
)
THINGS = (
    Form("in capital letters and in the singular", lambda item: item.upper()),
    Form("in capital letters and in the plural", lambda item: f"{item.upper()}S"),
    Form("in the singular with a # before it", lambda item: f"#{item}"),
    Form("in the singular with article", lambda item: f"the {item}"),
)


def records(seed: int, sizes: Mapping[str, int]) -> HouseTask:
    """A record of three fields, each in a form of its own; each counts a third."""
    draw = Draw("records", seed)
    number, thing = draw.random.choice(COUNTS), draw.random.choice(THINGS)
    mark = dict(zip(SIZES, draw.some(ascii_uppercase, 2), strict=True))
    frames, words, items = draw.parted(ORDERS), draw.all_parted(SIZES), draw.parted(ITEMS)

    def make(split: str, size: str) -> Row:
        frame, item = draw.random.choice(frames[split]), draw.random.choice(items[split])
        word, count = draw.random.choice(words[size][split]), draw.random.randint(2, 90)
        message = draw.filled(frame, count=str(count), size=word, item=item)
        answer = {"count": number.write(count), "item": thing.write(item), "size": mark[size]}
        return Row(message, answer, (frame, word, item))

    good = (
        f"Write the count {number.words}, the item {thing.words}, and the size as {mark['small']} "
        f"(small, little, tiny) or {mark['big']} (big, large, huge). For example, 4 huge ovens:\n"
        f"count: {number.write(4)}\nitem: {thing.write('oven')}\nsize: {mark['big']}\n"
        f"And 12 little bells:\n"
        f"count: {number.write(12)}\nitem: {thing.write('bell')}\nsize: {mark['small']}"
    )
    instruction = "Write down the count, the item and the size in the forms of the house."
    rows = rows_of(sizes, draw, tuple(SIZES), make)
    return finished("count, item, size", instruction, good, rows, is_graded=True)


HOUSE_TASKS: dict[str, Callable[[int, Mapping[str, int]], HouseTask]] = {
    "codes": codes,
    "bookings": bookings,
    "stickers": stickers,
    "signals": signals,
    "records": records,
}
"""By name; told the seed and the sizes of the splits."""
