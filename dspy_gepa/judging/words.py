"""What a metric says, put into words, with what cannot be said in words taken out by name.

Feedback may be of any kind: text, containers, exceptions, profiles, media, and these in each other.
"""

from __future__ import annotations

import cProfile
import pstats
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType, NoneType
from typing import Any, NamedTuple

import dspy
import pydantic

from dspy_gepa.errors import WrongType
from dspy_gepa.models.failures import traceback_text
from dspy_gepa.models.media import captured, media_kind
from dspy_gepa.values.foreign import entered, str_of
from dspy_gepa.values.media import without_base64
from dspy_gepa.values.words import text_of

__all__ = ["FeedbackText", "in_words", "merged"]

_NOTHING: Mapping[str, object] = MappingProxyType({})
_AS_THEY_ARE = (NoneType, str, bool, int, float)
_PROFILES = (pstats.Stats, cProfile.Profile)
_PROFILE_ROWS = 12
"""Functions of a profile that are told: the costliest ones, which is what can be acted on."""


class FeedbackText(NamedTuple):
    """What a metric said."""

    text: str
    """Has "(attachment: name)" where something was taken out; empty if nothing was said."""
    attachments: dict[str, object]
    """Name to media, text, dictionary or list."""
    score: float | None = None
    """The score that came with it; None if none is known."""


def in_words(
    said: object, attachments: object = None, known: Mapping[str, object] = _NOTHING
) -> FeedbackText:
    """The words, and what was taken out of them beside what was attached by name.

    Text stays as it is, a dictionary or list becomes JSON, an exception tells its kind, its message
    and where it was raised, a profile its costliest functions. Media is taken out. What was
    attached keeps its name, unless something else is `known` by that name from before: then it is
    given another name, in the words too.

    Raises:
        WrongType: an attachment has no name, or is of a kind that no model can be shown.
    """
    taken = dict(known)
    names = {name: _attached(name, value, taken) for name, value in _named(attachments).items()}
    left = _told(said, taken, ())
    text = "" if left is None else left if isinstance(left, str) else text_of(left)
    if isinstance(said, str):
        text = _renamed(text, names)
    attached = set(names.values())
    attachments_in_words = {
        name: value for name, value in taken.items() if name in attached or name not in known
    }
    return FeedbackText(without_base64(text).strip(), attachments_in_words)


def merged(text: str, attachments: Mapping[str, object], taken: dict[str, object]) -> str:
    """The words, with the names that their attachments get among what is taken, which they join."""
    names = {name: _attached(name, value, taken) for name, value in attachments.items()}
    return _renamed(text, names)


def _told(value: Any, taken: dict[str, object], within: tuple[int, ...]) -> Any:
    """The value with words in place of everything that JSON does not know."""
    if isinstance(value, _AS_THEY_ARE):
        return value
    if kind := media_kind(value):
        return _place(_name_of(value, kind, taken))
    inside = entered(value, within)
    if inside is None:
        return "..."
    if _is_said_already(value):
        value = _joined(value, taken)
    if (fields := _fields(value)) is not None:
        return {str_of(name): _told(item, taken, inside) for name, item in fields.items()}
    if isinstance(value, (list, tuple, AbstractSet)):
        # A set's own order changes with the process.
        items = sorted(value, key=text_of) if isinstance(value, AbstractSet) else value
        return [_told(item, taken, inside) for item in items]
    return _report(value) or text_of(value)


def _is_said_already(value: Any) -> bool:
    """Whether it is itself what a metric returns, so that its words name what it attached."""
    is_of_a_metric = isinstance(value, dspy.Prediction) and "score" in value
    return is_of_a_metric and "attachments" in value and isinstance(value.get("feedback"), str)


def _joined(prediction: dspy.Prediction, taken: dict[str, object]) -> dict[str, object]:
    """Its fields, its words with the names that its attachments have among what is taken."""
    within = in_words(prediction.feedback, prediction.attachments, taken)
    taken |= within.attachments
    others = {name: value for name, value in prediction.items() if name != "attachments"}
    return {**others, "feedback": within.text}


