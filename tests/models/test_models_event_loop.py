"""The event loop of a run: one for everything asynchronous, in a thread of its own."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from dspy_gepa.models.catching import Failed
from dspy_gepa.models.event_loop import EventLoop
from dspy_gepa.models.timeouts import TimedOut

SOON_SECONDS = 0.05


@pytest.fixture
def loop():
    loop = EventLoop()
    yield loop
    loop.close()


def together(count, call):
    """What so many threads get that call at once."""
    said = [None] * count

    def fill(place):
        said[place] = call(place)

    threads = [threading.Thread(target=fill, args=[place]) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


async def current_loop():
    return asyncio.get_running_loop()


@pytest.mark.parametrize("timeout_seconds", [None, 60.0])
def test_what_is_quick_enough_is_what_it_is(loop, timeout_seconds):
    """A value, None, or what was raised; in the caller's context, interrupts included."""
    house = ContextVar("house", default="none")
    house.set("ours")
    error = ValueError("wrong")

    async def home():
        await asyncio.sleep(0)
        return house.get()

    async def nothing():
        return None

    async def fails():
        raise error

    async def interrupts():
        raise KeyboardInterrupt

    assert loop.within(timeout_seconds, home) == "ours"
    assert loop.within(timeout_seconds, nothing) is None
    raised = loop.within(timeout_seconds, fails)
    assert isinstance(raised, Failed)
    assert raised.error is error
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            loop.within(timeout_seconds, interrupts)
    assert loop.within(timeout_seconds, home) == "ours"


def test_all_threads_share_one_loop_and_none_waits_for_another(loop):
    """Eight calls that wait for each other end, and what one holds the others can wait for."""
    semaphore, are_all_here, here = asyncio.Semaphore(1), asyncio.Event(), []

    async def meet():
        async with semaphore:
            await asyncio.sleep(0)
            here.append(None)
        if len(here) == 8:
            are_all_here.set()
        await are_all_here.wait()
        return asyncio.get_running_loop()

    assert len({*together(8, lambda _: loop.within(None, meet))}) == 1


def test_what_takes_longer_is_cancelled(loop, hangs, monkeypatch):
    """It can clear up, and the loop goes on."""
    monkeypatch.setattr("dspy_gepa.models.event_loop._GRACE_SECONDS", 600.0)
    seen = []

    async def hang():
        hangs.begin()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cleared up")

    said = loop.within(SOON_SECONDS, hang)
    assert isinstance(said, Failed)
    assert isinstance(said.error, TimedOut)
    assert loop.within(None, current_loop) is loop.within(None, current_loop)
    assert seen == ["cleared up"]


def test_a_loop_that_is_blocked_is_left_behind(loop, hangs):
    """What blocks it takes nobody with it that begins later."""
    loops = []

    async def block():
        loops.append(asyncio.get_running_loop())
        hangs.hang()

    said = loop.within(SOON_SECONDS, block)
    assert isinstance(said.error, TimedOut)
    assert loop.within(None, current_loop) is not loops[0]


@pytest.mark.parametrize("ending", [SystemExit(1), asyncio.CancelledError()], ids=repr)
def test_what_would_end_the_loop_is_an_error_of_the_call(loop, ending):
    """The loop serves the others on."""

    async def quits():
        raise ending

    said = loop.within(None, quits)
    assert isinstance(said, Failed)
    assert type(ending).__name__ in str(said.error)
    assert loop.within(None, current_loop) is loop.within(None, current_loop)


def test_the_thread_ends_with_the_run():
    """What still runs is cancelled, and later calls are refused."""
    loop, tasks, ended = EventLoop(), [], threading.Event()

    async def leave_a_task():
        async def hang():
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        tasks.append(asyncio.create_task(hang()))
        await asyncio.sleep(0)
        return threading.current_thread()

    thread = loop.within(None, leave_a_task)
    loop.close()
    thread.join(60)
    assert ended.is_set()
    assert (thread.is_alive(), thread.daemon) == (False, True)
    with pytest.raises(RuntimeError, match="over"):
        loop.within(None, current_loop)


def test_nothing_is_begun_where_nothing_is_asynchronous():
    """A loop that nobody asked for has no thread, and can be closed."""
    before = set(threading.enumerate())  # of which some may end at any moment
    loop = EventLoop()
    assert set(threading.enumerate()) <= before
    loop.close()
