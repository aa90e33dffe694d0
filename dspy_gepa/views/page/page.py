"""The page of a run: one HTML file that needs no network, no server and no script.

What stands in a run was written by anybody: models, users, servers. Three layers keep it text. All
of it is escaped by the template engine; a policy in the page lets no other script and no other
style than ours take effect; and control characters are spelled out.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from dspy_gepa.errors import MissingExtra, readable
from dspy_gepa.story.diff import DiffLine, diffed, folded
from dspy_gepa.story.story import Story
from dspy_gepa.story.wording import amount, clock, counted, exact, listed, moment, score, took
from dspy_gepa.views.page.charts import curves, lineage
from dspy_gepa.views.page.examples import ExampleRows
from dspy_gepa.views.page.rows import PageRows
from dspy_gepa.views.page.shortening import LONGEST, Shortener, without_middle

__all__ = ["environment_with", "page_of"]

_MOST_BYTES = 900_000
"""Of a page that can be kept so small by shortening its longest texts."""
_FEWEST_CHARACTERS = 200_000
"""Of all texts that may be shortened."""
_LONGEST_SHOWN = LONGEST + 100
"""Characters of anything, such as a name. What was shortened by its section is not longer."""


def page_of(story: Story, *, is_live: bool = False, environment: Any = None) -> str:
    """The page, as text.

    Args:
        story: What it shows.
        is_live: Whether it asks its server for what is new, every few seconds.
        environment: What fills the template in; see `environment_with`.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    chosen = environment_with() if environment is None else environment
    template = chosen.get_template("report.html.j2")
    style, script = _asset("report.css"), _asset("report.js")
    if is_live:
        script += _asset("live.js")
    context: dict[str, Any] = {
        "story": story,
        "rows": PageRows(story),
        "examples": ExampleRows(story),
        "curves": curves(story),
        "lineage": lineage(story),
        "style": style,
        "script": script,
        "policy": _policy(style, script, is_live=is_live),
        "is_live": is_live,
    }
    shortener = Shortener()
    page: str = template.render(**context, short=shortener)
    if (excess := len(page.encode()) - _MOST_BYTES) > 0:
        most = max(_FEWEST_CHARACTERS, shortener.total - excess)
        page = template.render(**context, short=shortener.fitting(most))
    return page


def _policy(style: str, script: str, *, is_live: bool) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            *(["connect-src 'self'"] if is_live else []),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return files("dspy_gepa.views.page").joinpath(name).read_text("utf-8")


@cache
def environment_with(*, escapes: bool = True, spells: bool = True) -> Any:
    """What fills the template in.

    Args:
        escapes: Whether what has a meaning in HTML is escaped. Only a test of what else there is
            leaves that out.
        spells: Whether control characters are spelled out; likewise.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415
        from markupsafe import Markup  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("jinja2", "report") from None

    legible = readable if spells else _encodable

    def shown(value: object) -> object:
        """What is put in the place of an expression, before it is escaped."""
        # What macros made went through here in parts.
        if isinstance(value, Markup) or not isinstance(value, str):
            return value
        return legible(value if len(value) <= _LONGEST_SHOWN else without_middle(value).text)

    environment = Environment(
        autoescape=escapes,  # noqa: S701 - it is on but for a test
        undefined=StrictUndefined,
        finalize=shown,
        loader=FunctionLoader(_asset),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "amount": amount,
        "clock": clock,
        "counted": counted,
        "diff": _difference,
        "exact": exact,
        "listed": listed,
        "long": without_middle,
        "moment": moment,
        "score": score,
        "took": took,
        # The only two texts that are not escaped, and nobody's but ours.
        "ours": Markup,
    }
    return environment


def _difference(before: str, after: str) -> tuple[DiffLine, ...]:
    return folded(diffed(without_middle(before).text, without_middle(after).text))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
