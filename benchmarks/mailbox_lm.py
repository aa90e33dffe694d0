"""A reflection LM that is answered through a folder, by a person or by another program.

A prompt waits there as `001.prompt`, its reply is `001.reply`; a file `over` says that no more
prompts will come. Files appear whole: whoever answers writes under another name and renames.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

__all__ = ["MailboxLM", "Usage", "prompt_text", "reflection_model", "waited_seconds"]

_CHARACTERS_PER_TOKEN = 4
_SECONDS_BETWEEN_LOOKS = 0.2


class Usage(BaseCallback):
    """Counts the calls of the LMs that it is a callback of; four characters are a token."""

    def __init__(self) -> None:
        self.calls = self.tokens_in = self.tokens_out = 0
        self._lock = threading.Lock()

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Count a call and what is asked."""
        del call_id, instance
        # Before DSPy 3.4 the arguments come as they were given, by position and by keyword.
        given = {**inputs, **inputs.get("kwargs", {})}
        prompt = next(iter(inputs.get("items") or ()), given.get("prompt"))
        asked = prompt_text(prompt, given.get("messages"))
        with self._lock:
            self.calls += 1
            self.tokens_in += len(asked) // _CHARACTERS_PER_TOKEN

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Count what came back."""
        del call_id, exception
        texts = [each if isinstance(each, str) else each.get("text") for each in outputs or ()]
        with self._lock:
            self.tokens_out += sum(len(each or "") for each in texts) // _CHARACTERS_PER_TOKEN


class MailboxLM(dspy.BaseLM):  # type: ignore[misc]  # DSPy is untyped here
    """Puts each prompt into the folder and waits for its reply.

    Numbers go on where an earlier process left off. Copies are the same mailbox.
    """

    def __init__(self, folder: Path, *, patience_seconds: float = 3600.0) -> None:
        super().__init__("mailbox", "chat", 1.0, 8000, cache=False)
        self.folder, self.patience_seconds = folder, patience_seconds
        self.waited_seconds = 0.0
        """How long replies took, all together; no time of an optimizer's own."""
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "over").unlink(missing_ok=True)
        self._last = max((int(each.stem) for each in folder.glob("*.prompt")), default=0)

    def __deepcopy__(self, memo: object) -> MailboxLM:
        return self

    def copy(self, **settings: Any) -> MailboxLM:
        """The same mailbox, which has no settings."""
        del settings
        return self

    def forward(
        self,
        prompt: str | None = None,
        messages: list[dict[str, Any]] | None = None,
        **settings: Any,
    ) -> Any:
        """The reply, in the form of a provider's response; `n` of them are so many letters.

        Raises:
            TimeoutError: nobody answered.
        """
        asked = prompt_text(prompt, messages)
        replies = [self._answered(asked) for _ in range(settings.get("n") or 1)]
        sizes = [len(asked) // _CHARACTERS_PER_TOKEN * len(replies)]
        sizes.append(sum(len(reply) // _CHARACTERS_PER_TOKEN for reply in replies))
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        said = [SimpleNamespace(content=reply, tool_calls=None) for reply in replies]
        return SimpleNamespace(
            choices=[
                SimpleNamespace(message=message, finish_reason="stop", index=place)
                for place, message in enumerate(said)
            ],
            usage=dict(zip(names, (*sizes, sum(sizes)), strict=True)),
            model=self.model,
        )

    def close(self) -> None:
        """Say that no more prompts will come."""
        (self.folder / "over").touch()

    def _answered(self, asked: str) -> str:
        with self._lock:
            self._last += 1
            path = self.folder / f"{self._last:03}.prompt"
        part = path.with_suffix(".part")
        part.write_text(asked, "utf-8")
        part.rename(path)
        return self._reply_to(path)

    def _reply_to(self, path: Path) -> str:
        """The reply to a prompt that lies there, as soon as it does, too."""
        began, reply = time.monotonic(), path.with_suffix(".reply")
        while not reply.exists():
            if time.monotonic() - began > self.patience_seconds:
                raise TimeoutError(f"Nobody answered {path} within {self.patience_seconds:.0f} s.")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        with self._lock:
            self.waited_seconds += time.monotonic() - began
        return reply.read_text("utf-8")


def prompt_text(prompt: str | None, messages: list[dict[str, Any]] | None) -> str:
    """What is asked, as one text; of several messages each under its role."""
    if prompt is not None:
        return prompt
    contents = [(each["role"], _content(each["content"])) for each in messages or ()]
    if len(contents) == 1:
        return contents[0][1]
    return "\n\n".join(f"[{role}]\n{content}" for role, content in contents)


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", f"[{part.get('type')}]") for part in content)


def reflection_model(name: str, usage: Usage) -> Any:
    """The LM that a name stands for; a mailbox is one."""
    if name.startswith("mailbox:"):
        lm: Any = MailboxLM(Path(name.partition(":")[2]))
        lm.callbacks.append(usage)
        return lm
    return dspy.LM(name, cache=False, max_tokens=8000, callbacks=[usage])


def waited_seconds(lm: Any) -> float:
    """How long a mailbox let others think, which is no time of an optimizer's own."""
    return lm.waited_seconds if isinstance(lm, MailboxLM) else 0.0
