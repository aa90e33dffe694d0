"""Search-and-replace edits: a long text is changed by its few words that are to change."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Edit", "edited", "read_edits"]

_PAIR = ("<old>", "</old>", "<new>", "</new>")
_MARK = re.compile(f"({'|'.join(_PAIR)})")
_LONGEST_QUOTE = 120
"""Characters of a passage that are repeated in a problem."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement."""

    old: str
    """Words of the current text; empty for its end."""
    new: str
    """What stands in their place; empty where they go."""


def read_edits(block: str) -> list[Edit]:
    """The edits that a block describes, in order; one empty edit if they cannot be read from it."""
    texts, marks = (_MARK.split(block)[first::2] for first in (0, 1))
    is_clear = marks and marks == [*_PAIR] * (len(marks) // 4)
    if not is_clear or any(between.strip() for between in texts[::2]):
        return [Edit("", "")]
    pairs = zip(texts[1::4], texts[3::4], strict=True)
    return [Edit(_inside(old), _inside(new)) for old, new in pairs]


def edited(text: str, edits: Sequence[Edit]) -> tuple[str, str]:
    """The text after the edits, in order, and why one of them does not apply; empty if all do.

    The words must stand there exactly once; spaces at the ends of lines do not matter. Nothing is
    matched by likeness.
    """
    for number, edit in enumerate(edits, start=1):
        which = f"edit {number}"
        if not edit.old.strip() and not edit.new.strip():
            return text, f"{which} has no <old> and <new> part that says anything"
        if not edit.old.strip():
            text = f"{text.rstrip()}\n{edit.new}"
            continue
        places = _places(edit.old, text)
        if not places:
            return (
                text,
                f"{which}: «{_quoted(edit.old)}» is not in the text{_nearest(edit.old, text)}",
            )
        if len(places) > 1:
            return text, (
                f"{which}: «{_quoted(edit.old)}» stands {len(places)} times in the text; take "
                "more of what surrounds it"
            )
        ((start, end),) = places
        if not edit.new and text[end : end + 1] == "\n":
            end += start == 0 or text[start - 1] == "\n"  # a line that goes leaves none behind
        text = text[:start] + edit.new + text[end:]
    return text, ""


def _places(words: str, text: str) -> list[tuple[int, int]]:
    """Where the words stand, overlapping or not; else where but for spaces at the ends of lines."""
    lines = [re.escape(line.rstrip()) for line in words.split("\n")]
    for pattern in (re.escape(words), r"[ \t]*\n".join(lines)):
        if places := [place.span(1) for place in re.finditer(f"(?=({pattern}))", text)]:
            return places
    return []


def _nearest(words: str, text: str) -> str:
    """The line of the text that is most like the first of the words."""
    first = words.strip().split("\n")[0]
    near = difflib.get_close_matches(first, text.split("\n"), n=1, cutoff=0.4)
    return f"; the nearest is «{_quoted(near[0])}»" if near else ""


def _quoted(words: str) -> str:
    flat = " ".join(words.split())
    return flat if len(flat) <= _LONGEST_QUOTE else f"{flat[:_LONGEST_QUOTE]} …"


def _inside(part: str) -> str:
    """What stands in the part, without the line breaks next to its marks."""
    return part.removeprefix("\n").removesuffix("\n")
