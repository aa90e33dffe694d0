"""Asynchronous programs, each through a whole `GEPA(...).compile` with many rollouts at once."""

import asyncio
import contextvars
import logging
import threading

import dspy
import pytest
from swap_task import LEARNED, exact, examples, gepa, instructions, task_lm

from dspy_gepa.errors import SettingsError, WorkerError


def compiled(program, metric=exact, **settings):
    """What becomes of the program, where no rollout fails but by its answer."""
    optimizer = gepa(metric, **{"num_threads": 8, **settings})
    with dspy.context(lm=task_lm()):
        improved = optimizer.compile(program, examples(8), examples(4))
    failures = {rollout.failure for rollout in optimizer.result.state.known.values()}
    assert failures == {""}
    return improved


class Asking(dspy.Module):
    """Asks once."""

    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    async def aforward(self, question):
        return await self.answer.acall(question=question)


class Limited(Asking):
    """Asks no more than two questions at once."""

    def __init__(self):
        super().__init__()
        self.two = asyncio.Semaphore(2)

    async def aforward(self, question):
        async with self.two:
            await asyncio.sleep(0)
            return await super().aforward(question)


class Locking(Asking):
    """Does one thing after the other, by a lock that it makes when it is first needed."""

    lock = None

    async def aforward(self, question):
        if self.lock is None:
            self.lock = asyncio.Lock()
        async with self.lock:
            await asyncio.sleep(0)
            return await super().aforward(question)


class Session:
    """As a client of a server: it belongs to the loop that opened it, and cannot be copied."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.pending = threading.Lock()

    async def fetch(self, question):
        assert asyncio.get_running_loop() is self.loop
        return question


class Fetching(Asking):
    """Opens a session once, and holds it."""

    def __init__(self):
        super().__init__()
        self.held = {}

    async def aforward(self, question):
        session = self.held.setdefault("session", Session())
        return await super().aforward(await session.fetch(question))


class Queueing(Asking):
    """Hands its questions to a task that goes on between calls."""

    def __init__(self):
        super().__init__()
        self.held = []

    async def serve(self, queue):
        while True:
            question, said = await queue.get()
            said.set_result(question)

    async def aforward(self, question):
        if not self.held:
            queue = asyncio.Queue()
            self.held += [queue, asyncio.create_task(self.serve(queue))]
        said = asyncio.get_running_loop().create_future()
        await self.held[0].put((question, said))
        return await super().aforward(await said)


class Gathering(dspy.Module):
    """Asks two predictors at once."""

    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("question -> draft")
        self.answer = dspy.Predict("question -> answer")

    async def aforward(self, question):
        both = (self.draft.acall(question=question), self.answer.acall(question=question))
        draft, answered = await asyncio.gather(*both)
        return dspy.Prediction(answer=answered.answer, draft=draft.draft)


class OwnCall(dspy.Module):
    """Does its work in `__call__`, which is a coroutine function."""

    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    async def __call__(self, question):
        return await self.answer.acall(question=question)


class Blocking(Asking):
    """Calls something synchronous."""

    async def aforward(self, question):
        return self.answer(question=question)


class Outer(dspy.Module):
    """Holds asynchronous modules, and waits for each in a task of its own."""

    def __init__(self):
        super().__init__()
        self.inner = Limited()

    async def aforward(self, question):
        async with asyncio.timeout(60) if hasattr(asyncio, "timeout") else asyncio.Lock():
            return await asyncio.create_task(self.inner.acall(question=question))


def test_a_semaphore_holds_for_all_rollouts():
    """No rollout meets a semaphore of another event loop."""
    assert instructions(compiled(Limited())) == {"answer": LEARNED}


PROGRAMS = [Locking, Fetching, Queueing, OwnCall, Blocking]


@pytest.mark.parametrize("kind", PROGRAMS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("settings", [{}, {"num_threads": 1}, {"timeout_seconds": 600}], ids=repr)
def test_whatever_belongs_to_a_loop_can_be_held(kind, settings):
    """With one thread and with many, in time or without any."""
    assert instructions(compiled(kind(), **settings)) == {"answer": LEARNED}


def test_predictors_that_are_asked_at_once_are_told_apart():
    """Their calls are noted whichever ends first."""
    assert instructions(compiled(Gathering())) == {"draft": LEARNED, "answer": LEARNED}


def test_modules_within_modules():
    """An inner one holds its semaphore through the tasks of an outer one."""
    assert instructions(compiled(Outer())) == {"inner.answer": LEARNED}


def test_forward_may_be_a_coroutine_function():
    """It is awaited as its user awaits it."""

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        async def forward(self, question):
            return await self.answer.acall(question=question)

    improved = compiled(Program())
    assert instructions(improved) == {"answer": LEARNED}

    async def used():
        with dspy.context(lm=task_lm()):
            return await improved(question="Which code has the bill?")

    assert asyncio.run(used()).answer == "Q7"


def test_forward_that_returns_a_coroutine_is_told_so():
    """The failure says what to write, and no coroutine is left that nobody awaits."""

    class Program(Asking):
        def forward(self, question):
            return self.aforward(question)

    with pytest.raises(WorkerError, match="Write it as `async def forward`"):
        compiled(Program())


def test_a_program_that_was_made_synchronous_shares_one_loop():
    """What dspy.syncify put on it begins a loop for each call; what it was made of does not."""
    assert instructions(compiled(dspy.syncify(Limited()))) == {"answer": LEARNED}


def test_the_context_of_the_caller_holds_on_the_loop():
    """A `dspy.context`, and any variable of the caller's, as in a thread of the run."""
    house = contextvars.ContextVar("house")
    seen = set()

    class Program(Asking):
        async def aforward(self, question):
            seen.add((house.get(), dspy.settings.adapter is adapter))
            return await super().aforward(question)

    house.set("ours")
    adapter = dspy.ChatAdapter()
    with dspy.context(adapter=adapter):
        compiled(Program())
    assert seen == {("ours", True)}


