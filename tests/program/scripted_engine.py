"""Models that answer by script, through DSPy's own machinery: history, cache, usage, retries.

DSPy 3.4 takes engines, and 3.3 asks litellm: there the script stands in litellm's place. What
differs between the two is here and nowhere else in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import dspy

try:
    from dspy import lm15
    from dspy.lm15 import AuthError, ContextLengthError, RateLimitError
except ImportError:
    from dspy.utils.exceptions import LMAuthError as AuthError
    from dspy.utils.exceptions import LMRateLimitError as RateLimitError

    lm15 = None

    def ContextLengthError(message: str) -> Exception:  # noqa: N802 - stands for a class
        return dspy.ContextWindowExceededError(message=message)


__all__ = [
    "AuthError",
    "ContextLengthError",
    "RateLimitError",
    "ScriptedEngine",
    "answer",
    "new_texts",
    "scripted_lm",
]


class ScriptedEngine:
    """An engine whose reply is a function of the prompt. What that raises, the call raises."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.prompts: list[str] = []
        """Every prompt that was answered, in order."""
        self._reply = reply

    def say(self, *texts: str | None) -> str:
        """The reply to a prompt that consists of these texts."""
        prompt = "\n".join(filter(None, texts))
        self.prompts.append(prompt)
        return self._reply(prompt)

    def complete(self, request: Any) -> Any:
        """The reply to everything that the request says."""
        said = self.say(request.system, *(message.text for message in request.messages))
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant([lm15.TextPart(said)]),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=1, output_tokens=1, total_tokens=2),
        )


class _AsyncEngine:
    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    async def complete(self, request: Any) -> Any:
        return self._engine.complete(request)


class _WithoutEngines(dspy.LM):
    """The same for DSPy 3.3: its cache, its history and its errors, without litellm."""

    def __init__(self, model: str, *, engine: ScriptedEngine, **settings: Any) -> None:
        super().__init__(model, **settings)
        self.engine = engine

    def forward(self, prompt: Any = None, messages: Any = None, **settings: Any) -> Any:
        settings = {**self.kwargs, **settings}
        said, _ = self._get_cached_completion_fn(self._complete, settings.pop("cache", self.cache))
        asked = messages or [{"role": "user", "content": prompt}]
        try:
            return said(request={"model": self.model, "messages": asked, **settings})
        except dspy.LMError as error:
            # DSPy names the model where it says in its own words what litellm raised.
            raise type(error)(message=error.message, model=self.model) from error

    async def aforward(self, prompt: Any = None, messages: Any = None, **settings: Any) -> Any:
        return self.forward(prompt, messages, **settings)

    def dump_state(self) -> dict[str, Any]:
        # The script is not part of a saved program, here or with an engine.
        return {**super().dump_state(), "_dspy_lm_class": "dspy.clients.lm.LM"}

    def _complete(self, request: Mapping[str, Any]) -> Any:
        import litellm

        said = self.engine.say(*(_text(message["content"]) for message in request["messages"]))
        message = {"role": "assistant", "content": said}
        return litellm.ModelResponse(
            model=self.model,
            choices=[{"index": 0, "message": message, "finish_reason": "stop"}],
            usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or ())


def scripted_lm(reply: Callable[[str], str] | str, **settings: Any) -> dspy.LM:
    """A model that always answers by this function, or with this text; uncached by default."""
    engine = ScriptedEngine(reply if callable(reply) else lambda _: reply)
    given = {"cache": False, "num_retries": 0, **settings}
    if lm15 is None:
        return _WithoutEngines("scripted/model", engine=engine, **given)
    return dspy.LM("scripted/model", engine=engine, async_engine=_AsyncEngine(engine), **given)


def new_texts(prompt: str, text: str) -> str:
    """A reply in the form that a reflection asks for: this text for every component in question."""
    several = re.search(r"each component that is at fault, of (.*?); the others", prompt)
    first = re.search(r'<new_text component="(.*?)">', prompt)
    names = several[1].split(", ") if several else [first[1] if first else ""]
    marks = [f' component="{name}"' if name else "" for name in names]
    return "\n".join(f"<new_text{mark}>\n{text}\n</new_text>" for mark in marks)


def answer(**fields: object) -> str:
    """A reply in the format that DSPy's default adapter asks for."""
    parts = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])
