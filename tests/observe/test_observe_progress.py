"""What is shown while a run is under way."""

import logging
import re
from dataclasses import replace

import pytest

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.events import Ended, RequestFailed, RolledOut
from dspy_gepa.core.rollout import Rollout, RolloutKey
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.errors import SettingsError
from dspy_gepa.observe.display import LogDisplay, NotebookDisplay, display_for
from dspy_gepa.observe.progress import Progress
from dspy_gepa.observe.telling import Telling
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(pass_or_fail=True, rules=6)
SETTINGS = Settings(
    train=tuple(range(10)), validation=tuple(range(10, 18)), limits=Limits(metric_calls=120)
)


class Screen:
    """A display that keeps what it is shown."""

    def __init__(self, *, has_status=True):
        self.has_status = has_status
        self.lines, self.states, self.is_open = [], [], True

    def line(self, text):
        self.lines.append(text)

    def status(self, text):
        self.states.append(text)

    def close(self):
        self.is_open = False


def begun(screen, clock, title="", settings=SETTINGS):
    """A search that has just begun and is shown on this screen: its story, progress and state."""
    state = start(settings, WORLD.student)
    telling = Telling(clock)
    progress = Progress(telling, "live", title, lambda _mode: screen)
    telling.begun_with(state, None)
    progress.begun(state)
    return telling, progress, state


def followed(screen, clock, settings=SETTINGS):
    """A search that is shown on this screen; its progress."""
    telling, progress, state = begun(screen, clock, '"message -> code"', settings)
    first = list(screen.lines)
    run_loop(state, SerialExecutor(WORLD), [telling, progress])
    progress.close()
    return progress, first


@pytest.fixture
def clock():
    """A second passes at every look."""
    seconds = iter(range(10**9))
    return lambda: float(next(seconds))


def test_it_begins_before_anything_is_asked_for(clock):
    """What is improved, by which examples, within which limits, and what Ctrl-C does."""
    screen = Screen()
    _, first = followed(screen, clock)
    assert first == [
        'GEPA improves "message -> code": 10 training, 8 validation examples',
        "limits 120 metric calls; Ctrl-C stops and keeps the best so far",
    ]


def test_every_proposal_is_a_line_of_80_columns(clock):
    """One line for each, with what became of it; the end is the last."""
    screen = Screen()
    followed(screen, clock)
    assert max(map(len, screen.lines)) < 80
    assert sum("rewrite of" in line for line in screen.lines) > 3
    assert any("kept as 1" in line for line in screen.lines)
    assert "ends: " in screen.lines[-1]
    assert not screen.is_open


def test_a_log_has_signs_of_life(clock):
    """Where no line changes and nothing happens for a minute, that is said; before, it is not."""
    screen = Screen(has_status=False)
    now = [1000.0]
    _, progress, _ = begun(screen, lambda: now[0])
    said = len(screen.lines)
    now[0] += 59
    progress.tick()
    assert len(screen.lines) == said
    now[0] += 1
    progress.tick()
    progress.tick()
    progress.close()
    assert screen.lines[said:] == ["still working: validating for 1:00; 0 of 120 metric calls used"]


def test_a_busy_server_is_said_once_and_that_it_is_back(clock):
    """Not each call of it, and not nothing."""
    screen = Screen()
    telling, progress, state = begun(screen, clock)
    said = len(screen.lines)
    key = RolloutKey(WORLD.student.digest, 10)
    for event in (*[RequestFailed(key, "429 RateLimitError")] * 3, RolledOut(key, Rollout(1.0))):
        telling(event, state)
        progress(event, state)
    progress.close()
    first, second = screen.lines[said:]
    assert "429 RateLimitError" in first
    assert "answers come again" in second


def test_nothing_comes_again_in_a_run_that_ended(clock):
    """What was under way is still answered. Of a long cause there are whole words."""
    screen = Screen()
    _, progress, state = begun(screen, clock)
    said = len(screen.lines)
    key = RolloutKey(WORLD.student.digest, 10)
    cause = "LMAuthError: the server refuses the key of this organization"
    ended = replace(state, ending="LMAuthError")
    for event, then in (
        (RequestFailed(key, cause), state),
        (Ended("LMAuthError", is_breakdown=True), ended),
        (RolledOut(key, Rollout(1.0)), ended),
    ):
        progress(event, then)
    progress.close()
    first, last = screen.lines[said:]
    assert "(LMAuthError: the server refuses the...)" in first
    assert "ends: LMAuthError" in last


def test_the_line_that_changes_says_where_it_stands(clock):
    """The most used limit, what was seen of the best, what is done now, within 80 columns."""
    screen = Screen()
    progress, _ = followed(screen, clock)
    progress._over.clear()
    progress.tick()
    status = screen.states[-1]
    assert re.match(r"GEPA \d+/120 calls \[#+\.*\] best \d+/\d+, \d/\d+ kept", status)
    assert len(status) < 80


def test_ctrl_c_is_explained(clock):
    """Where something still runs when the end is decided."""
    screen = Screen()
    telling, progress, state = begun(screen, clock)
    event = Ended("interrupted from the keyboard")
    telling(event, state)
    progress(event, state)
    progress.close()
    assert "Stopping:" in screen.lines[-1]
    assert "Ctrl-C" in screen.lines[-1]


def test_where_lines_go_follows_from_where_it_runs(monkeypatch):
    """In CI and in a pipe to the log, asked for "off" nowhere; what there is not is refused."""
    monkeypatch.setenv("CI", "true")
    assert isinstance(display_for("auto"), LogDisplay)
    monkeypatch.delenv("CI")
    assert isinstance(display_for("auto"), LogDisplay)  # the test's stderr is no terminal
    assert display_for("off") is None
    with pytest.raises(SettingsError, match="auto"):
        display_for("loud")


def test_a_notebook_has_one_panel():
    """It is displayed once and changed from then on; what anybody wrote is no markup there."""
    shown = []

    class Handle:
        def update(self, panel):
            shown.append(panel._repr_html_())

    panel = NotebookDisplay(lambda *_args, **_options: Handle())
    panel.line("<script>alert(1)</script>")
    panel.status("GEPA 1/2")
    panel.close()
    assert "GEPA 1/2" in shown[1]
    assert "<script>" not in "".join(shown)
    assert "GEPA 1/2" not in shown[-1]


def test_lines_are_logged_below_dspys_logger(caplog):
    """So that DSPy's handlers, levels and `disable_logging` hold."""
    logger = logging.getLogger("dspy.teleprompt.dspy_gepa")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger.name):
        LogDisplay().line("hello")
    logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records][:1] == ["hello"]
