"""What a run is: its program, data, seed, settings and models, to compare and to put on record.

Ids in a journal mean nothing without it, so it is compared before anything is read or paid for.
"""

from __future__ import annotations

import ast
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.caution import Cautious
from dspy_gepa.core.columns import FrontierKind
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import Ranking, by_estimate, by_mean
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.store.redaction import public
from dspy_gepa.values.plain import Json, dumps, packed, unpacked

__all__ = [
    "Difference",
    "Manifest",
    "digest",
    "named_settings",
    "strategy_name",
    "without_addresses",
]

_READ_ONLY = re.compile(r"mappingproxy\((.*)\)", re.DOTALL)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_RENAMED = {"rungs": "validation_schedule"}
"""Settings that older manifests have under another name."""
_SHOWN = 60
"""Characters of a text that a difference shows."""


class Difference(NamedTuple):
    """One thing in which a run differs from the one that a directory holds."""

    name: str
    """Of what differs: "seed", "settings.window", "training examples", "component answer"."""
    given: str
    stored: str

    def __str__(self) -> str:
        return f"{self.name}: {self.given} given, {self.stored} stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run is. Settings that name a secret are neither written nor compared: see `public`."""

    candidate: Candidate
    """The program's texts at the start."""
    examples: tuple[str, ...]
    """A digest for each example; its id is its position."""
    train: tuple[int, ...]
    """Ids."""
    validation: tuple[int, ...]
    """Ids."""
    first: tuple[int, ...]
    """Ids of the validation examples that the program is run on as it is, before anything else."""
    limits: Mapping[str, float]
    """By unit, those that were given."""
    anchors: tuple[int, ...] = ()
    """Ids of the examples that must keep passing."""
    seed: int = 0
    settings: Mapping[str, object] = field(default_factory=dict)
    """Everything else that decides what happens, by name: strategies, the metric's name."""
    models: Mapping[str, object] = field(default_factory=dict)
    """Names and parameters of the language models, by what they are used for."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of this package, DSPy and Python. On record, not compared: an upgrade may go on."""
    code: Mapping[str, str] = field(default_factory=dict)
    """A digest of the source of what scores came from, such as the metric, by its name. On record,
    not compared: most changes of code change no score."""

    @property
    def fingerprint(self) -> str:
        """A digest of what the ids in a journal stand for: texts and examples."""
        return digest(
            [self.candidate.digest, self.examples, list(self.train), list(self.validation)]
        )

    @property
    def begun(self) -> RunState:
        """The state before the first event, sufficient to apply stored events to.

        Its strategies are not the run's, but for what chooses the best and what members are
        compared on: it can be read, not carried on.
        """
        recorded = self.settings
        settings = Settings(
            train=self.train,
            validation=self.validation,
            limits=Limits(**dict[str, Any](self.limits)),
            seed=self.seed,
            anchors=self.anchors,
            ranking=_ranking(str(recorded.get("ranking"))),
            caution=_caution(str(recorded.get("caution"))),
            writes_seed=recorded.get("writes_seed") is True,
            frontier=_frontier(recorded.get("frontier")),
            minimized=_names(recorded.get("minimized")),
            frozen=_names(recorded.get("frozen")),
            owners=_owners(recorded.get("owners")),
            skip_perfect_score=recorded.get("skip_perfect_score") is not False,
            perfect_score=_number(recorded.get("perfect_score"), 1.0),
            lowest_score=_number(recorded.get("lowest_score"), 0.0),
        )
        return start(settings, self.candidate, self.first)

    def differences(self, stored: Manifest) -> tuple[Difference, ...]:
        """In what this run differs from the stored one; versions aside.

        Where neither texts nor examples are among it the fingerprints are equal.
        """
        return (
            *_texts_differ(self.candidate, stored.candidate),
            *_examples_differ("training examples", self.training, stored.training),
            *_examples_differ("validation examples", self.validating, stored.validating),
            *_examples_differ("must_pass examples", self.anchoring, stored.anchoring),
            *self._ids_differ(stored),
            *_values_differ(self._compared(), stored._compared()),
        )

    def changed_code(self, stored: Manifest) -> tuple[str, ...]:
        """Names of what has another source than when the stored run was begun."""
        both = sorted(self.code.keys() & stored.code.keys())
        return tuple(name for name in both if self.code[name] != stored.code[name])

    @property
    def training(self) -> list[str]:
        """The digests of the training examples, in order."""
        return [self.examples[example] for example in self.train]

    @property
    def validating(self) -> list[str]:
        """The digests of the validation examples, in order."""
        return [self.examples[example] for example in self.validation]

    @property
    def anchoring(self) -> list[str]:
        """The digests of the examples that must keep passing, those in neither set included."""
        sets = {*self.train, *self.validation}
        others = (example for example in range(len(self.examples)) if example not in sets)
        return [self.examples[example] for example in dict.fromkeys((*self.anchors, *others))]

    @property
    def as_json(self) -> dict[str, Json]:
        """For a file; without secrets."""
        return {
            "versions": public(self.versions),
            "code": dict(self.code),
            "seed": self.seed,
            "limits": dict(self.limits),
            "settings": public(self.settings),
            "models": public(self.models),
            "candidate": self.candidate.digest,
            "components": [[packed(name), packed(text)] for name, text in self.candidate.items()],
            "train": list(self.train),
            "validation": list(self.validation),
            "first": list(self.first),
            "anchors": list(self.anchors),
            "examples": list(self.examples),
        }

    @classmethod
    def of_json(cls, stored: Json) -> Manifest:
        """The manifest that a file holds.

        Raises:
            JournalCorrupt: it holds something else.
        """
        try:
            texts = tuple((unpacked(name), unpacked(text)) for name, text in stored["components"])
            digest_then = str(stored.get("candidate") or Candidate(texts).digest)
            return cls(
                candidate=Candidate.known_by(digest_then, texts),
                examples=tuple(stored["examples"]),
                train=tuple(stored["train"]),
                validation=tuple(stored["validation"]),
                first=tuple(stored["first"]),
                anchors=tuple(stored["anchors"]),
                limits=_numbers(stored["limits"]),
                seed=int(stored["seed"]),
                settings={
                    _RENAMED.get(name, name): value for name, value in stored["settings"].items()
                },
                models=dict(stored["models"]),
                versions=dict(stored["versions"]),
                code=dict(stored.get("code", {})),
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise JournalCorrupt(f"this is no manifest of a run: {error}") from None

    def _ids_differ(self, stored: Manifest) -> Iterator[Difference]:
        is_same_data = (self.training, self.validating) == (stored.training, stored.validating)
        if is_same_data and (self.train, self.validation) != (stored.train, stored.validation):
            yield Difference(
                "examples in both sets", str(_shared(self)), f"{_shared(stored)} in the directory"
            )

    def _compared(self) -> dict[str, Json]:
        compared: dict[str, Json] = {"seed": self.seed}
        groups = (("limits", self.limits), ("settings", self.settings), ("models", self.models))
        for group, values in groups:
            compared |= {f"{group}.{name}": value for name, value in public(values).items()}
        return compared


def digest(value: object) -> str:
    """16 hexadecimal digits that depend on the value only, not on the order of names in it.

    Of objects that are not plain the text counts, without the address that it may name.
    """
    written = without_addresses(dumps(packed(value), sort_keys=True))
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def without_addresses(text: str) -> str:
    """What an object shows of itself, without where it lies: another process has it elsewhere."""
    return _ADDRESS.sub("", text)


def named_settings(settings: Settings) -> dict[str, object]:
    """Everything that decides what happens: functions by their names, objects by what they show.

    Data, limits and the seed of chance have places of their own in a manifest.
    """
    left_out = {"train", "validation", "anchors", "limits", "seed"}
    return {
        name: value if _is_plain(value) else strategy_name(value)
        for name in settings.__dataclass_fields__
        if name not in left_out
        for value in [getattr(settings, name)]
    }


def _is_plain(value: object) -> bool:
    """Whether JSON has it as a number."""
    return isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))


