"""Everything around an optimizer in DSPy: callbacks, usage, contexts, models, threads, loops."""

import asyncio
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from dspy.utils import DummyLM
from dspy.utils.callback import BaseCallback
from dspy_versions import since
from scripted_engine import answer, scripted_lm
from swap_task import (
    LEARNED,
    compiled,
    exact,
    examples,
    gepa,
    instructions,
    task_lm,
    task_reply,
    teacher_lm,
)


class Noting(BaseCallback):
    """Counts what it is told, from whatever thread."""

    def __init__(self):
        self.starts, self.ends, self.compiles = [], [], []

    def on_compile_start(self, call_id, instance, inputs):
        self.compiles.append((type(instance).__name__, inputs))

    def on_compile_end(self, call_id, outputs, exception=None):
        self.compiles.append((outputs, exception))

    def on_module_start(self, call_id, instance, inputs):
        self.starts.append(type(instance).__name__)

    def on_module_end(self, call_id, outputs, exception=None):
        self.ends.append("module")

    def on_lm_start(self, call_id, instance, inputs):
        self.starts.append(instance)

    def on_lm_end(self, call_id, outputs, exception=None):
        self.ends.append("lm")


class TestCallbacks:
    """The user's callbacks are told what really happens."""

    def test_every_call_is_told_from_every_thread(self):
        """One module call a rollout, one model call a rollout and a reflection, each ended."""
        noting, lm, optimizer = Noting(), task_lm(), gepa(exact, num_threads=8)
        with dspy.context(callbacks=[noting]):
            compiled(optimizer, lm=lm)
            assert dspy.settings.callbacks == [noting]
        tally = optimizer.result.tally
        assert Counter(noting.starts) == {
            "Predict": tally.rollouts,
            lm: tally.rollouts,
            optimizer.reflection_lm: tally.reflection_calls,
        }
        assert Counter(noting.ends) == {
            "module": tally.rollouts,
            "lm": tally.rollouts + tally.reflection_calls,
        }

    @since("3.3.1", "on_compile_start")
    def test_compile_itself_is_told(self):
        """on_compile_start with the arguments by name, on_compile_end with the program."""
        noting, train = Noting(), examples(8)
        with dspy.context(callbacks=[noting], lm=task_lm()):
            improved = gepa(exact).compile(dspy.Predict("question -> answer"), train)
        (kind, inputs), (outputs, exception) = noting.compiles
        assert (kind, outputs, exception) == ("GEPA", improved, None)
        assert inputs["trainset"] is train
        assert inputs["valset"] is None

    def test_callbacks_on_models_and_modules_are_told_too(self):
        """They are the user's own objects and are not copied with the candidates."""
        on_module, on_lm = Noting(), Noting()
        program = dspy.Predict("question -> answer")
        program.callbacks = [on_module]
        optimizer = gepa(exact)
        improved = compiled(optimizer, program, lm=task_lm(callbacks=[on_lm]))
        rollouts = optimizer.result.tally.rollouts
        assert (len(on_module.starts), len(on_lm.starts)) == (rollouts, rollouts)
        assert improved.callbacks == [on_module]


class TestCosts:
    """What a run cost can be read where DSPy's users read it."""

    @pytest.mark.parametrize("num_threads", [1, 8])
    def test_track_usage_counts_every_call(self, num_threads):
        """Around a compile with threads, where DSPy's own evaluation records nothing."""
        optimizer = gepa(exact, num_threads=num_threads)
        with dspy.track_usage() as usage:
            compiled(optimizer)
        tally = optimizer.result.tally
        used = usage.get_total_tokens()["scripted/model"]["total_tokens"]
        assert used == 2 * (tally.rollouts + tally.reflection_calls)

    def test_usage_on_predictions(self):
        """dspy.settings.track_usage reaches the metric, rollout by rollout."""
        seen = []

        def metric(gold, pred, trace=None):
            seen.append(pred.get_lm_usage()["scripted/model"]["total_tokens"])
            return exact(gold, pred)

        with dspy.context(track_usage=True):
            compiled(gepa(metric, num_threads=4))
        assert set(seen) == {2}

    def test_a_model_bound_to_predictors_is_shared(self):
        """Its history holds every call of eight threads, and a guard on it counts them all."""

        lm = task_lm()

        class Guarded(type(lm)):
            calls = 0

            def __call__(self, *args, **kwargs):
                self.calls += 1
                return super().__call__(*args, **kwargs)

        lm.__class__, engine = Guarded, lm.engine
        program = dspy.ChainOfThought("question -> answer")
        program.set_lm(lm)
        optimizer = gepa(exact, num_threads=8, track_stats=True)
        improved = compiled(optimizer, program, lm=scripted_lm("never asked"))
        assert len(lm.history) == len(engine.prompts) == optimizer.result.tally.rollouts
        assert lm.calls == len(engine.prompts)
        assert sum(each["usage"]["total_tokens"] for each in lm.history) == 2 * lm.calls
        assert improved.predict.lm is lm
        assert improved.detailed_results.candidates[0].predict.lm is lm


