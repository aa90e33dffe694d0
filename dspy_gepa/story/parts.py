"""The smaller parts of a story: answers, spending, troubles, sessions, settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "NOTHING_SPENT",
    "NOT_CHECKED",
    "PURPOSES",
    "AnswerStory",
    "Check",
    "ComponentStory",
    "ExampleStory",
    "ExchangeStory",
    "Moment",
    "Session",
    "Spending",
    "Trouble",
    "UsedLimit",
]

PURPOSES = (
    "validating the seed",
    "looking for failures",
    "feedback on components",
    "reflections",
    "gate",
    "examples that must pass",
    "validation",
    "later validation",
    "lost",
    "demonstrations",
    "specialists and verdict",
)
"""What is paid for, in the order of a run. "lost" was paid for nothing: servers that were busy,
and what ran when a process died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What was done and paid for."""

    rollouts: int = 0
    """Runs of the program."""
    metric_calls: int = 0
    reflection_calls: int = 0
    """Calls of the reflection LM."""
    total_tokens: int = 0
    """Prompt and completion, of all models."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    """Of the calls whose price is known: see `unpriced_calls`."""
    seconds: float = 0.0
    """Of work, what ran side by side counted each: not the time on the clock."""
    unpriced_calls: int = 0
    """Model calls whose price is not known."""

    def __add__(self, other: Spending) -> Spending:
        """Both together."""
        return Spending(
            rollouts=self.rollouts + other.rollouts,
            metric_calls=self.metric_calls + other.metric_calls,
            reflection_calls=self.reflection_calls + other.reflection_calls,
            total_tokens=self.total_tokens + other.total_tokens,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            usd=self.usd + other.usd,
            seconds=self.seconds + other.seconds,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
        )


NOTHING_SPENT = Spending()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStory:
    """What a candidate answered on an example, and what was said of it."""

    score: float | None
    """None if it failed and a failure is no score."""
    feedback: str = ""
    """The metric's words."""
    failure: str = ""
    """Why there is no answer; empty if there is one."""
    output: Mapping[str, str] | None = None
    """Field name to what the program answered, in words; None if it was not kept."""
    seconds: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    usd: float = 0.0
    unpriced_calls: int = 0
    """Model calls whose price is not known."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """What the metric scored beside the score, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleStory:
    """A training or validation example, or one that must pass."""

    number: int
    """Its id in the run."""
    position: int
    """Its position in the set that it is of: in the validation set if in both; 0 if in none."""
    is_training: bool
    is_validation: bool
    must_pass: bool = False
    digest: str = ""
    """The same for equal examples of other runs; empty if it is not known."""
    inputs: Mapping[str, str] | None = None
    """Field name to its value in words; None if examples were not kept."""
    expected: Mapping[str, str] | None = None
    """The fields that the program is not given; likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStory:
    """A named text of the program."""

    name: str
    text: str
    """As it was before the run."""
    is_frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeStory:
    """One prompt to the reflection LM and its reply."""

    components: tuple[str, ...] = ()
    """What it was asked about."""
    prompt: str = ""
    reply: str = ""
    """As it came; empty if none came."""
    refused: str = ""
    """Why something of the reply could not be used; empty if all could."""
    is_cut_off: bool = False
    """Whether the reply ended because it reached the longest that is allowed."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedLimit:
    """A limit and what is used of it."""

    unit: str
    """ "metric_calls", "rollouts", "reflection_calls", "proposals", "total_tokens", "usd" or
    "seconds"."""
    used: float
    limit: float

    @property
    def share(self) -> float:
        """The part that is used; 1 for a limit of nothing."""
        return self.used / self.limit if self.limit else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that could not be carried out, all times of one cause together."""

    cause: str
    """In words; may quote a server."""
    times: int
    requests: tuple[str, ...] = ()
    """What could not be carried out, by kind: "rollout", "reflection", "feedback"."""
    first_at: float | None = None
    """Seconds since the epoch."""
    last_at: float | None = None
    paused_seconds: float = 0.0
    """How long was waited because of it."""
    lost: Spending = NOTHING_SPENT
    """What was paid for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A process that carried the run on, from opening to closing its directory."""

    opened_at: float
    """Seconds since the epoch."""
    closed_at: float | None
    """None if it is running, or died."""
    version: str = ""
    """Of dspy_gepa."""
    metric_calls: int = 0
    """Made in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a run stood when a proposal had changed the pool."""

    proposal: int
    member: int | None
    """The member that joined, if one did."""
    best: int
    """The best member then."""
    best_estimate: float
    seed_estimate: float
    member_estimate: float | None
    """Of the member that joined, if one did."""
    metric_calls: int
    """Made until then."""
    total_tokens: int
    usd: float
    at: float | None
    """Seconds since the epoch."""
    seconds: float | None
    """Of running until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Seed and returned member on examples that the search did not choose on."""

    kind: Literal["better", "no evidence of improvement", "worse", "not checked"] = "not checked"
    sentence: str = ""
    """The whole verdict in words; empty while the run is under way."""
    examples: int = 0
    """How many both came to a score on."""
    before: float | None = None
    """The seed's mean."""
    after: float | None = None
    """The mean of what was found."""
    difference: float | None = None
    low: float | None = None
    """The lower end of a 95 % interval of the difference; None if too little was seen."""
    high: float | None = None
    better: int = 0
    """On how many examples what was found scored higher."""
    worse: int = 0
    """On how many it scored lower."""


NOT_CHECKED = Check()
