"""Whether searching on what the set still fails brings more than one longer first search.

    python benchmarks/second_search.py --first 100 --seeds 8

Simulated, behind DSPy's interface: six kinds of input, a rule for each. The reflection model adds
one of the rules that its prompt tells of. An instruction of more rules than the task model can
follow at once is followed the less, and the reflection model drops some of them. Arms: a third of
the search's calls is held for specialists (what is shipped); nothing is held, and what the first
search leaves is used for them; no second search at all. The last two have no argument: the
functions that decide it are replaced here. The score is that of the returned program on 150 unseen
inputs.
"""

from __future__ import annotations

import argparse
import os
import random
import re
from collections import Counter
from contextlib import ExitStack
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from report import print_table
from search_efficiency import quiet

from dspy_gepa import GEPA
from dspy_gepa.compilation import allowance
from dspy_gepa.compilation.specialists import Specializing
from dspy_gepa.core.budget import NOTHING

KINDS = 6
TRAIN, VALIDATION, UNSEEN = 24, 36, 150
ARMS = ("a third held", "what is left", "none")
WORLDS = ((2, 300), (2, 500), (KINDS, 300))
"""Rules that can be followed at once, and the metric calls."""
_KIND, _RULE = re.compile(r"topic\d"), re.compile(r"(topic\d) means (\w\d)")
_OWN = re.compile(r"RULES\[(.*?)\]")
_SEVERAL = re.compile(r"each component that is at fault, of (.*?); the others")
_FIRST = re.compile(r'<new_text component="(.*?)">')


class Simulated(dspy.BaseLM):
    """Follows an instruction, or adds a rule to it."""

    def __init__(self, seed: int, room: int, *, is_reflection: bool) -> None:
        super().__init__(model="simulated", cache=False)
        self.seed, self.room, self.is_reflection = seed, room, is_reflection
        self.asked = Counter[str]()

    def forward(self, prompt: Any = None, messages: Any = None, **settings: Any) -> Any:
        """The reply, as a provider would send it."""
        del settings
        told = "\n".join(str(each["content"]) for each in messages) if messages else prompt
        reply = self.reflected(told) if self.is_reflection else self.followed(told)
        message = SimpleNamespace(content=reply, tool_calls=None)
        choice = SimpleNamespace(message=message, finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage={}, model=self.model)

    def followed(self, told: str) -> str:
        """The code of the message's kind, where a rule tells it and is followed."""
        instruction, _, message = told.rpartition("[[ ## message ## ]]")
        kind, rules = _KIND.findall(message)[0], dict(_RULE.findall(instruction))
        chance = random.Random(f"{self.seed} {message} {sorted(rules)}")
        is_followed = kind in rules and chance.random() < self.room / max(len(rules), self.room)
        return f"[[ ## code ## ]]\n{rules[kind] if is_followed else '?'}\n\n[[ ## completed ## ]]"

    def reflected(self, told: str) -> str:
        """The instruction with one of the rules that are told of."""
        self.asked[told] += 1
        chance = random.Random(f"{self.seed} {self.asked[told]} {told}")
        own = _OWN.search(told)
        rules = _RULE.findall(own[1]) if own else []
        others = [each for each in sorted(set(_RULE.findall(told))) if each not in rules]
        rules += [chance.choice(others)] if others else []
        if len(rules) > self.room:
            rules = (
                chance.sample(rules, self.room) if chance.random() < 0.5 else rules[-self.room :]
            )
        text = "; ".join(f"{kind} means {code}" for kind, code in rules)
        several, first = _SEVERAL.search(told), _FIRST.search(told)
        names = several[1].split(", ") if several else [first[1] if first else ""]
        marks = [f' component="{name}"' if name else "" for name in names]
        return "\n".join(f"<new_text{m}>\nGive the code. RULES[{text}]\n</new_text>" for m in marks)


def metric(gold: dspy.Example, pred: dspy.Prediction, trace: object = None) -> tuple[float, str]:
    """Right or wrong, and the rule."""
    del trace
    return float(pred.code == gold.code), f"{_KIND.findall(gold.message)[0]} means {gold.code}"


def examples(seed: int) -> list[dspy.Example]:
    """Messages whose words tell their kind."""
    chance, made = random.Random(seed), []
    for number in range(TRAIN + VALIDATION + UNSEEN):
        kind = f"topic{chance.randrange(KINDS)}"
        words = f"{kind}word{chance.randint(0, 5)} case{number} about word{chance.randint(0, 40)}"
        example = dspy.Example(message=f"{kind} {words}", code=f"C{kind[-1]}")
        made.append(example.with_inputs("message"))
    return made


def run(arm: str, seed: int, room: int, calls: int) -> float:
    """The unseen score of what comes back."""
    rows = examples(seed)
    reflection_lm = Simulated(seed, room, is_reflection=True)
    optimizer = GEPA(
        metric,
        max_metric_calls=calls,
        specialists=3,
        num_threads=1,
        reflection_lm=reflection_lm,
        seed=seed,
    )
    with ExitStack() as stack:
        if arm != "a third held":
            stack.enter_context(patch.object(allowance, "second_search", lambda _: NOTHING))
        if arm == "none":
            stack.enter_context(patch.object(Specializing, "_sought", lambda *_: ([], NOTHING)))
        stack.enter_context(quiet())
        stack.enter_context(dspy.context(lm=Simulated(seed, room, is_reflection=False)))
        program = optimizer.compile(
            dspy.Predict("message -> code"), rows[:TRAIN], rows[TRAIN : TRAIN + VALIDATION]
        )
        unseen = rows[TRAIN + VALIDATION :]
        return fmean(program(message=each.message).code == each.code for each in unseen)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    table: list[list[object]] = [["rules at once", "calls", *ARMS, "first minus last, error"]]
    for room, calls in WORLDS:
        seeds = range(given.first, given.first + given.seeds)
        found = [[run(arm, seed, room, calls) for arm in ARMS] for seed in seeds]
        means = [f"{fmean(column):.3f}" for column in zip(*found, strict=True)]
        gains = [row[0] - row[-1] for row in found]
        error = stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        table.append([room, calls, *means, f"{fmean(gains):+.3f}, {error:.3f}"])
    print_table(table)


if __name__ == "__main__":
    main()
