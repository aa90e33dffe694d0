"""A story as a small piece of HTML for a notebook: no script, no ids, styles inline."""

from __future__ import annotations

import html
from collections.abc import Iterator

from dspy_gepa.errors import readable
from dspy_gepa.story.diff import DiffLine, changes_between, diffed
from dspy_gepa.story.story import Story
from dspy_gepa.story.verdict import seen_in_words
from dspy_gepa.views.text import summary_of

__all__ = ["notebook_html"]

_MOST_LINES = 200
"""Lines of a diff that are shown; the whole is in `diff`."""
_MARKS = {"+": "#2da44e33", "-": "#cf222e33", " ": "transparent"}


def notebook_html(story: Story) -> str:
    """Verdict, what changed, and the members."""
    parts = [f"<p><b>{_safe(story.headline)}</b></p>", f"<pre>{_safe(summary_of(story))}</pre>"]
    if story.returned:
        parts += _changes(story, story.returned)
    if story.members:
        parts.append(_members(story))
    return f"<div>{''.join(parts)}</div>"


def _safe(text: str) -> str:
    return html.escape(readable(text))


def _changes(story: Story, returned: int) -> Iterator[str]:
    before, after = story.members[0].texts, story.members[returned].texts
    for change in changes_between(before, after):
        lines = diffed(change.before, change.after)
        shown = "".join(map(_line, lines[:_MOST_LINES]))
        more = len(lines) - _MOST_LINES
        rest = f"<div>({more} lines more)</div>" if more > 0 else ""
        body = f'<div style="font-family:monospace;white-space:pre-wrap">{shown}{rest}</div>'
        yield f"<details open><summary>{_safe(change.component)}</summary>{body}</details>"


def _line(line: DiffLine) -> str:
    spans = "".join(
        f"<b>{_safe(span.text)}</b>" if span.is_changed else _safe(span.text) for span in line.spans
    )
    return f'<div style="background:{_MARKS[line.sign]}">{line.sign} {spans}</div>'


def _members(story: Story) -> str:
    head = "<tr><th>member</th><th>from</th><th>seen</th><th>estimate</th></tr>"
    rows = []
    for member in story.members:
        cells = (
            f"{member.number}{' (returned)' if member.number == story.returned else ''}",
            ", ".join(map(str, member.parents)) or "as it was",
            seen_in_words(member),
            "" if member.estimate is None else f"{member.estimate:.2f}",
        )
        rows.append("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table>{head}{''.join(rows)}</table>"
