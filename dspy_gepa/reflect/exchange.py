"""What goes to the reflection LM and what comes back, before anybody reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Prompt", "PromptTooLong", "Reply"]


class PromptTooLong(Exception):
    """The reflection LM cannot read so long a prompt; one that says less may be sent."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to the reflection LM."""

    text: str
    """Refers to media by their titles, for instance [image 1]."""
    media: tuple[tuple[str, object], ...] = ()
    """Title and object of whatever cannot be said in words, in the text's order: images, audio,
    files. Only the edge knows how a model is sent them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the reflection LM answered."""

    text: str
    is_truncated: bool | None = None
    """Whether it was cut off at a limit of tokens, as the server says; None if it does not."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took."""
    prompt_tokens: int = field(default=0, compare=False)
    """As the model reports them; 0 where it does not."""
    completion_tokens: int = field(default=0, compare=False)
