"""Where lines about a run go: a terminal with one line that changes, a notebook, or the log."""

from __future__ import annotations

import html
import logging
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from dspy_gepa.errors import SettingsError
from dspy_gepa.views.lines import COLUMNS

__all__ = ["MODES", "Display", "LogDisplay", "NotebookDisplay", "TerminalDisplay", "display_for"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

MODES = ("auto", "live", "lines", "off")
_SHOWN = "dspy_gepa_shown"
"""The attribute of a record that stands on a display already."""
_LINES_KEPT = 30
"""Lines that a notebook's panel shows."""


class Display(Protocol):
    """Shows lines, and one line that changes."""

    has_status: bool
    """Whether there is a line that changes; without one, signs of life are lines too."""

    def line(self, text: str) -> None:
        """Show one line more."""
        ...

    def status(self, text: str) -> None:
        """Show this in the line that changes."""
        ...

    def close(self) -> None:
        """Leave the screen as it is."""
        ...


class LogDisplay:
    """Lines through the logger; nothing changes."""

    has_status = False

    def line(self, text: str) -> None:
        """Log a line."""
        logger.info("%s", text)

    def status(self, text: str) -> None:
        """Nothing: a log has no line that changes."""

    def close(self) -> None:
        """Nothing is held."""


class _Quiet(logging.Filter):
    """Keeps records off DSPy's console that a display shows already."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(record, _SHOWN, False)


class _Recorded:
    """Writes to the logger as well, for all its handlers but DSPy's own on the console."""

    def __init__(self) -> None:
        self._quiet = _Quiet()
        self._handlers = [
            handler
            for name in ("dspy", "dspy.teleprompt", logger.name)
            for handler in logging.getLogger(name).handlers
            if handler.get_name() == "dspy_handler"
        ]
        for handler in self._handlers:
            handler.addFilter(self._quiet)

    def record(self, text: str) -> None:
        logger.info("%s", text, extra={_SHOWN: True})

    def close(self) -> None:
        for handler in self._handlers:
            handler.removeFilter(self._quiet)


class TerminalDisplay:
    """A terminal: one line at the bottom changes, all else stands above it.

    While it is open, what is printed or logged goes above that line too.
    """

    has_status = True

    def __init__(self) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415 - DSPy brings it; only a terminal needs it
        from tqdm.contrib import (  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415
            DummyTqdmFile,
        )

        self._stream = sys.stderr
        self._write = tqdm.write
        self._recorded = _Recorded()
        self._bar = tqdm(
            total=0,
            bar_format="{desc}",
            file=self._stream,
            leave=False,
            # Some terminals say that they have no columns at all.
            ncols=min(COLUMNS + 1, shutil.get_terminal_size().columns),
            disable=bool(os.environ.get("TQDM_DISABLE")),
        )
        self._replaced: list[tuple[str, Any, Any]] = []
        for name in ("stderr", "stdout"):
            stream = getattr(sys, name)
            if stream.isatty():
                # Both are the one terminal, whose last line only its own stream can take away.
                proxy = DummyTqdmFile(self._stream)
                setattr(sys, name, proxy)
                self._replaced.append((name, stream, proxy))

    def line(self, text: str) -> None:
        """Show one line above the one that changes."""
        self._write(text, file=self._stream)
        self._recorded.record(text)

    def status(self, text: str) -> None:
        """Show this in the last line."""
        self._bar.set_description_str(text)

    def close(self) -> None:
        """Take the last line away, and give the streams back."""
        self._bar.close()
        for name, stream, proxy in self._replaced:
            # Whoever has put something in its place meanwhile keeps it.
            if getattr(sys, name) is proxy:
                setattr(sys, name, stream)
        self._recorded.close()


class NotebookDisplay:
    """One panel below the cell, made once and changed from then on."""

    has_status = True

    def __init__(self, show: Callable[..., Any] | None = None) -> None:
        if show is None:
            from IPython import display as ipython  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - it is there in a notebook

            show = getattr(ipython, "display")  # noqa: B009 - it is untyped
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._status = ""
        self._recorded = _Recorded()
        self._shown = show(_Panel(""), display_id=True)

    def line(self, text: str) -> None:
        """Show one line more."""
        self._lines.append(text)
        self._recorded.record(text)
        self._update()

    def status(self, text: str) -> None:
        """Show this in the last line."""
        if text != self._status:
            self._status = text
            self._update()

    def close(self) -> None:
        """Leave the lines, without the one that changes."""
        self._status = ""
        self._update()
        self._recorded.close()

    def _update(self) -> None:
        if self._shown is not None:
            self._shown.update(_Panel("\n".join(filter(None, [*self._lines, self._status]))))


class _Panel:
    """A text that a notebook shows as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return f'<pre style="margin:0">{html.escape(self._text)}</pre>'

    def __repr__(self) -> str:
        return self._text


def display_for(mode: str) -> Display | None:
    """Where lines go; None for nowhere.

    Raises:
        SettingsError: there is no such mode.
    """
    if mode not in MODES:
        raise SettingsError(f"progress={mode!r} was given; allowed: {list(MODES)}.")
    if mode == "off":
        return None
    if mode == "lines" or (mode == "auto" and os.environ.get("CI")):
        return LogDisplay()
    if _is_notebook():
        return NotebookDisplay()
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return TerminalDisplay() if is_terminal or mode == "live" else LogDisplay()


def _is_notebook() -> bool:
    """Whether a notebook shows what is displayed: not a terminal with IPython in it."""
    shell = sys.modules.get("IPython")
    running = None if shell is None else shell.get_ipython()
    return running is not None and type(running).__name__ == "ZMQInteractiveShell"