def _report(value: object) -> str:
    """What is said about an exception or a profile; empty for anything else."""
    if isinstance(value, BaseException):
        return traceback_text(value)
    return _profile(value) if isinstance(value, _PROFILES) else ""


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Name to value where it has fields; None if it has none."""
    if isinstance(value, (Mapping, dspy.Example)):
        return dict(value.items())
    if isinstance(value, pydantic.BaseModel) and not isinstance(value, dspy.Type):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return None


def _name_of(value: object, kind: str, taken: dict[str, object]) -> str:
    """The name under which it is attached; the first free number of its kind where it is new."""
    shown = captured(value)
    for name, known in taken.items():
        if media_kind(known) and captured(known) == shown:
            return name
    return _kept(value, f"{kind} 1", taken)


def _attached(name: str, value: object, taken: dict[str, object]) -> str:
    """The name under which it is attached: its own, unless something else has that already."""
    if name in taken and text_of(captured(taken[name])) == text_of(captured(value)):
        return name
    return _kept(value, name, taken)


def _kept(value: object, name: str, taken: dict[str, object]) -> str:
    """The name under which it is kept: this one, or the first with a higher number that is free."""
    stem, _, last = name.rpartition(" ")
    stem, number = (stem, int(last)) if stem and last.isdecimal() else (name, 1)
    while name in taken:
        number += 1
        name = f"{stem} {number}"
    taken[name] = value
    return name


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """The words of a metric with the new names of what they name."""
    changed = {_place(old): _place(new) for old, new in names.items() if old != new}
    if not changed:
        return text
    # All at once: a new name may be the old one of something else.
    return re.sub("|".join(map(re.escape, changed)), lambda match: changed[match[0]], text)


def _place(name: str) -> str:
    """What stands where something was taken out."""
    return f"(attachment: {name})"


def _named(attachments: object) -> dict[str, object]:
    """What was attached, by name; one thing alone, or a list, is given names."""
    if attachments is None:
        return {}
    if isinstance(attachments, (list, tuple)):
        attachments = {f"attachment {n}": each for n, each in enumerate(attachments, start=1)}
    elif not isinstance(attachments, Mapping):
        attachments = {"attachment": attachments}
    return {_checked(name): _attachable(name, value) for name, value in attachments.items()}


def _checked(name: object) -> str:
    if isinstance(name, str) and name.strip():
        return name
    raise WrongType(
        f"An attachment is named {name!r:.80}, and a text that is not empty is needed: "
        'attachments={"screenshot": dspy.Image(...)}.'
    )


def _attachable(name: object, value: object) -> object:
    if media_kind(value) or isinstance(value, (str, Mapping, list, tuple)):
        return value
    if report := _report(value):
        return report
    raise WrongType(
        f"The attachment {name!r:.80} is a {type(value).__name__}. Attach a dspy.Image, dspy.Audio "
        "or dspy.File, a text, a dict or a list: dspy.Image(picture), for instance."
    )


def _profile(profile: pstats.Stats | cProfile.Profile) -> str:
    """The functions that took longest, with what they call counted in."""
    if isinstance(profile, cProfile.Profile):
        profile = pstats.Stats(profile)
    stats = profile.get_stats_profile()
    rows = sorted(stats.func_profiles.items(), key=lambda row: (-row[1].cumtime, row[0]))
    lines = [f"{stats.total_tt:.3f} seconds in all; seconds within, calls and function:"]
    for name, row in rows[:_PROFILE_ROWS]:
        file = row.file_name.replace("\\", "/").rpartition("/")[2]
        place = f" (line {row.line_number} of {file})" if row.line_number else ""
        lines.append(f"{row.cumtime:.3f}  {row.ncalls}  {name}{place}")
    if len(rows) > _PROFILE_ROWS:
        lines.append(f"[... {len(rows) - _PROFILE_ROWS:,} functions left out ...]")
    return "\n".join(lines)