def test_the_callers_context_holds_in_every_worker_thread():
    """Adapter, model and settings of one's own; what is configured globally is not touched."""
    seen, before = [], dict(dspy.settings.config)

    class Asking(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question):
            at_work = threading.current_thread() is not threading.main_thread()
            seen.append((at_work, dspy.settings.house, type(dspy.settings.adapter).__name__))
            return self.answer(question=question)

    with dspy.context(house="ours", adapter=dspy.JSONAdapter()):
        lm = scripted_lm(lambda prompt: '{"answer": "unknown"}')
        compiled(gepa(exact, num_threads=8), Asking(), lm=lm)
    assert set(seen) == {(True, "ours", "JSONAdapter")}
    assert dict(dspy.settings.config) == before


class Judge(dspy.Module):
    """A module that is no predictor's parent and holds a model."""

    def __init__(self, lm):
        self.lm = lm

    def forward(self, text):
        return self.lm(text)[0]


class Laden(dspy.Module):
    """Holds what programs in the wild hold, and never called super().__init__()."""

    def __init__(self):
        self.lock = threading.Lock()
        self.socket = socket.socket()
        self.local = threading.local()
        self.other_lm = scripted_lm("a hint")
        self.judge = Judge(self.other_lm)
        self.by_name = {"answer": dspy.Predict("question, hint -> answer")}
        self.seen = []
        self.tool = lambda text: text.upper()

    def forward(self, question):
        with self.lock:
            hint = self.tool(self.judge(question))
        self.local.hint = hint
        return self.by_name["answer"](question=question, hint=hint)


def test_a_program_that_holds_all_sorts_of_things():
    """Locks, sockets, thread-locals, functions, modules and models are shared, never broken."""
    program, optimizer = Laden(), gepa(exact, num_threads=4)
    improved = compiled(optimizer, program)
    assert instructions(improved) == {"by_name['answer']": LEARNED}
    assert len(program.other_lm.history) == optimizer.result.tally.rollouts
    assert improved.lock is program.lock
    assert improved.socket is program.socket
    assert improved.judge.lm is program.other_lm
    program.socket.close()


class TestLoops:
    """Notebooks and servers run an event loop already."""

    def test_compile_within_a_running_loop(self):
        """As in a notebook's cell."""

        async def cell():
            return compiled(gepa(exact, num_threads=4))

        assert instructions(asyncio.run(cell())) == {"self": LEARNED}

    @pytest.mark.parametrize("num_threads", [1, 4])
    def test_an_asynchronous_program_within_a_running_loop(self, num_threads):
        """Its `aforward` is run to its end for each rollout; the result is awaited as before."""

        class Waiting(dspy.Module):
            def __init__(self):
                super().__init__()
                self.answer = dspy.Predict("question -> answer")

            async def aforward(self, question):
                return await self.answer.acall(question=question)

        async def cell():
            improved = compiled(gepa(exact, num_threads=num_threads), Waiting())
            with dspy.context(lm=task_lm()):
                return improved, await improved.acall(question="Which code has the bill?")

        improved, answered = asyncio.run(cell())
        assert instructions(improved) == {"answer": LEARNED}
        assert answered.answer == "Q7"

    def test_a_streamified_program_after_compile(self):
        """Streaming is off while it is optimized; afterwards the program streams its answer."""
        seen = set()

        def metric(gold, pred, trace=None):
            seen.add(dspy.settings.send_stream)
            return exact(gold, pred)

        improved = compiled(gepa(metric))
        assert seen == {None}

        async def last():
            with dspy.context(lm=DummyLM([{"answer": "Q7"}])):
                stream = dspy.streamify(improved)(question="Which code has the bill?")
                return [each async for each in stream][-1]

        assert asyncio.run(last()).answer == "Q7"


def test_two_compiles_in_parallel_threads_do_not_meet():
    """Each has its own context, trace, budget and result, as if it ran alone."""
    together = threading.Barrier(2)

    def one(seed):
        optimizer, lm = gepa(exact, num_threads=2, seed=seed), task_lm()
        together.wait(timeout=60)
        improved = compiled(optimizer, lm=lm)
        return instructions(improved), optimizer.result, lm

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(one, (0, 1)))
    for seed, (texts, result, lm) in enumerate(found):
        alone = gepa(exact, num_threads=2, seed=seed)
        compiled(alone)
        assert texts == {"self": LEARNED}
        assert result.tally == alone.result.tally
        assert len(lm.history) == result.tally.rollouts


