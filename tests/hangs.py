"""Calls that hang, and time that passes for them alone, however slow the machine is."""

import threading
from types import SimpleNamespace

__all__ = ["Hangs"]


class Hangs:
    """Counts the calls that hang beside those that somebody waits for."""

    def __init__(self):
        self.changed = threading.Condition()
        self.hanging = self.waited_for = 0
        self._may_go = threading.Event()
        # What a module needs in place of `threading` to wait by this clock.
        self.threading = SimpleNamespace(Event=lambda: _Answer(self), Thread=threading.Thread)

    def begin(self):
        """Say that a call that is waited for hangs from now on."""
        with self.changed:
            self.hanging += 1
            self.changed.notify_all()

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
        """Whether it has answered before nothing but calls that hang was waited for."""
        hangs = self._hangs
        with hangs.changed:
            hangs.changed.wait_for(lambda: self.is_set() or hangs.hanging >= hangs.waited_for)
            hangs.waited_for -= 1
            hangs.hanging -= not self.is_set()
            hangs.changed.notify_all()
            return self.is_set()
