"""Simulated tasks: workers whose answers are a deterministic function of text and example.

A world stands for a program, a metric and a reflection LM at once, so that a search can be tried
in milliseconds. What holds in a world need not hold for a language model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Remark, Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.streams import stream
from dspy_gepa.core.work import (
    Answer,
    Fault,
    ReflectionAnswer,
    ReflectionRequest,
    RemarkAnswer,
    RemarkRequest,
    Repair,
    Request,
    RolloutAnswer,
    RolloutRequest,
)

__all__ = ["ChanceWorld", "RuleWorld"]


@dataclass(frozen=True)
class RuleWorld:
    """A task with rules, each belonging to a component; an example needs a few of them.

    A candidate's text states rules as words `rule3`. A stated rule is followed, an unstated one
    is met by luck with probability `luck`, decided once and for all for each (candidate,
    example, rule). The feedback names the rules that were missed. The reflection keeps what the
    text states and adds each rule that the feedback names with probability `skill`.
    """

    rules: int = 12
    names: tuple[str, ...] = ("only",)
    """The components, in order; rule i belongs to component i modulo their number."""
    luck: float = 0.25
    skill: float = 0.8
    pass_or_fail: bool = False
    """Whether a score is 1 or 0, and not the share of rules that were met."""
    seed: int = 0
    calls: list[RolloutKey] = field(default_factory=list, compare=False)
    """Every rollout that was carried out, in the order in which that happened."""

    @property
    def student(self) -> Candidate:
        """The seed: texts that state no rule."""
        return Candidate.of(dict.fromkeys(self.names, "answer"))

    def needs(self, example: int) -> tuple[int, ...]:
        """The rules that an example needs, ascending: one to four of them."""
        random = stream(self.seed, "needs", example)
        return tuple(sorted(random.sample(range(self.rules), random.randint(1, 4))))

    def __call__(self, request: Request) -> Answer:
        """The answer, the same for the same request in any world with the same settings."""
        if isinstance(request, RolloutRequest):
            rollout = self.rollout(request.candidate, request.example)
            self.calls.append(request.key)
            return RolloutAnswer(request.key, rollout)
        if isinstance(request, RemarkRequest):
            return RemarkAnswer(request.key, Remark(request.evidence.rollout.feedback))
        return self.reflection(request)

    def rollout(self, candidate: Candidate, example: int) -> Rollout:
        """What this candidate gets on this example."""
        needed = self.needs(example)
        missed = [rule for rule in needed if not self._is_met(candidate, example, rule)]
        score = 1 - len(missed) / len(needed)
        steps = tuple(Step(name, {"example": example}, {"missed": missed}) for name in self.names)
        return Rollout(
            float(not missed) if self.pass_or_fail else score,
            feedback=" ".join(f"rule{rule}" for rule in missed),
            trace=Trace(steps=steps),
        )

    def reflection(self, request: ReflectionRequest) -> ReflectionAnswer:
        """Texts with some of the rules that the evidence names for their component."""
        random = stream(self.seed, "reflection", request.ticket)
        named = {word for item in request.evidence for word in item.rollout.feedback.split()}
        texts = {}
        for component in request.components:
            own = sorted(word for word in named if self._component_of(word) == component)
            learned = [word for word in own if random.random() < self.skill]
            stated = request.candidate[component].split()
            texts[component] = " ".join(dict.fromkeys([*stated, *learned]))
        return ReflectionAnswer(request.ticket, texts, lm_calls=len(texts))

    def _component_of(self, word: str) -> str:
        return self.names[int(word.removeprefix("rule")) % len(self.names)]

    def _is_met(self, candidate: Candidate, example: int, rule: int) -> bool:
        word = f"rule{rule}"
        if word in candidate[self._component_of(word)].split():
            return True
        return stream(self.seed, candidate.digest, example, rule).random() < self.luck


@dataclass(frozen=True)
class ChanceWorld:
    """A task without structure: every answer is drawn by labelled chance from a few values.

    Nothing can be learned here. But whatever can happen in a run happens often: ties, texts that
    another lineage found too, reflections that fail, components that are not called, rollouts that
    end before the metric.
    """

    names: tuple[str, ...] = ("only",)
    """The components, in order."""
    scores: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    """A rollout gets one of them."""
    words: int = 4
    """How many texts a component can have."""
    silence: float = 0.1
    """How probably a component is not called in a rollout."""
    refusal: float = 0.1
    """How probably a reflection gives no text for a component."""
    crashes: float = 0.1
    """How probably a rollout ends before the metric is called."""
    feedback_calls: int = 0
    """Of how many components the metric can be asked for an item of a reflection's evidence."""
    objectives: tuple[str, ...] = ()
    """The names of objectives, each of which half of the rollouts have a score for."""
    seed: int = 0

    @property
    def student(self) -> Candidate:
        """The seed: every component has the first of its texts."""
        return Candidate.of(dict.fromkeys(self.names, "text0"))

    def __call__(self, request: Request) -> Answer:
        """The answer, the same for the same request in any world with the same settings."""
        if isinstance(request, RolloutRequest):
            rollout = self.rollout(request.candidate, request.example)
            return RolloutAnswer(request.key, rollout)
        if isinstance(request, RemarkRequest):
            return RemarkAnswer(request.key, self.remark(request))
        return self.reflection(request)

    def remark(self, request: RemarkRequest) -> Remark:
        """What is said about a component; now and then it cannot be asked about."""
        random = stream(self.seed, "remark", *map(str, request.key))
        if random.random() < self.silence:
            return Remark(metric_calls=0)
        return Remark(random.choice(("", "one", "two")), random.choice((None, *self.scores)))

    def rollout(self, candidate: Candidate, example: int) -> Rollout:
        """What this candidate gets on this example."""
        random = stream(self.seed, "rollout", candidate.digest, example)
        steps = tuple(Step(name, {}, {}) for name in self.names if random.random() >= self.silence)
        score = random.choice(self.scores)
        if random.random() < self.crashes:
            low = min(self.scores)
            return Rollout(low, failure="crashed", metric_calls=0, trace=Trace(steps=steps))
        named = [name for name in self.objectives if random.random() < 0.5]
        objectives = {name: random.choice(self.scores) for name in named}
        return Rollout(score, objectives=objectives, trace=Trace(steps=steps))

    def reflection(self, request: ReflectionRequest) -> ReflectionAnswer:
        """Texts drawn without regard to the evidence, for some of the components."""
        random = stream(self.seed, "reflection", request.ticket, len(request.repairs))
        texts = {
            component: f"text{random.randrange(self.words)}"
            for component in request.components
            if random.random() >= self.refusal
        }
        problem = "" if len(texts) == len(request.components) else "no text was given"
        missing = tuple(name for name in request.components if name not in texts)
        repairs: tuple[Repair, ...] = ()
        if missing and not request.repairs and random.random() < 0.5:
            repairs = (Repair(missing, "a reply", (Fault(missing, "it has no marks"),)),)
        told: list[object] = [len(request.contrasts)]
        told += [lesson.gained for lesson in request.lessons]
        told += [each.remarks for each in request.evidence if each.remarks]
        return ReflectionAnswer(
            request.ticket,
            texts,
            "" if repairs else problem,
            lm_calls=len(request.components),
            # What it was told is part of the run: it must not depend on the order of answers.
            diagnosis=f"told {told}",
            lesson=random.choice(("", "an assumption")),
            is_unchanged=not texts and random.random() < 0.5,
            repairs=repairs,
            is_repair=bool(request.repairs),
        )