class TestModules:
    """DSPy's own modules within a student."""

    def test_a_frozen_part_stays_as_it_is(self):
        """A sub-module with _compiled=True is run, not rewritten, and still frozen afterwards."""

        class Parent(dspy.Module):
            def __init__(self):
                super().__init__()
                self.frozen = dspy.ChainOfThought("question -> draft")
                self.frozen._compiled = True
                self.live = dspy.Predict("question, draft -> answer")

            def forward(self, question):
                return self.live(question=question, draft=self.frozen(question=question).draft)

        student = Parent()
        before = student.frozen.predict.signature
        improved = compiled(gepa(exact, component_selector="all"), student)
        assert instructions(improved) == {"live": LEARNED}
        assert improved.frozen.predict.signature is before
        assert (improved.frozen._compiled, improved._compiled) == (True, False)

    def test_an_agent_with_tools(self):
        """ReAct: both components are rewritten, the tools stay and are called."""
        asked = []

        def look_up(topic: str) -> str:
            """The page of a topic."""
            asked.append(topic)
            return f"It is written of {topic}."

        def reply(prompt):
            if "next_tool_name" not in prompt:
                return task_reply(prompt)
            is_done = "It is written" in prompt
            name, args = ("finish", "{}") if is_done else ("look_up", '{"topic": "codes"}')
            return answer(next_thought="so", next_tool_name=name, next_tool_args=args)

        student = dspy.ReAct("question -> answer", tools=[look_up])
        # The names of the fields have to stay in the instruction of an agent.
        optimizer = gepa(exact, component_selector="all", edit_mode="append")
        improved = compiled(optimizer, student, lm=scripted_lm(reply))
        before = instructions(student)
        assert instructions(improved) == {
            name: f"{text}\n\n{LEARNED}" for name, text in before.items()
        }
        assert improved.tools.keys() == student.tools.keys()
        assert len(asked) == optimizer.result.tally.rollouts
        assert "It is written of codes." in optimizer.reflection_lm.engine.prompts[-1]

    @pytest.mark.parametrize("kind", [dspy.BestOfN, dspy.Refine])
    def test_best_of_n_and_refine(self, kind):
        """Their deep copies belong to the component, whose calls reflection is shown."""

        class Several(dspy.Module):
            def __init__(self):
                super().__init__()
                self.best = kind(
                    dspy.Predict("question -> answer"), N=2, reward_fn=is_known, threshold=1.0
                )

            def forward(self, question):
                return self.best(question=question)

        def is_known(args, pred):
            return float(pred.answer != "unknown")

        def reply(prompt):
            if "`advice`" in prompt:
                return answer(discussion="so", advice="{}")
            return task_reply(prompt)

        optimizer = gepa(exact)
        improved = compiled(optimizer, Several(), lm=scripted_lm(reply))
        assert instructions(improved) == {"best.module": LEARNED}
        assert "unknown" in optimizer.reflection_lm.engine.prompts[0]

    def test_multi_chain_comparison(self):
        """Attempts of one predictor are compared by another; both are components."""

        class Comparing(dspy.Module):
            def __init__(self):
                super().__init__()
                self.attempt = dspy.ChainOfThought("question -> answer")
                self.compare = dspy.MultiChainComparison("question -> answer", M=2)

            def forward(self, question):
                tries = [self.attempt(question=question) for _ in range(2)]
                return self.compare(tries, question=question)

        def reply(prompt):
            return task_reply(prompt) + "\n\n[[ ## rationale ## ]]\nso"

        optimizer = gepa(exact, component_selector="all")
        improved = compiled(optimizer, Comparing(), lm=scripted_lm(reply))
        assert set(instructions(improved).values()) == {LEARNED}
        assert len(instructions(improved)) == 2


def test_evaluate_before_and_after():
    """dspy.Evaluate says of student and result what the run says of them."""
    evaluate = dspy.Evaluate(devset=examples(4), metric=exact, num_threads=2)
    student, optimizer = dspy.Predict("question -> answer"), gepa(exact)
    with dspy.context(lm=task_lm()):
        before = evaluate(student).score
    improved = compiled(optimizer, student)
    with dspy.context(lm=task_lm()):
        after = evaluate(improved).score
        again = evaluate(student).score
    means = optimizer.result.mean_scores
    assert [before, after, again] == [100 * means[0], 100 * means[1], before] == [0.0, 100.0, 0.0]


def test_a_cached_model_is_cached_for_rollouts_and_not_for_reflections():
    """DSPy's cache answers what it knows; a reflection that is asked again gets a new reply."""
    lm, teacher = task_lm(cache=True), teacher_lm()
    for _ in range(2):
        compiled(gepa(exact, reflection_lm=teacher), lm=lm)
    assert len(teacher.engine.prompts) == len(teacher.history)
    assert len(lm.engine.prompts) <= len(lm.history) / 2
