"""OptoPrime of Trace on a DSPy program.

Each instruction is a trainable node, the run of the program a bundled function of them, and the
metric's words are the feedback. As in Trace's own minibatches the outputs of three training
examples are joined into one node, so that a step asks the model once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import dspy
from answers import reply_text

from rivals.components import asked_text, roles_of, stepped, texts_of
from rivals.contest import Contest

__all__ = ["compiled"]


def compiled(contest: Contest) -> dspy.Module:
    """Steps of OptoPrime; see `stepped`."""
    from opto import trace  # noqa: PLC0415 - an optional package
    from opto.optimizers import OptoPrime  # noqa: PLC0415

    @trace.bundle(catch_execution_error=False)  # type: ignore[untyped-decorator]
    def joined(*answers: str) -> str:
        """[joined] The answers, each with its number."""
        return "\n".join(f"ID [{place}]: {answer}" for place, answer in enumerate(answers))

    def propose(program: dspy.Module, batch: Sequence[dspy.Example]) -> Mapping[str, str] | None:
        trace.GRAPH.clear()
        roles = roles_of(program)
        nodes = {
            name: trace.node(text, name=f"instruction_{place}", trainable=True, constraint=role)
            for place, (name, text) in enumerate(texts_of(program).items())
            for role in [roles[name]]
        }
        ran = [contest.rollout(program, example) for example in batch]
        outputs = [
            _run(trace, rollout.answer)(asked_text(example), *nodes.values())
            for rollout, example in zip(ran, batch, strict=True)
        ]
        feedback = "\n".join(
            f"ID [{place}]: Score {each.score:.3g} of 1. {each.feedback}"
            for place, each in enumerate(ran)
        )
        optimizer = OptoPrime(list(nodes.values()), llm=_asker(contest.reflection_lm))
        optimizer.zero_feedback()
        optimizer.backward(joined(*outputs), feedback)
        try:
            optimizer.step()
        except Exception:  # noqa: BLE001 - OptoPrime lets many errors of its readers out
            return None
        return {name: str(node.data) for name, node in nodes.items()}

    return stepped(contest, propose)


def _run(trace: Any, answer: str) -> Any:
    """The run of the program as Trace's graph sees it; it has taken place."""

    @trace.bundle(catch_execution_error=False)  # type: ignore[untyped-decorator]
    def run_program(given: str, *instructions: str) -> str:
        """[run_program] Runs the program of language models with its instructions on the input."""
        del given, instructions
        return answer

    return run_program


def _asker(lm: Any) -> Any:
    """The reflection LM, as OptoPrime asks one."""

    def ask(messages: list[dict[str, Any]], **settings: Any) -> Any:
        settings.pop("max_tokens", None)  # the LM has its own limit
        message = SimpleNamespace(content=reply_text(lm(messages=messages, **settings)[0]))
        return SimpleNamespace(choices=[SimpleNamespace(message=message)])

    return ask
