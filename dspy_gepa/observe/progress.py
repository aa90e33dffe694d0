"""Says what a run is doing, from before its first model call to its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dspy_gepa.core.events import (
    Committed,
    Ended,
    Event,
    Reflected,
    Remarked,
    RequestFailed,
    RolledOut,
)
from dspy_gepa.core.state import RunState
from dspy_gepa.observe.display import Display, display_for
from dspy_gepa.observe.telling import Telling
from dspy_gepa.story.building import limits_used
from dspy_gepa.story.now import Happening, happening
from dspy_gepa.story.teller import Teller
from dspy_gepa.story.wording import amount, clock, counted
from dspy_gepa.views.lines import COLUMNS, happening_line, heartbeat, status_of
from dspy_gepa.views.text import summary_of

__all__ = ["Progress"]

_REDRAW_SECONDS = 0.5
_HEARTBEAT_SECONDS = 60.0
"""Where no line changes, so long there is silence at most."""
_LONGEST_CAUSE = 40
"""Characters of what a server said: the pause has to find room in the line too."""
_ANSWERS = (RolledOut, Remarked, Reflected)


class Progress:
    """An observer that shows what happens.

    Args:
        telling: Knows the story so far; is told before this is.
        mode: "auto", "live", "lines" or "off".
        thing: What is improved, in words: "message -> code".
        display: Makes where it is shown, given the mode.
    """

    def __init__(
        self,
        telling: Telling,
        mode: str = "auto",
        thing: str = "",
        display: Callable[[str], Display | None] = display_for,
    ) -> None:
        self.telling = telling
        """Knows the story so far."""
        self._mode = mode
        self._thing = thing
        self._make_display = display
        self._display: Display | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._ticker: threading.Thread | None = None
        self._is_busy = False
        self._spoke_at = 0.0

    def begun(self, state: RunState) -> None:
        """Show that the run begins, and keep showing that it is alive."""
        self._display = self._make_display(self._mode)
        teller = self.telling.teller
        if self._display is None or teller is None:
            return
        for line in _header(state, teller, self._thing):
            self._line(line)
        name = "dspy_gepa-progress"
        self._ticker = threading.Thread(target=self._tick_on, name=name, daemon=True)
        self._ticker.start()

    def __call__(self, event: Event, state: RunState) -> None:
        """Show what people are told of an event."""
        teller = self.telling.teller
        if self._display is None or teller is None:
            return
        if isinstance(event, RequestFailed):
            self._trouble(event, teller)
        elif isinstance(event, _ANSWERS) and self._is_busy and not state.ending:
            self._is_busy = False
            self._line(happening_line(_note(teller, "answers come again"), columns=self._columns))
        elif isinstance(event, Ended):
            self._ended(event, state, teller)
        elif isinstance(event, Committed):
            self._line(happening_line(happening(teller, event), columns=self._columns))

    def tick(self) -> None:
        """Draw anew what changes with time.

        Where nothing can be drawn, say now and then that it is still at work.
        """
        display, at = self._display, self.telling.now()
        if display is None or self._over.is_set() or (now := self.telling.current(at)) is None:
            return
        if display.has_status:
            with self._lock:
                display.status(status_of(now))
        elif at - self._spoke_at >= _HEARTBEAT_SECONDS:
            self._line(heartbeat(now))

    def close(self) -> None:
        """Leave the screen as it is. What was shown stays."""
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
        if self._display is not None:
            with self._lock:
                self._display.close()

    def done(self) -> None:
        """Show how it ended."""
        if self._display is not None and (story := self.telling.story) is not None:
            logging.getLogger("dspy.teleprompt.dspy_gepa").info("%s", summary_of(story))

    def _tick_on(self) -> None:
        while not self._over.wait(_REDRAW_SECONDS):
            self.tick()

    @property
    def _columns(self) -> int | None:
        return COLUMNS if self._display is not None and self._display.has_status else None

    def _line(self, text: str) -> None:
        self._spoke_at = self.telling.now()
        if self._display is not None:
            with self._lock:
                self._display.line(text)

    def _trouble(self, event: RequestFailed, teller: Teller) -> None:
        """Say it once, and then nothing until something is answered again."""
        if self._is_busy:
            return
        self._is_busy = True
        again = f"asked again in {event.pause_seconds:.0f} s" if event.pause_seconds else ""
        cause = _beginning(" ".join(event.cause.split()), _LONGEST_CAUSE)
        what = f"no answer ({cause}) {again}".strip()
        self._line(happening_line(_note(teller, what), columns=self._columns))

    def _ended(self, event: Ended, state: RunState, teller: Teller) -> None:
        self._line(happening_line(_note(teller, f"ends: {event.reason}"), columns=self._columns))
        if state.live and not event.is_breakdown:
            self._line("Stopping: what runs is paid for and is waited for (Ctrl-C: at once).")


def _beginning(text: str, most: int) -> str:
    """The text, or as many whole words of it as there is room for; of one long word, a part."""
    if len(text) <= most:
        return text
    words, _, _ = text[: most - 2].rpartition(" ")
    return f"{words or text[: most - 3]}..."


def _note(teller: Teller, what: str) -> Happening:
    return Happening(seconds=teller.running_seconds, what=what)


def _header(state: RunState, teller: Teller, thing: str) -> list[str]:
    settings = state.settings
    sizes = f"{len(settings.train)} training, {len(settings.validation)} validation examples"
    limits = ", ".join(amount(each.limit, each.unit) for each in limits_used(state, 0.0))
    lines = [
        f"GEPA improves {thing or 'a program'}: {sizes}",
        f"limits {limits or 'none'}; Ctrl-C stops and keeps the best so far",
    ]
    if state.used.metric_calls:
        members = counted(len(state.members), "member")
        lines.append(
            f"carries on after {clock(teller.running_seconds)}: "
            f"{counted(state.used.metric_calls, 'metric call')}, {members}"
        )
    return lines
