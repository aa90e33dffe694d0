"""Calls that hang, and time that passes for them alone, however slow the machine is."""

import threading
from concurrent.futures import Future, TimeoutError  # noqa: A004 - another class in Python 3.10
from types import SimpleNamespace

__all__ = ["Hangs"]


class Hangs:
    """Counts the calls that hang beside those that somebody waits for."""

    def __init__(self):
        self.changed = threading.Condition()
        self.hanging = self.waited_for = 0
        self.limits_seconds = []
        """How long whoever began a call was ready to wait for it, in order."""
        self._may_go = threading.Event()
        # What a module needs in place of `threading` to wait by this clock.
        self.threading = SimpleNamespace(Event=lambda: _Answer(self), Thread=threading.Thread)
        # And one that waits for a future.
        self.future = type("Reply", (_Reply,), {"hangs": self})

    def begin(self):
        """Say that a call that is waited for hangs from now on."""
        with self.changed:
            self.hanging += 1
            self.changed.notify_all()

    def wait(self, is_answered):
        """Whether a call has answered before nothing but calls that hang was waited for."""
        with self.changed:
            self.changed.wait_for(lambda: is_answered() or self.hanging >= self.waited_for)
            has_answered = is_answered()
            self.waited_for -= 1
            self.hanging -= not has_answered
            self.changed.notify_all()
            return has_answered

    def hang(self):
        """Hang until all are let go."""
        self.begin()
        self._may_go.wait()

    def let_go(self):
        """End whatever hangs."""
        self._may_go.set()


class _Answer(threading.Event):
    """Set by a call that has answered. There is one for each call, made before it begins."""

    def __init__(self, hangs):
        super().__init__()
        self._hangs = hangs
        with hangs.changed:
            hangs.waited_for += 1

    def set(self):
        with self._hangs.changed:
            super().set()
            self._hangs.changed.notify_all()

    def wait(self, timeout=None):
        self._hangs.limits_seconds.append(timeout)
        return self._hangs.wait(self.is_set)


class _Reply(Future):
    """The same for what runs on an event loop."""

    def __init__(self):
        super().__init__()
        with self.hangs.changed:
            self.hangs.waited_for += 1
        self.add_done_callback(lambda _: self._count(0))

    def result(self, timeout=None):
        if timeout is None:
            self._count(-1)  # whose time is never up
        elif not self.hangs.wait(self.done):
            raise TimeoutError
        return super().result()

    def _count(self, more):
        with self.hangs.changed:
            self.hangs.waited_for += more
            self.hangs.changed.notify_all()
