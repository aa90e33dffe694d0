"""Ctrl-C, as a real signal in a process of its own, at chosen moments of a run."""

import json

import pytest

# Presses Ctrl-C when the given request is carried out: in its thread, which for the serial
# executor is the main one. The signal is always handled by the main thread.
RUN = """
import json, os, signal, sys, threading
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import RequestFailure
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.pace import Pace
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.testing.witness import Witness
from dspy_gepa.testing.worlds import RuleWorld

given = json.loads(sys.argv[1])
WORLD = RuleWorld(names=("a", "b"))
SETTINGS = Settings(
    train=tuple(range(6)), validation=tuple(range(4, 10)), limits=Limits(metric_calls=150)
)
lock, calls, ended = threading.Lock(), 0, threading.Event()

def press():
    os.kill(os.getpid(), signal.SIGINT)

def worker(request):
    global calls
    with lock:
        calls += 1
        number = calls
    if number == given.get("at"):
        press()
    if number == given.get("hangs_at"):
        press()
        if given["threads"]:
            ended.wait(60)
        press()
        threading.Event().wait(60)
    if given.get("busy_at") and number >= given["busy_at"]:
        if number == given["busy_at"]:
            threading.Timer(0.3, press).start()
        return RequestFailure(request.key, "busy", is_lasting=False)
    return WORLD(request)

def listen(event, state):
    if state.ending:
        ended.set()
    if given.get("on") == type(event).__name__:
        given["on"] = ""
        press()

witness = Witness(worker)
threads = given["threads"]
executor = ThreadedExecutor(witness, threads) if threads else SerialExecutor(witness)
if given.get("handler"):
    signal.signal(signal.SIGINT, lambda *_: None)
before = signal.getsignal(signal.SIGINT)
told, state = "", None
try:
    pace = Pace(executor.slots, (600.0,) if given.get("busy_at") else ())
    state = run_loop(start(SETTINGS, WORLD.student), executor, [listen], pace=pace).state
except KeyboardInterrupt:
    told = "KeyboardInterrupt"
print(json.dumps({
    "told": told,
    "ending": state.ending if state else "",
    "answers": len(witness.answers),
    "known": len(state.known) + state.tally.reflection_calls if state else None,
    "in_flight": executor.in_flight,
    "is_handler_back": signal.getsignal(signal.SIGINT) is before,
}))
sys.stdout.flush()
"""

KEYBOARD = "interrupted from the keyboard"
THREADS = pytest.mark.parametrize("threads", [0, 4], ids=["serial", "threads"])


@pytest.fixture
def interrupted(warm_python):
    """Carries out a run that interrupts itself, and returns what its process says in the end."""

    def run(**given):
        done = warm_python.run(RUN, json.dumps(given))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@THREADS
@pytest.mark.parametrize("at", [1, 2, 9, 30])
def test_the_first_ctrl_c_ends_the_run_in_order(interrupted, threads, at):
    """At the first request and at later ones: what runs is finished and counted, no answer is lost,
    little is begun any more, and Ctrl-C does afterwards what it did before."""
    said = interrupted(threads=threads, at=at)
    assert at <= said["answers"] <= at + 2 * threads + 1
    assert said == {
        "told": "",
        "ending": KEYBOARD,
        "answers": said["answers"],
        "known": said["answers"],
        "in_flight": 0,
        "is_handler_back": True,
    }


def test_in_one_thread_nothing_is_begun_after_ctrl_c(interrupted):
    """The request that was interrupted is the last one."""
    assert interrupted(threads=0, at=9)["answers"] == 9


@THREADS
@pytest.mark.parametrize("event", ["Issued", "RolledOut", "Advanced", "Committed"])
def test_no_step_of_the_run_is_cut_in_two(interrupted, threads, event):
    """A Ctrl-C while listeners are told (where a journal writes) is heard afterwards."""
    said = interrupted(threads=threads, on=event)
    assert (said["told"], said["ending"], said["in_flight"]) == ("", KEYBOARD, 0)
    assert said["known"] == said["answers"]


@THREADS
def test_a_pause_does_not_outlast_ctrl_c(interrupted, threads):
    """Who waits ten minutes for a busy server can be interrupted."""
    said = interrupted(threads=threads, busy_at=5)
    assert (said["told"], said["ending"], said["in_flight"]) == ("", KEYBOARD, 0)


@THREADS
def test_the_second_ctrl_c_is_raised_at_once(interrupted, threads):
    """Though a request hangs, in a thread or in the caller's own; the handler is back."""
    said = interrupted(threads=threads, hangs_at=7)
    assert (said["told"], said["is_handler_back"]) == ("KeyboardInterrupt", True)
    # Of the six before it, all but those that the other threads were still at.
    assert said["answers"] >= 6 - threads


@THREADS
def test_an_undisturbed_run_leaves_the_handler_as_it_was(interrupted, threads):
    """Without Ctrl-C nothing is different."""
    said = interrupted(threads=threads)
    assert (said["told"], said["is_handler_back"]) == ("", True)
    assert said["ending"] != KEYBOARD


@THREADS
def test_a_programs_own_handler_is_left_alone(interrupted, threads):
    """Who handles Ctrl-C himself is the only one who hears of it."""
    said = interrupted(threads=threads, at=5, handler=True)
    assert (said["told"], said["is_handler_back"]) == ("", True)
    assert said["ending"] != KEYBOARD


# Presses Ctrl-C where waiting for one begins: while a lock is held that is not to be had twice.
WITHIN = """
import faulthandler, inspect, os, signal, sys, threading
from dspy_gepa.run.interruption import interruptible
from dspy_gepa.run.serial import SerialExecutor

faulthandler.dump_traceback_later(120, exit=True)
waiting = threading.Event.wait.__code__
lines, first = inspect.getsourcelines(waiting)
inside = first + next(i for i, line in enumerate(lines) if "signaled = self._flag" in line)

def press():
    presses.append(1)
    if len(presses) == 1:
        os.kill(os.getpid(), signal.SIGINT)

def follow(frame, event, argument):
    if frame.f_code is not waiting:
        return None
    if event == "line" and frame.f_lineno == inside:
        sys.settrace(None)
        press()
    return follow

presses, executor = [], SerialExecutor(None)
threading.Timer(1, press).start()  # for executors that wait in another way
with interruptible(executor):
    sys.settrace(follow)
    said = executor.next_answer(30)
print(said.reason)
"""


def test_ctrl_c_is_heard_in_the_midst_of_waiting(warm_python):
    """In the serial executor's pause too: whatever the main thread was at, it goes on."""
    done = warm_python.run(WITHIN)
    assert (done.returncode, done.stdout.strip()) == (0, KEYBOARD), done.stderr
