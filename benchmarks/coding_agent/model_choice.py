"""The language models that a name stands for: on this machine, behind mailboxes, or hosted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dspy
from mailbox_lm import MailboxLM, Usage, prompt_text

from dspy_gepa.demo.server import serve

__all__ = ["Chosen", "Mailboxes", "chosen_models"]

_ANSWER_TOKENS, _REFLECTION_TOKENS = 300, 700
"""Of the local model."""
_HOSTED_TOKENS = 8000


class ResumedMailbox(MailboxLM):
    """A mailbox in which a prompt of an earlier process that is asked again is not put again.

    Each is used once, so that a run that was killed goes on with the replies that it had, and a
    prompt that is asked twice on purpose is asked twice.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, patience_seconds=float("inf"))
        self._earlier: dict[str, list[Path]] = {}
        for path in sorted(folder.glob("*.prompt"), key=lambda each: int(each.stem)):
            self._earlier.setdefault(path.read_text("utf-8"), []).append(path)

    def knows(self, asked: str) -> bool:
        """Whether an earlier process has put this prompt there, and it was not asked again yet."""
        return bool(self._earlier.get(asked))

    def _answered(self, asked: str) -> str:
        with self._lock:
            earlier = self._earlier.get(asked)
            path = earlier.pop(0) if earlier else None
        return super()._answered(asked) if path is None else self._reply_to(path)


class Mailboxes(dspy.BaseLM):  # type: ignore[misc]  # DSPy is untyped here
    """Several mailboxes as one model: a prompt goes to the one where fewest wait for a reply."""

    def __init__(self, boxes: Sequence[ResumedMailbox]) -> None:
        super().__init__("mailboxes", "chat", 1.0, 8000, cache=False)
        self.boxes = list(boxes)
        self._waiting = [0] * len(self.boxes)
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: object) -> Mailboxes:
        return self

    def copy(self, **settings: Any) -> Mailboxes:
        """The same mailboxes, which have no settings."""
        del settings
        return self

    def forward(
        self,
        prompt: str | None = None,
        messages: list[dict[str, Any]] | None = None,
        **settings: Any,
    ) -> Any:
        """The reply, in the form of a provider's response."""
        asked = prompt_text(prompt, messages)
        with self._lock:
            places = range(len(self.boxes))
            at = min(
                places, key=lambda each: (not self.boxes[each].knows(asked), self._waiting[each])
            )
            self._waiting[at] += 1
        try:
            return self.boxes[at].forward(prompt, messages, **settings)
        finally:
            with self._lock:
                self._waiting[at] -= 1


class Chosen(NamedTuple):
    """The model that the agent asks, and the one that reflects."""

    task: Any
    reflection: Any


@contextmanager
def chosen_models(
    task: str, reflection: str, usage: Usage, *, api_base: str | None = None, threads: int = 1
) -> Iterator[Chosen]:
    """The models of these names, for as long as the block lasts; `usage` counts reflections.

    A name is `local:1.5b` or `local:0.5b`, `mailbox:FOLDER` or several folders with commas between
    them, or any that litellm knows.
    """
    with ExitStack() as stack:
        address: dict[str, Any] = {}
        if api_base is not None:
            # A server of one's own mostly wants no key, but the client insists on having one.
            address = {"api_base": api_base, "api_key": os.environ.get("OPENAI_API_KEY", "none")}
        servers: dict[str, Any] = {}
        boxes: dict[str, ResumedMailbox] = {}

        def model(name: str, tokens: int, temperature: float, callbacks: list[Any]) -> Any:
            kind, _, rest = name.partition(":")
            if kind == "mailbox":
                folders = rest.split(",")
                for folder in set(folders) - set(boxes):
                    boxes[folder] = ResumedMailbox(Path(folder))
                    stack.callback(boxes[folder].close)
                mailboxes = Mailboxes([boxes[each] for each in folders])
                mailboxes.callbacks += callbacks
                return mailboxes
            if kind != "local":
                settings = {"cache": False, "max_tokens": _HOSTED_TOKENS, "callbacks": callbacks}
                return dspy.LM(name, **settings, **address)
            if rest not in servers:
                servers[rest] = stack.enter_context(serve(rest or "1.5b", threads=threads))
            asked = {"temperature": temperature, "max_tokens": tokens, "callbacks": callbacks}
            return dspy.LM(**servers[rest].settings, **asked)

        yield Chosen(
            model(task, _ANSWER_TOKENS, 0.0, []),
            model(reflection, _REFLECTION_TOKENS, 0.8, [usage]),
        )
