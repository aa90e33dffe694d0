"""Processes that begin at once: forked from one that has imported everything and does nothing else.

A fresh Python takes seconds to import DSPy and litellm. What is claimed about importing them, about
settings that are read at importing, or about processes in which strings hash differently (these all
hash alike, and not as the process of the tests does) needs a fresh one; all else may begin here.
"""

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import dspy_gepa

__all__ = ["ALONE", "BARE", "COMMAND", "FORGET", "ROOT", "WarmPython"]

ROOT = Path(dspy_gepa.__file__).parents[1]
TESTS = Path(__file__).parent
PLACES = [ROOT, *(TESTS / part for part in ("", "program", "faults", "anything"))]
IMPORTED = ("dspy", "litellm", "dspy_gepa.command.main", "dspy_gepa.testing.worlds")

BARE = f"""
import sys, types
sys.modules["dspy_gepa"] = types.ModuleType("dspy_gepa")
sys.modules["dspy_gepa"].__path__ = [{str(ROOT / "dspy_gepa")!r}]
"""
"""What lets a fresh process import the rooms that know no DSPy, without importing that either."""

COMMAND = "import sys\nfrom dspy_gepa.command.main import main\nsys.exit(main())"
"""What `dspy-gepa` executes."""

FORGET = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0] == "dspy_gepa"]:
    del sys.modules[name]
"""
"""What makes the next import of the package its first; libraries stay imported."""

ALONE = f"""{FORGET}
sys.modules["dspy_gepa"] = None
sys.path[:] = [place for place in sys.path if place not in {[*map(str, PLACES)]}]
"""
"""What leaves DSPy where this package and its tests are not."""


def serve():
    """A child for each line that comes; there this returns what is to be executed, and where.

    Between the two is a process that waits for the child, so that many can run at once."""
    gc.disable()
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or else every child takes a second to look through all that at its end
    gc.enable()
    with socket.socket(fileno=os.dup(0)) as control:
        while True:
            word, descriptors, _, _ = socket.recv_fds(control, 1, 3)
            if not word:
                sys.exit()
            if not os.fork():
                break
            for each in descriptors:
                os.close(each)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    line, out, err = descriptors
    with socket.socket(fileno=line) as asking, asking.makefile("r") as lines:
        job = json.loads(lines.readline())
        if child := os.fork():
            _wait_for(child, asking)
    for number, each in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(each, number)
        os.close(each)
    # A process that was begun in the background ignores Ctrl-C, and so do its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv = ["-c", *job["arguments"]]
    return compile(job["code"], "<string>", "exec"), sys.modules["__main__"].__dict__


def _wait_for(child, asking):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # it has ended already
        os.setpgid(child, child)  # who stops its whole group stops nobody else
    asking.sendall(f"{child}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):  # nobody waits any more
        asking.sendall(f"{code}\n".encode())
    os._exit(0)


class Running:
    """A process that was begun."""

    def __init__(self, line, out, err):
        self._line, self._lines = line, line.makefile("r")
        self._out, self._err = out, err
        self.pid = int(self._lines.readline())

    def wait(self, timeout_seconds=600):
        """How it ended, and what it printed; it is killed if that takes too long."""
        self._line.settimeout(timeout_seconds)
        with self._line, self._lines, self._out, self._err:
            try:
                code = int(self._lines.readline())
            except TimeoutError:
                os.kill(self.pid, signal.SIGKILL)
                raise
            for each in (self._out, self._err):
                each.seek(0)
            return subprocess.CompletedProcess(
                "a warm Python", code, self._out.read(), self._err.read()
            )


class WarmPython:
    """Begins processes that have imported the package, DSPy and litellm."""

    def __init__(self):
        self._cache = tempfile.TemporaryDirectory()
        self._control, end = socket.socketpair()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, PLACES)),
            "DSPY_CACHEDIR": self._cache.name,
        }
        # The names of the executed code are those that it defines.
        command = [sys.executable, "-c", "exec(*__import__('warm_python').serve())"]
        with end:
            self._process = subprocess.Popen(command, stdin=end, env=environment)

    def begin(self, code, *arguments, folder=ROOT, environment=os.environ):
        """A process that executes this as `python -c` would, without an input."""
        line, end = socket.socketpair()
        out, err = (tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2))  # noqa: SIM115
        with end:
            socket.send_fds(self._control, [b"."], [each.fileno() for each in (end, out, err)])
        job = {
            "code": code,
            "arguments": [str(each) for each in arguments],
            "folder": str(folder),
            # Those that it begins in turn keep their replies there, too.
            "environment": {**environment, "DSPY_CACHEDIR": self._cache.name},
        }
        line.sendall(json.dumps(job).encode() + b"\n")
        return Running(line, out, err)

    def run(self, code, *arguments, **place):
        """The same, at its end."""
        return self.begin(code, *arguments, **place).wait()

    def close(self):
        """End it. What was begun goes on."""
        self._control.close()
        self._process.wait(60)
        self._cache.cleanup()
