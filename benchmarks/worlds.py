"""Simulated tasks behind DSPy's public interfaces, on which optimizers can be compared in seconds.

A case needs a few of the world's rules. The instruction of a step states some of the rules; a
stated rule is followed with a probability near .95 that falls with everything else that is stated,
an unstated one is met by luck. The reflection LM keeps most of what the current instruction
states, adds most of the missed rules that the feedback names for its step, and now and then adds
a remedy for a single case (a quirk), which helps that case and hurts all others.

Task and reflection LM are `dspy.BaseLM`s that know nothing but the text of their prompt, so the
same objects serve every optimizer, whatever its prompts look like. All chance is hashed: an outcome
is a function of (world, seed, text, case). Only a noisy metric also depends on how often it was
called.

What holds here need not hold for a language model. `WORLDS` says which of the worlds may be used
for tuning and which are held out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

import dspy

__all__ = [
    "WORLDS",
    "ReflectionLM",
    "Stated",
    "Steps",
    "Task",
    "TaskLM",
    "World",
    "instructions",
    "stated_in",
]

FIRST_UNSEEN = 1_000_000
"""Cases from this number on are in no training and no validation set."""

_PART = r"STEP-(\d+) (\w+): ([^\n\"]*?) END-STEP"
_ONE_PART = re.compile(_PART)
"""An instruction or what was added to one: its step, its wording, what it states. JSON changes no
character of it."""
_INSTRUCTION = re.compile(rf"{_PART}(?:\s+{_PART})*")
_IS_CURRENT = re.compile(r"\b(?:current_instruction\W*|instructions as they are\n\n)$")
"""What stands before the text that is to be rewritten, in dspy.GEPA's prompt and in ours."""
_SEVERAL = re.compile(r"each component that is at fault, of (.+?); the others")
"""How our prompt names the components where it is about several."""
_CASE = re.compile(r"case-(\d+)")
_OUTPUT_FIELD = re.compile(r"\[\[ ## (done\d+) ## \]\]")
_STEP = re.compile(r"\bdone(\d+)\b")
_MET = re.compile(r"met-(\d+)")
_MISSED = re.compile(r"missed-(\d+)@(\d+)!(\d+)")
"""Feedback: the rule, the step that it belongs to, the case."""