def test_a_program_that_hangs_is_cancelled_and_failed(hangs):
    """In time, without a thread for each; the others go on."""
    cancelled = threading.Semaphore(0)

    class Program(Asking):
        async def aforward(self, question):
            if "case 0" in question:
                hangs.begin()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.release()
                    raise
            return await super().aforward(question)

    optimizer = gepa(exact, timeout_seconds=0.5, num_threads=4)
    with dspy.context(lm=task_lm()):
        optimizer.compile(Program(), examples(8), examples(12)[8:])
    known = optimizer.result.state.known
    hung = [rollout for key, rollout in known.items() if key.example == 0]
    assert hung == [rollout for rollout in known.values() if rollout.failure] != []
    assert all("took longer than 0.5 seconds" in rollout.failure for rollout in hung)
    assert all(cancelled.acquire(timeout=600) for _ in hung)


def test_no_thread_outlives_the_run():
    """The loop ends with the run, also with one that an error ended."""
    before = set(threading.enumerate())  # workers of other tests need not have been closed
    for program in (Asking(), Limited()):
        compiled(program)

    class Crashing(Asking):
        async def aforward(self, question):
            raise ValueError("down")

    with pytest.raises(WorkerError, match="down"):
        compiled(Crashing())
    for thread in set(threading.enumerate()) - before:
        if thread.name == "dspy_gepa-event-loop":
            thread.join(60)
            assert not thread.is_alive()


async def look_up(question: str) -> str:
    """The house code of a question."""
    await asyncio.sleep(0)
    return f"looked up {question}"


class TestAsynchronousTools:
    """Tools of MCP servers, and others that can only be awaited."""

    def test_an_agent_that_can_await_them_does(self):
        """dspy.ReAct has both ways in; only one of them can call such a tool."""
        program = dspy.ReAct("question -> answer", tools=[look_up], max_iters=1)
        seen = []

        def metric(gold, pred, trace=None):
            seen.append(pred.trajectory["observation_0"])
            return exact(gold, pred)

        lm = agent_lm()
        optimizer = gepa(metric, num_threads=4)
        with dspy.context(lm=lm):
            optimizer.compile(program, examples(8), examples(4))
        assert seen
        assert all(each.startswith("looked up Which code") for each in seen)

    def test_a_synchronous_program_around_them_is_told_beforehand(self, caplog):
        """What to do stands in the first line of the log, and DSPy's own setting is one way."""

        class Program(dspy.Module):
            def __init__(self):
                super().__init__()
                self.agent = dspy.ReAct("question -> answer", tools=[look_up], max_iters=1)

            def forward(self, question):
                return self.agent(question=question)

        def warnings_of(**context):
            caplog.clear()
            lm = agent_lm()
            with caplog.at_level(logging.WARNING), dspy.context(lm=lm, **context):
                gepa(exact, max_metric_calls=4).compile(Program(), examples(2), examples(2))
            return [each.getMessage() for each in caplog.records if "look_up" in each.getMessage()]

        (warning,) = warnings_of()
        assert "aforward" in warning
        assert "allow_tool_async_sync_conversion" in warning
        assert warnings_of(allow_tool_async_sync_conversion=True) == []


def agent_lm():
    """Calls the tool once, and then answers."""
    from scripted_engine import answer, scripted_lm

    def reply(prompt):
        if "next_tool_name ## ]]" in prompt.rpartition("Respond with")[2]:
            asked = prompt.rpartition("[[ ## question ## ]]\n")[2].splitlines()[0]
            arguments = f'{{"question": "{asked}"}}'
            return answer(next_thought="t", next_tool_name="look_up", next_tool_args=arguments)
        return answer(reasoning="so", answer="Q7")

    return scripted_lm(reply)


def test_a_program_that_cannot_be_called_is_refused_beforehand():
    """Nothing is spent on a module without any method that runs it."""

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

    with pytest.raises(SettingsError, match="neither `forward` nor `aforward`"):
        compiled(Program())
