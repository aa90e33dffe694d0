"""Which thread a program runs in, through whole runs: with one thread, the caller's."""

import asyncio
import signal
import sqlite3
import threading

import dspy
import pytest
from swap_task import LEARNED, exact, examples, gepa, instructions, task_lm

from dspy_gepa import GEPA
from dspy_gepa.errors import SettingsError, WorkerError


def compiled(program, metric=exact, *, lm=None, **settings):
    with dspy.context(lm=lm or task_lm()):
        return gepa(metric, **settings).compile(program, examples(8), examples(4))


class Asking(dspy.Module):
    def __init__(self, before=lambda: None):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.before = before

    def forward(self, question):
        self.before()
        return self.answer(question=question)


def handle():
    """Sets a signal handler, which Python allows in the main thread only."""
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def current_loop():
    """The event loop of this thread, which other threads do not have."""
    asyncio.get_event_loop()


class TestOneThread:
    """`num_threads=1`, and nothing said about time: everything is done where compile was called."""

    def test_program_metric_and_reflection_run_in_the_callers_thread(self):
        """Also where dspy.configure says that there is one thread."""
        seen = set()

        def note(*_):
            seen.add(threading.current_thread())

        def metric(gold, pred, trace=None):
            note()
            return exact(gold, pred)

        def propose(candidate, reflective_dataset, components_to_update):
            note()
            return dict.fromkeys(components_to_update, LEARNED)

        program = Asking(note)
        compiled(program, metric, num_threads=1, instruction_proposer=propose)
        with dspy.context(num_threads=1):
            compiled(program, metric, instruction_proposer=propose)
        assert seen == {threading.current_thread()}

    def test_a_database_that_belongs_to_a_thread_can_be_asked(self):
        """SQLite refuses a connection to all threads but the one that opened it."""
        database = sqlite3.connect(":memory:")
        program = Asking(lambda: database.execute("select 1"))
        assert instructions(compiled(program, num_threads=1)) == {"answer": LEARNED}

    def test_a_signal_handler_can_be_set(self):
        """In the main thread, where compile is called."""
        assert instructions(compiled(Asking(handle), num_threads=1)) == {"answer": LEARNED}

    def test_the_threads_event_loop_is_found(self):
        """One that was set before."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            assert instructions(compiled(Asking(current_loop), num_threads=1))
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def test_what_a_thread_keeps_for_itself_is_there(self):
        """A client in a threading.local, say."""
        own = threading.local()
        own.client = "open"
        program = Asking(lambda: own.client)
        assert instructions(compiled(program, num_threads=1)) == {"answer": LEARNED}

    def test_in_another_thread_than_the_main_one(self):
        """Whichever thread calls compile."""
        seen, done = set(), []

        def job():
            done.append(
                compiled(Asking(lambda: seen.add(threading.current_thread())), num_threads=1)
            )

        thread = threading.Thread(target=job)
        thread.start()
        thread.join()
        assert seen == {thread}
        assert instructions(*done) == {"answer": LEARNED}

    def test_demonstrations_are_validated_there_too(self):
        """What comes after the search."""
        seen = set()
        program = Asking(lambda: seen.add(threading.current_thread()))
        compiled(program, num_threads=1, max_labeled_demos=2)
        # DSPy's own bootstrapping runs one program at a time, too.
        assert seen == {threading.current_thread()}

    def test_nothing_hangs_back(self):
        """No thread is begun at all."""
        before = set(threading.enumerate())  # of which some may end at any moment
        compiled(Asking(), num_threads=1)
        assert set(threading.enumerate()) <= before


class TestOtherThreads:
    """Where threads are needed, an error of a program that is bound to one says why."""

    @pytest.mark.parametrize(
        ("settings", "because"),
        [
            ({"num_threads": 2}, "num_threads=2"),
            ({"num_threads": 1, "timeout_seconds": 600}, "timeout_seconds=600"),
            ({"num_threads": 3, "timeout_seconds": 600}, "num_threads=3"),
            ({}, "num_threads"),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("kind", ["signal", "sqlite", "loop"])
    def test_the_reason_and_the_way_out_are_told(self, settings, because, kind):
        """The program fails on every example, and one thread would do."""
        database = sqlite3.connect(":memory:")
        before = {"signal": handle, "loop": current_loop}.get(kind) or (
            lambda: database.execute("select 1")
        )
        with pytest.raises(WorkerError) as caught:
            compiled(Asking(before), **settings)
        assert "in threads of their own" in str(caught.value)
        assert because in str(caught.value)
        assert "num_threads=1" in str(caught.value)

    def test_of_one_thread_nothing_is_said(self):
        """There the thread is not why it failed."""

        def down():
            raise ValueError("down")

        with pytest.raises(WorkerError) as caught:
            compiled(Asking(down), num_threads=1)
        assert "in threads of their own" not in str(caught.value)

    @pytest.mark.parametrize(
        ("metric", "settings"),
        [
            (lambda gold, pred: 1 / 0, {}),
            (lambda gold, pred: pred.ansswer == gold.answer, {}),
            (lambda gold, pred: 0.5, {"frontier_type": "hybrid"}),
        ],
        ids=["raises", "misspelt", "no objectives"],
    )
    def test_a_metric_that_is_at_fault_gives_no_advice_on_the_program(self, metric, settings):
        """Nor does one that scores no objectives: the program answered each time."""
        with pytest.raises(WorkerError) as caught:
            compiled(Asking(), metric, num_threads=2, **settings)
        assert "in threads of their own" not in str(caught.value)

    def test_an_asynchronous_program_is_told_of_its_loop(self):
        """It runs on a loop of the run's, whatever else is asked for."""

        class Waiting(dspy.Module):
            def __init__(self):
                super().__init__()
                self.answer = dspy.Predict("question -> answer")

            async def aforward(self, question):
                raise RuntimeError("bound to a different event loop")

        with pytest.raises(WorkerError, match="an event loop of the run's own"):
            compiled(Waiting(), num_threads=1)


def test_a_timeout_that_was_asked_for_is_kept():
    """900 seconds asked for are no default: with one thread, too, they need another one."""
    seen = set()
    program = Asking(lambda: seen.add(threading.current_thread()))
    compiled(program, num_threads=1, timeout_seconds=900.0)
    assert threading.current_thread() not in seen


@pytest.mark.parametrize("given", ["soon", "", 0, -1.0, True, float("nan")])
def test_what_is_no_timeout_is_refused(given):
    """By name, with what is allowed."""
    with pytest.raises(SettingsError, match="timeout_seconds"):
        GEPA(exact, timeout_seconds=given)