def strategy_name(strategy: object) -> str:
    """A function by its name, another object by what it shows of itself."""
    return str(getattr(strategy, "__qualname__", None) or without_addresses(repr(strategy)))


def _ranking(recorded: str) -> Ranking:
    """The ranking that a run was recorded with; the mean where it was one of the user's own."""
    return by_estimate if recorded == by_estimate.__qualname__ else by_mean


def _frontier(recorded: object) -> FrontierKind:
    """What members were compared on; single examples where that was not recorded."""
    name = str(recorded).strip("'")
    return next((kind for kind in get_args(FrontierKind) if kind == name), "instance")


def _names(recorded: object) -> tuple[str, ...]:
    """Names, from what a tuple of them shows of itself; nothing is executed for it."""
    names = _literal(recorded)
    return tuple(map(str, names)) if isinstance(names, tuple) else ()


def _owners(recorded: object) -> dict[str, tuple[str, ...]]:
    """Name to names, likewise."""
    owners = _literal(recorded)
    return {**owners} if isinstance(owners, dict) else {}


def _literal(recorded: object) -> object:
    """The value that shows itself so; None if it is none of Python's own."""
    read_only = _READ_ONLY.fullmatch(written := str(recorded))
    try:
        return ast.literal_eval(read_only[1] if read_only else written)
    except (ValueError, SyntaxError):
        return None


def _number(recorded: object, default: float) -> float:
    try:
        return float(str(recorded))
    except ValueError:
        return default


def _caution(recorded: str) -> Cautious | None:
    """The caution that a run was recorded with; none where it was one of the user's own."""
    cautious = re.fullmatch(r"Cautious\(deviations=([\d.]+)\)", recorded)
    return Cautious(float(cautious[1])) if cautious else None


def _numbers(stored: Json) -> dict[str, float]:
    if not all(isinstance(limit, (int, float)) for limit in stored.values()):
        raise ValueError(f"limits are not all numbers: {stored!r:.80}")
    return dict(stored)


def _shared(manifest: Manifest) -> int:
    return len({*manifest.train} & {*manifest.validation})


def _texts_differ(current: Candidate, stored: Candidate) -> Iterator[Difference]:
    for name in dict.fromkeys([*current, *stored]):
        if current.get(name) != stored.get(name):
            yield Difference(
                f"component {name}", _shown(current.get(name)), _shown(stored.get(name))
            )
    if list(current) != list(stored) and set(current) == set(stored):
        yield Difference("order of components", _shown(list(current)), _shown(list(stored)))


def _examples_differ(
    name: str, current: Sequence[str], stored: Sequence[str]
) -> Iterator[Difference]:
    if current == stored:
        return
    if sorted(current) == sorted(stored):
        yield Difference(name, "the same ones in another order", "another order")
        return
    others = [
        position
        for position, (one, other) in enumerate(zip(current, stored, strict=False))
        if one != other
    ]
    first = f", the first other one at position {others[0]}" if others else ""
    yield Difference(name, f"{len(current)}{first}", str(len(stored)))


def _values_differ(current: Mapping[str, Json], stored: Mapping[str, Json]) -> Iterator[Difference]:
    for name in dict.fromkeys([*current, *stored]):
        one, other = (
            _shown(values[name]) if name in values else "none" for values in (current, stored)
        )
        if (name in current) != (name in stored) or current[name] != stored[name]:
            yield Difference(name, one, other)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
