"""Models that answer by script, through DSPy's own machinery: history, cache, usage, retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage

__all__ = ["ScriptedEngine", "answer", "scripted_lm"]


class ScriptedEngine:
    """An engine whose reply is a function of the prompt. What that raises, the call raises."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.prompts: list[str] = []
        """Every prompt that was answered, in order."""
        self._reply = reply

    def complete(self, request: Request) -> Response:
        """The reply to everything that the request says."""
        texts = [request.system, *(message.text for message in request.messages)]
        prompt = "\n".join(filter(None, texts))
        self.prompts.append(prompt)
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant([TextPart(self._reply(prompt))]),
            finish_reason="stop",
            usage=Usage(input_tokens=1, output_tokens=1, total_tokens=2),
        )


class _AsyncEngine:
    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    async def complete(self, request: Request) -> Response:
        return self._engine.complete(request)


def scripted_lm(reply: Callable[[str], str] | str, **settings: Any) -> dspy.LM:
    """A model that always answers by this function, or with this text; uncached by default."""
    engine = ScriptedEngine(reply if callable(reply) else lambda _: reply)
    given = {"cache": False, "num_retries": 0, **settings}
    return dspy.LM("scripted/model", engine=engine, async_engine=_AsyncEngine(engine), **given)


def answer(**fields: object) -> str:
    """A reply in the format that DSPy's default adapter asks for."""
    parts = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])
