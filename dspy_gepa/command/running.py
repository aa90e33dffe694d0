"""Commands that carry out a config: run, plan, resume."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dspy_gepa.command.arguments import is_none
from dspy_gepa.command.calls import PlannedCall, Ran, call_of, log_dir_of
from dspy_gepa.command.config_file import ConfigFile, placed, read_config
from dspy_gepa.command.kept import config_in, keep
from dspy_gepa.command.printing import print_answer
from dspy_gepa.core.events import Event
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import GEPAError, SettingsError, readable
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.observe.observer import Observer, attempted
from dspy_gepa.story.stored import story_in
from dspy_gepa.story.story import Story

__all__ = ["add_to"]

BROKE, INTERRUPTED = 3, 130


def add_to(commands: Any) -> None:
    """Make the commands known."""
    for name, run, about, what in (
        ("run", _run, "carry out what a config asks for", "CONFIG"),
        (
            "plan",
            _plan,
            "what a config asks for and what it costs at most; asks no model",
            "CONFIG",
        ),
        ("resume", _resume, "go on with a run that `run` began and that is not at its end", "DIR"),
    ):
        parser = commands.add_parser(name, help=about, description=about)
        parser.add_argument(what.lower(), type=Path, metavar=what, help=_HELP[what])
        parser.add_argument("--json", action="store_true", help="print one JSON object alone")
        parser.add_argument(
            "--traceback", action="store_true", help="of an error in code, print all of it"
        )
        parser.set_defaults(run=run)


_HELP = {
    "CONFIG": "a .toml, .json or .yaml; the guide says what may stand in it",
    "DIR": "the run directory",
}


@dataclass
class _Watch:
    """An observer that knows whether anything was done."""

    has_begun: bool = False
    events: int = 0

    def begun(self, state: RunState) -> None:  # noqa: ARG002 - an observer's name
        """Take note that models are asked from now on."""
        self.has_begun = True

    def __call__(self, event: Event, state: RunState) -> None:  # noqa: ARG002 - an observer's names
        """Count it."""
        self.events += 1


@dataclass
class _Keeper:
    """An observer that keeps the config in the run directory once that is the run's."""

    keep: Callable[[], None]

    def begun(self, state: RunState) -> None:  # noqa: ARG002 - an observer's name
        """Keep it."""
        attempted(self.keep, "the config is not kept, so that `resume` cannot go on")

    def __call__(self, event: Event, state: RunState) -> None:
        """Nothing."""


@dataclass
class _Session:
    """One call of `run` or `resume`."""

    given: argparse.Namespace
    config: ConfigFile
    log_dir: Path | None
    watch: _Watch = field(default_factory=_Watch)
    saved: Path | None = None
    """Where the result was saved."""
    not_saved: str = "the config has no save"
    """Why it was not, where it was not."""

    def carried_out(self) -> tuple[int, Ran | None]:
        """The exit code, and what came of it; what went wrong is said.

        Raises:
            GEPAError: something is wrong that shows before the run begins.
            KeyboardInterrupt: likewise, Ctrl-C.
        """
        try:
            with _stdout_for_us(self.given):
                call = _in_user_code(self.given, self.config, lambda: call_of(self.config))
                ran = _in_user_code(self.given, self.config, lambda: self._run(call))
        except KeyboardInterrupt:
            if not self.watch.has_begun:
                raise
            self._say_how_to_go_on("stopped at once")
            return INTERRUPTED, None
        except GEPAError as error:
            if not self.watch.has_begun:
                raise
            print(f"dspy-gepa: {readable(str(error))}", file=sys.stderr)
            self._say_how_to_go_on("the run broke")
            return BROKE, None
        self._print(ran)
        if ran.was_interrupted:
            self._say_how_to_go_on("stopped")
            return INTERRUPTED, ran
        return 0, ran

    def _run(self, call: PlannedCall) -> Ran:
        observers: list[Observer] = [self.watch]
        if self.log_dir is not None:
            observers.append(_Keeper(partial(keep, self.config, self.log_dir)))
        ran = call.run(None if self.log_dir is None else str(self.log_dir), observers)
        if call.save is None:
            return ran
        self.not_saved = self._why_not_saved(ran, call.save)
        if not self.not_saved:
            ran.save(call.save)
            self.saved = call.save
        return ran

    def _why_not_saved(self, ran: Ran, path: Path) -> str:
        """Why a result is not saved; empty if it is."""
        if not ran.result.members:
            advice = "" if ran.was_interrupted else ". Give larger limits in the config"
            return (
                f"{_short(path)} was not written, because the run ended before what it began with "
                f"was validated{advice}"
            )
        if not self.watch.events and path.exists():
            return f"{_short(path)} was there, and nothing was run"
        return ""

    def _print(self, ran: Ran) -> None:
        story = ran.result.story if self.log_dir is None else story_in(self.log_dir)
        values = {
            "status": story.status,
            "ended": story.ending,
            "verdict": story.headline,
            "check": asdict(story.check),
            "improved": ran.result.improved,
            "returned": story.returned,
            "members": len(story.members),
            "texts": _texts(story),
            "spent": asdict(story.total),
            "log_dir": None if self.log_dir is None else str(self.log_dir),
            "saved": None if self.saved is None else str(self.saved),
            "not_saved": None if self.saved is not None else self.not_saved,
        }
        print_answer(self.given, lambda: self._lines(story, ran), lambda: values)

    def _lines(self, story: Story, ran: Ran) -> Iterator[str]:
        if not self.watch.events and story.ending:
            yield f"It had ended before: {story.ending}. Nothing was run."
        yield story.headline
        if self.saved is not None:
            recipe = ran.recipe.format(_short(self.saved))
            yield f"saved       {_short(self.saved)}{f', loads with {recipe}' if recipe else ''}"
        elif not is_none(self.config.values.get("save")):
            yield f"not saved   {self.not_saved}"
        if self.log_dir is not None:
            yield f"to look at  dspy-gepa show {_shell(self.log_dir)}"

    def _say_how_to_go_on(self, what: str) -> None:
        how = "nothing is kept of it, because the config wants no log_dir"
        if self.log_dir is not None:
            how = f"to go on: dspy-gepa resume {_shell(self.log_dir)}"
        print(f"dspy-gepa: {what}; {how}", file=sys.stderr)