def chance(*labels: object) -> float:
    """A number in [0, 1) that is the same for the same labels in every process."""
    digest = blake2b(repr(labels).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class Stated(NamedTuple):
    """What an instruction says."""

    step: int
    rules: frozenset[int]
    quirks: frozenset[int]
    """The cases for which it has a remedy."""

    def text(self, wording: str) -> str:
        """An instruction that says this; another wording is another text."""
        said = [f"obey-{rule}" for rule in sorted(self.rules)]
        said += [f"quirk-{case}" for case in sorted(self.quirks)]
        return f"STEP-{self.step} {wording}: {' '.join(['do it', *said])} END-STEP"


@lru_cache(maxsize=100_000)
def stated_in(text: str) -> Stated:
    """What an instruction says; the step -1 where the text is no instruction."""
    found = _INSTRUCTION.search(text)
    if not found:
        return Stated(-1, frozenset(), frozenset())
    words = [word for part in _ONE_PART.finditer(found[0]) for word in part[3].split()]
    numbers = {
        kind: frozenset(int(word.removeprefix(kind)) for word in words if word.startswith(kind))
        for kind in ("obey-", "quirk-")
    }
    return Stated(int(found[1]), numbers["obey-"], numbers["quirk-"])


@dataclass(frozen=True)
class World:
    """A kind of task. With a seed it becomes one `Task`, whose cases and luck are its own."""

    name: str
    tuning: bool
    """Whether settings of an optimizer may be chosen on it; otherwise it is held out."""
    rules: int
    steps: int
    train: int
    validation: int
    partial_credit: bool
    """Whether a score is the share of the needed rules that were met, and not pass or fail."""
    needs: tuple[int, int] = (1, 5)
    """The least and the most rules that a case needs."""
    luck: tuple[float, float] = (0.25, 0.35)
    """How probably unstated rules are met, from the hardest to the easiest cases."""
    follow: float = 0.97
    """How probably a stated rule is followed where nothing else is stated."""
    crowding: float = 0.004
    """How much that falls with each rule that the instruction states."""
    keep: float = 0.97
    """How probably a reflection keeps what is stated."""
    learn: float = 0.8
    """How probably it adds a missed rule that the feedback names."""
    overfit: float = 0.15
    """How probably it adds a remedy for one case."""
    hurt: float = 0.03
    """By how much each remedy lowers the chance on all other cases."""
    repeat: float = 0.0
    """How probably a reflection gives the current text back."""
    told: float = 1.0
    """How probably the feedback on a case names a given rule where it was missed."""
    noise: float = 0.0
    """How far the metric errs: the chance of a wrong verdict, or the largest error in a share."""
    tail: float = 0.0
    """Rule r is needed in proportion to (r + 1) ** -tail: 0 is evenly, 1 a long tail."""
    pairs: float = 0.0
    """The share of rules that count only where the next rule of the same step is stated too."""
    steady: float = 0.0
    """The share of chance that is a case's own, whatever the wording of the instruction."""


class Task:
    """One world with one seed: the cases, how likely they are handled, and what that comes to."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self._labels = (world.name, seed)
        self._weights = [(rule + 1) ** -world.tail for rule in range(world.rules)]
        self._needed: dict[int, tuple[int, ...]] = {}

    def random(self, *labels: object) -> Random:
        """A generator for one purpose."""
        return Random(repr((*self._labels, *labels)))

    def needed(self, case: int) -> tuple[int, ...]:
        """The rules that a case needs."""
        if case not in self._needed:
            random = self.random("needed", case)
            wanted = random.randint(*self.world.needs)
            found: set[int] = set()
            while len(found) < wanted:
                found.add(random.choices(range(self.world.rules), self._weights)[0])
            self._needed[case] = tuple(sorted(found))
        return self._needed[case]

    def step_of(self, rule: int) -> int:
        """The step whose instruction has to state the rule."""
        return rule % self.world.steps

    def likelihood(self, stated: Stated, case: int, rule: int) -> float:
        """How probably a step that was told this meets the rule on the case."""
        world = self.world
        size = len(stated.rules) + len(stated.quirks)
        low, high = world.luck
        likely = low + (high - low) * chance(*self._labels, "luck", case)
        if rule in stated.rules and self._counts(stated, rule):
            likely = max(likely, world.follow - world.crowding * size)
        if case in stated.quirks:
            likely = max(likely, world.follow - world.crowding * size)
        return float(likely * (1 - world.hurt) ** len(stated.quirks - {case}))

    def met(self, text: str, case: int, rule: int) -> bool:
        """Whether the rule is met on the case: always the same for the same text."""
        likely = self.likelihood(stated_in(text), case, rule)
        is_own = self._is_own(case, rule)
        return chance(*self._labels, "met", "" if is_own else text, case, rule) < likely

    def expected(self, texts: Iterable[str], cases: int = 400) -> float:
        """The mean score of a candidate on unseen cases, over all wordings; no metric is called."""
        stated = {each.step: each for each in map(stated_in, texts)}
        total = 0.0
        for case in range(FIRST_UNSEEN, FIRST_UNSEEN + cases):
            likely = [self._average(stated, case, rule) for rule in self.needed(case)]
            if self.world.partial_credit:
                total += sum(likely) / len(likely)
            else:
                product = 1.0
                for each in likely:
                    product *= each
                total += product
        return total / cases

    def examples(self) -> tuple[list[dspy.Example], list[dspy.Example]]:
        """Training and validation set."""
        train, validation = self.world.train, self.world.validation
        made = [
            dspy.Example(case=f"case-{case}").with_inputs("case")
            for case in range(train + validation)
        ]
        return made[:train], made[train:]

    def rewritten(self, stated: Stated, missed: Iterable[tuple[int, int]], turn: int) -> Stated:
        """What the reflection LM makes of an instruction, given missed rules with their cases."""
        world, random = self.world, self.random("reflection", turn, stated.step)
        failed = sorted({case for _, case in missed})
        rules = {rule for rule in sorted(stated.rules) if random.random() < world.keep}
        quirks = {case for case in sorted(stated.quirks) if random.random() < world.keep}
        rules |= {r for r in sorted({rule for rule, _ in missed}) if random.random() < world.learn}
        if failed and random.random() < world.overfit:
            quirks.add(random.choice(failed))
        return Stated(stated.step, frozenset(rules), frozenset(quirks))

    def judged(self, case: int, done: str, call: int) -> tuple[float, str]:
        """Score and feedback for what was done on a case, at the metric's so-many-th call."""
        world, needed = self.world, self.needed(case)
        met = {int(rule) for rule in _MET.findall(done)}
        missed = [rule for rule in needed if rule not in met]
        told = [
            f"missed-{rule}@{self.step_of(rule)}!{case}"
            for rule in missed
            if chance(*self._labels, "told", case, rule) < world.told
        ]
        error = chance(*self._labels, "noise", call)
        if world.partial_credit:
            score = 1 - len(missed) / len(needed) + world.noise * (2 * error - 1)
        else:
            score = float(bool(missed) == (error < world.noise))
        return min(1.0, max(0.0, score)), " ".join(["Score.", *told])

    def _average(self, stated: Mapping[int, Stated], case: int, rule: int) -> float:
        likely = self.likelihood(stated[self.step_of(rule)], case, rule)
        if not self._is_own(case, rule):
            return likely
        return float(chance(*self._labels, "met", "", case, rule) < likely)

    def _counts(self, stated: Stated, rule: int) -> bool:
        """Whether a stated rule has the other one beside it that it may need."""
        if chance(*self._labels, "pairs", rule) >= self.world.pairs:
            return True
        following = rule + self.world.steps
        return (following if following < self.world.rules else stated.step) in stated.rules

    def _is_own(self, case: int, rule: int) -> bool:
        steady = self.world.steady
        return steady > 0 and chance(*self._labels, "steady", case, rule) < steady


class Steps(dspy.Module):
    """The program: every step looks at the case and says which rules it met."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.count = steps
        for step in range(steps):
            text = Stated(step, frozenset(), frozenset()).text("w0")
            # Each step has a field of its own: dspy.GEPA tells predictors apart by signature.
            setattr(self, f"step{step}", dspy.Predict(dspy.Signature(f"case -> done{step}", text)))

    def forward(self, case: str) -> dspy.Prediction:
        """What all steps met."""
        said = [getattr(self, f"step{n}")(case=case)[f"done{n}"] for n in range(self.count)]
        return dspy.Prediction(done=" ".join(said))


def instructions(program: dspy.Module) -> tuple[str, ...]:
    """The texts of a program's steps."""
    return tuple(each.signature.instructions for each in program.predictors())


class _Simulated(dspy.BaseLM):
    """An LM whose reply is a function of the text of its prompt."""

    def __init__(self, task: Task) -> None:
        super().__init__(model="simulated", cache=False)
        self.task = task

    def forward(self, prompt: Any = None, messages: Any = None, **settings: Any) -> Any:
        """The reply, as a provider would send it."""
        del settings
        told = "\n".join(message["content"] for message in messages) if messages else prompt
        message = SimpleNamespace(content=self.reply(told), tool_calls=None)
        choice = SimpleNamespace(message=message, finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage={}, model=self.model)

    def reply(self, prompt: str) -> str:
        """What it says to this."""
        raise NotImplementedError


class TaskLM(_Simulated):
    """Carries out a step: says which of the rules that the case needs of this step are met."""

    def reply(self, prompt: str) -> str:
        """The step's output field, as DSPy's chat adapter reads it."""
        task, found = self.task, _INSTRUCTION.search(prompt)
        case = int(_CASE.findall(prompt)[-1])
        output = _OUTPUT_FIELD.findall(prompt)[-1]
        text = found[0] if found else ""
        step = int(output.removeprefix("done"))
        own = [rule for rule in task.needed(case) if task.step_of(rule) == step]
        met = " ".join(f"met-{rule}" for rule in own if task.met(text, case, rule))
        return f"[[ ## {output} ## ]]\n{met or 'nothing'}\n\n[[ ## completed ## ]]"


class ReflectionLM(_Simulated):
    """Rewrites the current instruction in its prompt by the feedback in its prompt.

    The reply is in our marks where they are asked for, else JSON. A prompt may hold other
    instructions, earlier attempts for example: the current one is the only one, or the one that is
    introduced as such. Where our prompt is about several, those are rewritten of which the feedback
    names a rule.
    """

    def __init__(self, task: Task, note: Callable[[], int]) -> None:
        super().__init__(task)
        self._note = note
        self.calls: list[int] = []
        """For every call, how many rollouts there had been."""
        self.unclear = 0
        """Calls in which no current instruction could be made out. Anything but 0 is an error."""

    def reply(self, prompt: str) -> str:
        """The new instruction."""
        self.calls.append(self._note())
        return self._rewritten(prompt, len(self.calls))

    def _rewritten(self, prompt: str, turn: int) -> str:
        """What it makes of the prompt with this luck; the text that it sees, or missed rules."""
        missed = [(int(r), int(step), int(case)) for r, step, case in _MISSED.findall(prompt)]
        several = _SEVERAL.search(prompt)
        if several is None:
            new = self._new(*self._in_sight(prompt), missed, turn)
            asks_for_marks = "<new_text>" in prompt
            return (
                f"<new_text>\n{new}\n</new_text>"
                if asks_for_marks
                else json.dumps({"new_instruction": new})
            )
        blocks = []
        for name in several[1].split(", "):
            headed = rf"## {re.escape(name)}\n\n({_INSTRUCTION.pattern})"
            found = re.search(headed, prompt)
            self.unclear += found is None
            text = found[1] if found else ""
            stated = stated_in(text)
            if any(step == stated.step for _, step, _ in missed):
                new = self._new(text, stated, missed, turn)
                blocks.append(f'<new_text component="{name}">\n{new}\n</new_text>')
        return "\n".join(blocks) or "<no_change/>"

    def _new(
        self, text: str, stated: Stated, missed: Iterable[tuple[int, int, int]], turn: int
    ) -> str:
        """What it makes of one instruction, given missed rules with their steps and cases."""
        own = [(rule, case) for rule, step, case in missed if step == stated.step]
        if text and self.task.random("repeat", turn).random() < self.task.world.repeat:
            return text
        return self.task.rewritten(stated, own, turn).text(f"w{turn}")

    def _in_sight(self, prompt: str) -> tuple[str, Stated]:
        """The current instruction and what it says; where none is shown, only of which step."""
        found = list(_INSTRUCTION.finditer(prompt))
        texts = {each[0] for each in found}
        if len(texts) > 1:
            before = [prompt[max(0, each.start() - 60) : each.start()] for each in found]
            pairs = zip(found, before, strict=True)
            texts = {each[0] for each, words in pairs if _IS_CURRENT.search(words)}
        if len(texts) == 1:
            text = texts.pop()
            return text, stated_in(text)
        step = _STEP.search(prompt)
        self.unclear += bool(found) or step is None
        return "", Stated(int(step[1]) if step else -1, frozenset(), frozenset())


WORLDS: tuple[World, ...] = (
    # For tuning. The first four are those of which the package's design gives measurements.
    World("two steps", True, 24, 2, 80, 50, partial_credit=False),
    World("three steps", True, 40, 3, 100, 80, partial_credit=True),
    World("overfit", True, 16, 1, 40, 30, partial_credit=False, overfit=0.5, hurt=0.04),
    World("large validation", True, 30, 2, 200, 200, partial_credit=False, needs=(1, 4)),
    World("noisy score", True, 36, 1, 60, 60, partial_credit=True, noise=0.5),
    # Held out: never used in tuning.
    World("five steps", False, 45, 5, 120, 100, partial_credit=True, steady=0.3),
    World("rules in pairs", False, 28, 2, 100, 60, partial_credit=False, pairs=0.4, needs=(1, 4)),
    World("long tail", False, 60, 1, 250, 300, partial_credit=False, tail=1.0, crowding=0.003),
    World(
        "clumsy reflection",
        False,
        24,
        3,
        60,
        20,
        partial_credit=True,
        keep=0.9,
        learn=0.5,
        overfit=0.3,
        repeat=0.15,
        told=0.7,
    ),
    World(
        "wrong verdicts",
        False,
        20,
        4,
        50,
        50,
        partial_credit=False,
        noise=0.1,
        needs=(1, 3),
        luck=(0.05, 0.7),
    ),
)
"""`tuning` worlds may be used to choose settings. The others are held out: they were never used in
tuning, and differ in kind: more steps, rules that count only in pairs, a long tail of rare rules,
a large and a very small validation set, cases of unequal difficulty, a clumsy reflection, a metric
that is wrong one time in ten."""
