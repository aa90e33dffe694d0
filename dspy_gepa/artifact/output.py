"""What an evaluation prints and logs: kept by evaluation, whatever threads it begins.

`log` is for evaluators. What they print is kept only if that is asked for. Threads inherit the
evaluation in which they are begun; Python itself does that from 3.14 on only, so `Thread.start` is
wrapped while evaluations are watched.
"""

from __future__ import annotations

import contextvars
import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

__all__ = ["Output", "TextEnds", "listened", "log", "logging_to", "said_with", "watched_output"]

_KEPT = 10_000
"""Characters that are kept of the beginning and of the end of what one stream was told. Our choice:
more than a reflection will show, and a million lines must not fill the memory."""


class TextEnds:
    """The beginning and the end of a text that may be of any length."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._head = ""
        self._tail: deque[str] = deque()
        self._in_tail = self._left_out = 0
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Take in more of it."""
        with self._lock:
            room = self._kept - len(self._head)
            self._head += text[:room]
            if rest := text[max(room, 0) :]:
                self._tail.append(rest)
                self._in_tail += len(rest)
            while self._tail and self._in_tail - len(self._tail[0]) >= self._kept:
                dropped = self._tail.popleft()
                self._in_tail -= len(dropped)
                self._left_out += len(dropped)

    @property
    def text(self) -> str:
        """What is kept, with a note where something is left out."""
        with self._lock:
            tail = "".join(self._tail)
            left_out = self._left_out + max(0, len(tail) - self._kept)
            tail = tail[-self._kept :] if tail else ""
            note = f"\n[... {left_out:,} characters left out ...]\n" if left_out else ""
            return f"{self._head}{note}{tail}"


@dataclass(frozen=True)
class Output:
    """What one evaluation said beside its result."""

    logged: TextEnds = field(default_factory=TextEnds)
    printed: TextEnds = field(default_factory=TextEnds)
    errors: TextEnds = field(default_factory=TextEnds)

    @property
    def in_words(self) -> str:
        """All of it, each part under its name; empty if nothing was said."""
        parts = (
            ("Log", self.logged),
            ("Printed", self.printed),
            ("Printed to stderr", self.errors),
        )
        sections = [(title, kept.text.strip()) for title, kept in parts]
        return "\n\n".join(f"{title}:\n{text}" for title, text in sections if text)


_CURRENT: contextvars.ContextVar[Output | None] = contextvars.ContextVar("output", default=None)


class _Sink:
    """Where `log` writes in a process that is one evaluation's own."""

    descriptor: int | None = None


def log(*values: object, sep: str = " ", end: str = "\n") -> None:
    """Print to the feedback on the evaluation that this is called in, also from its threads.

    Takes values, `sep` and `end`, as `print` does. Outside of an evaluation it writes to stdout.
    """
    text = sep.join(map(str, values)) + end
    if _Sink.descriptor is not None:
        written = text.encode("utf-8", "backslashreplace")
        while written:
            written = written[os.write(_Sink.descriptor, written) :]
    elif (output := _CURRENT.get()) is not None:
        output.logged.add(text)
    else:
        sys.stdout.write(text)


def logging_to(descriptor: int) -> None:
    """From now on, and in all processes forked from here, `log` writes to this file descriptor."""
    _Sink.descriptor = descriptor


@contextmanager
def listened(output: Output) -> Iterator[None]:
    """What is logged inside, and where streams are watched what is printed, goes to this output."""
    token = _CURRENT.set(output)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def said_with(feedback: str, output: str) -> str:
    """An evaluator's own words and what it printed, as one text."""
    return "\n\n".join(filter(None, [feedback, output]))


class _Dispatching:
    """A stream that gives what an evaluation prints to that evaluation, all else to the usual."""

    def __init__(self, usual: TextIO, name: str) -> None:
        self._usual = usual
        self._name = name

    def write(self, text: str) -> int:
        """Take note of a text."""
        output = _CURRENT.get()
        if output is None:
            return self._usual.write(text)
        getattr(output, self._name).add(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Take note of several."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usual, name)


@contextmanager
def watched_output(*, prints: bool) -> Iterator[None]:
    """While this holds, threads belong to the evaluation that begins them; prints too if asked."""
    begin, out, err = threading.Thread.start, sys.stdout, sys.stderr

    @functools.wraps(begin)
    def start(thread: threading.Thread) -> None:
        if _CURRENT.get() is not None:
            thread.run = functools.partial(  # type: ignore[method-assign]
                contextvars.copy_context().run, thread.run
            )
        begin(thread)

    threading.Thread.start = start  # type: ignore[method-assign,assignment]
    if prints:
        sys.stdout, sys.stderr = _Dispatching(out, "printed"), _Dispatching(err, "errors")
    try:
        yield
    finally:
        threading.Thread.start = begin  # type: ignore[method-assign]
        if prints:
            sys.stdout, sys.stderr = out, err
