"""What went wrong in code that is not ours, or in a model's reply, in words for a reader."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspy_gepa.values.media import without_base64

__all__ = [
    "failure_cause",
    "failure_text",
    "most_read_reply",
    "traceback_text",
    "unreadable_reply",
]

_LONGEST_MESSAGE = 1_000
"""Characters of an exception's message that a failure text keeps."""
_LONGEST_REPLY = 500
"""Characters of an unreadable reply in a failure text; its step keeps the whole."""
_FRAMES = 5
"""Calls of the user's own code that a traceback names: the innermost ones."""
_INSTALLED = tuple(
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_PACKAGE = Path(__file__).resolve().parents[1]
_OURS = (
    *(_PACKAGE / room for room in ("artifact", "judging", "metrics", "models", "program")),
    Path(dspy.__file__).resolve().parent,
)


def failure_text(error: BaseException) -> str:
    """What went wrong, for a reader who cannot see the program: kind, message and place."""
    if isinstance(error, AdapterParseError):
        reply = _shortened(most_read_reply(error).lm_response, _LONGEST_REPLY)
        return f"{unreadable_reply(error)} The model's raw reply: {reply}"
    frames = _own_frames(error)
    return _kind_and_message(error) + (f" (in {_told(frames[-1])})" if frames else "")


def failure_cause(error: BaseException) -> str:
    """What went wrong and where, without what differs from one example to the next."""
    kind, frames = type(error), _own_frames(error)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{kind.__module__}.{kind.__qualname__}{place}"


def traceback_text(error: BaseException) -> str:
    """Kind, message and the calls that led to it, outermost first; then what it was raised from."""
    lines = [_kind_and_message(error)]
    lines += [f"  in {_told(frame)}" for frame in _own_frames(error)[-_FRAMES:]]
    if error.__cause__ is not None and error.__cause__ is not error:
        lines.append(f"raised from {failure_text(error.__cause__)}")
    return "\n".join(lines)


def unreadable_reply(error: AdapterParseError) -> str:
    """Which fields a reply was expected to have, and which of them it had."""
    fields = ", ".join(most_read_reply(error).parsed_result or ()) or "none"
    expected = ", ".join(error.signature.output_fields)
    return f"The reply could not be read. Output fields expected: {expected}; found: {fields}."


def most_read_reply(error: AdapterParseError) -> AdapterParseError:
    """Of the attempts to read a reply, the one that found most.

    DSPy asks again in another format where the first reply cannot be read, and reports the last.
    """
    attempts, cause = [error], error.__context__
    while isinstance(cause, AdapterParseError):
        attempts.append(cause)
        cause = cause.__context__
    return max(attempts, key=lambda attempt: len(attempt.parsed_result or ()))


def _kind_and_message(error: BaseException) -> str:
    message = _shortened(str(error), _LONGEST_MESSAGE)
    return ": ".join(filter(None, [type(error).__name__, message]))


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The calls of the user's own code, or else those of whatever is neither ours nor DSPy's."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not _lies_in(frame.filename, _OURS)
    ]
    return [frame for frame in frames if not _lies_in(frame.filename, _INSTALLED)] or frames


def _told(frame: traceback.FrameSummary) -> str:
    source = f": {frame.line}" if frame.line else ""
    return f"{frame.name}, line {frame.lineno} of {Path(frame.filename).name}{source}"


def _lies_in(filename: str, folders: tuple[Path, ...]) -> bool:
    path = Path(filename).resolve()
    return filename.startswith("<frozen") or any(path.is_relative_to(each) for each in folders)


def _shortened(text: str, limit: int) -> str:
    text = without_base64(str(text)).strip()
    return text if len(text) <= limit else f"{text[:limit]} [...]"
