"""Specialists with a real small model, on a task of two kinds of message.

    python benchmarks/specialists_local.py --local-model 0.5b --validation 36 --test 40

Messages of customers get the code of what they are about, messages of machines the code of their
state; which code stands for what nobody can guess. The members are instructions that were written
by hand: one for each kind, and one for both. No search is made: with so small a model on one core
it would take hours. What routing claims is learned from the validation messages; what it brings is
counted on messages that nobody saw. Every member is run on every message.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import product
from random import Random

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
import numpy as np
from house_runs import local_student
from line_adapter import Lines
from search_efficiency import quiet

from dspy_gepa.specialists.choosers import inputs_as_text
from dspy_gepa.specialists.member_sets import Choice
from dspy_gepa.specialists.module import Likeness, Specialists
from dspy_gepa.specialists.routing import routed

CUSTOMERS = {
    "Q4": ("money back", "I want my money back for the {}.", "Please refund the {}, order {}.",
           "When is the refund for the {} paid, order {}?", "Give me back what the {} cost."),
    "H8": ("late parcel", "Where is my {}, order {}?", "The parcel with the {} has not arrived.",
           "The {} should have come on Monday, order {}.", "The courier never brought the {}."),
    "Z1": ("broken thing", "The {} does not switch on.", "The {} came with a crack, order {}.",
           "After one day the {} stopped working.", "The {} fell apart, order {}."),
}  # fmt: skip
MACHINES = {
    "K7": ("too hot", "Sensor {1}: temperature of the pump above limit.", "Unit {1} overheated.",
           "Motor {1} reports 98 degrees and rising.", "Cooling of unit {1} has failed."),
    "M3": ("no power", "Unit {1} lost its supply voltage.", "Battery of sensor {1} is empty.",
           "Power failure at motor {1}.", "No current at pump {1}."),
    "B2": ("all is well", "Unit {1} runs as it should.", "Self-test of sensor {1} passed.",
           "Motor {1}: no faults in the last day.", "Pump {1} is in order."),
}  # fmt: skip
THINGS = ("kettle", "lamp", "radio", "toaster", "camera", "drill", "fan", "printer", "heater")


def rows(seed: int) -> list[dspy.Example]:
    """All messages, mixed."""
    chance = Random(seed)
    made = [
        dspy.Example(
            message=text.format(thing, chance.randint(100, 999)),
            code=code,
            kind=("customer", "machine")[kinds is MACHINES],
        ).with_inputs("message")
        for kinds in (CUSTOMERS, MACHINES)
        for (code, (_, *texts)), thing in product(kinds.items(), THINGS)
        for text in texts
    ]
    different = list({each.message: each for each in made}.values())
    chance.shuffle(different)
    return different


def listed(*kinds: dict[str, tuple[str, ...]]) -> str:
    """An instruction by hand for these kinds, with an example of each code."""
    lines = "\n".join(f"{words}: {code}" for kind in kinds for code, (words, *_) in kind.items())
    examples = "\n".join(
        f'"{texts[0].format("shoe", 5)}" is\ntopic: {words}\ncode: {code}'
        for kind in kinds
        for code, (words, *texts) in kind.items()
    )
    return f"Name the topic of the message, then its code.\n{lines}\n{examples}"


MEMBERS = (listed(CUSTOMERS, MACHINES), listed(CUSTOMERS), listed(MACHINES))


def scored(text: str, examples: list[dspy.Example]) -> list[float]:
    """The scores of an instruction; an answer that cannot be read scores 0."""
    program, scores = Lines(dspy.Signature("message -> topic, code", text)), []
    for example in examples:
        try:
            answer = str(program(message=example.message).code)
        except dspy.AdapterParseError:
            answer = ""
        scores.append(float(answer.strip().strip("'\"`.").strip() == example.code))
    return scores


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--local-model", default="0.5b")
    parser.add_argument("--validation", type=int, default=36)
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    count, began = given.validation, time.perf_counter()
    examples = rows(given.seed)[: count + given.test]
    table = []
    with local_student(given.local_model, 1, 24) as student, dspy.context(lm=student):
        for number, text in enumerate(MEMBERS):
            with quiet():
                table.append(scored(text, examples))
            seconds = time.perf_counter() - began
            print(f"member {number}: {np.mean(table[-1]):.3f} after {seconds:.0f} s", flush=True)
    scores = np.array(table)
    words = [inputs_as_text((), {"message": each.message}) for each in examples]
    known = Likeness(words[:count])
    likeness = np.array([known.to(each) for each in words[:count]])
    routing, choice = routed(scores[:, :count], likeness, tuple(range(len(MEMBERS))), 3)
    print(routing)
    report(scores, words, count, choice)
    for kind in ("customer", "machine"):
        columns = [n for n, each in enumerate(examples) if each.kind == kind]
        print(f"{kind}: {scores[:, columns].mean(1).round(3)} on {len(columns)}")


def report(scores: np.ndarray, words: list[str], count: int, choice: Choice) -> None:
    """What the chosen members bring on the messages behind the first so many."""
    best = int(scores[:, :count].mean(1).argmax())
    members = list(choice.members)
    known = list(zip(words[:count], scores[members, :count].T.tolist(), strict=True))
    program = Specialists(
        Lines("message -> topic, code"), [Lines("message -> topic, code") for _ in members], known,
        shrinkage=choice.shrinkage,
    )  # fmt: skip
    sent = [members[program.chosen(message=each[len("message: ") :])] for each in words[count:]]
    fresh = scores[:, count:]
    reached = fresh[sent, np.arange(fresh.shape[1])]
    print(
        f"unseen: {reached.mean():.3f} routed, {fresh[best].mean():.3f} the single best "
        f"(member {best}), gain {(reached - fresh[best]).mean():+.3f} on {len(reached)}"
    )


if __name__ == "__main__":
    main()