def _run(given: argparse.Namespace) -> int:
    config = read_config(given.config, Path.cwd())
    return _Session(given, config, log_dir_of(config)).carried_out()[0]


def _resume(given: argparse.Namespace) -> int:
    before = story_in(given.dir)
    kept = config_in(given.dir)
    is_over = before.status == "finished" and before.has_outcome
    session = _Session(given, kept.now, given.dir)
    if is_over and not kept.is_changed:
        return _nothing_to_do(given.dir, before, kept.config.name)
    if not kept.config.path.exists():
        gone = f"{kept.config.path} is gone; the run goes on with the config as it was"
        print(f"dspy-gepa: {readable(gone)}", file=sys.stderr)
    code, ran = session.carried_out()
    if code == 0 and ran is not None and not session.watch.events and before.status == "finished":
        return _nothing_to_do(given.dir, before, kept.config.name)
    return code


def _nothing_to_do(folder: Path, story: Story, config: str) -> int:
    said = (
        f"{folder} is at its end, and nothing was run: {story.ending}. If that is a limit, a "
        f"larger one in {config} carries it on."
    )
    print(f"dspy-gepa: {readable(said)}", file=sys.stderr)
    return BROKE


def _plan(given: argparse.Namespace) -> int:
    config = read_config(given.config, Path.cwd())
    log_dir = log_dir_of(config)
    with _stdout_for_us(given):
        call = _in_user_code(given, config, lambda: call_of(config))
        plan = _in_user_code(given, config, call.plan)
    there = None
    if log_dir is not None and (log_dir / "manifest.json").exists():
        there = story_in(log_dir)
    values = {
        "config": str(config.path),
        "improves": call.what,
        **plan.to_dict(),
        "log_dir": None if log_dir is None else str(log_dir),
        "made_before": 0 if there is None else there.total.metric_calls,
        "saved": None if call.save is None else str(call.save),
    }

    def lines() -> Iterator[str]:
        yield f"improves               {call.what}"
        yield str(plan)
        if log_dir is not None:
            made = f"{there.total.metric_calls} metric calls were made" if there else "new"
            yield f"run directory          {_short(log_dir)} ({made})"
        if call.save is not None:
            yield f"saved                  {_short(call.save)}"

    print_answer(given, lines, lambda: values)
    return 0


def _in_user_code(given: argparse.Namespace, config: ConfigFile, call: Callable[[], Any]) -> Any:
    """What a call gives in which code of the user's runs: what it raises is one line.

    Raises:
        GEPAError: it raised something.
    """
    made = catching(call)
    if not isinstance(made, Failed):
        return made
    if given.traceback:
        traceback.print_exception(made.error)
    with placed(config):
        if isinstance(made.error, GEPAError):
            raise made.error
        said = " ".join(str(made.error).split())
        raise SettingsError(
            f"{type(made.error).__name__}: {said}. With --traceback it is told where."
        ) from made.error


@contextlib.contextmanager
def _stdout_for_us(given: argparse.Namespace) -> Iterator[None]:
    """With --json, what anybody else prints goes to the side of errors."""
    if not given.json:
        yield
        return
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(ours, 1)
        os.close(ours)


def _texts(story: Story) -> dict[str, str]:
    return {} if story.returned is None else dict(story.members[story.returned].texts)


def _short(path: Path) -> str:
    """A path as somebody here would write it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _shell(path: Path) -> str:
    return shlex.quote(_short(path))
