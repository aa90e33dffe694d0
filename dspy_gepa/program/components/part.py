"""One component of one program, and what a kind of component is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import dspy

from dspy_gepa.errors import SettingsError

__all__ = ["ComponentKind", "Found", "Part", "plain_text", "sendable_text"]


class Found(NamedTuple):
    """A component of a program, before it is known what may be done with it."""

    name: str
    holder: Any
    """What holds its text, in the terms of its kind."""
    owners: tuple[str, ...] = ()
    """The components whose calls are its calls; empty if it is called itself."""


@dataclass(frozen=True, slots=True)
class ComponentKind:
    """What one kind of component is, and all that differs between kinds."""

    name: str
    find: Callable[[dspy.Module], Iterable[Found]]
    """All of a program's components of this kind, in the program's order."""
    read: Callable[[Any], str]
    """The text that a holder has."""
    write: Callable[[str, Any, str], None]
    """Gives a component's holder another text."""
    normalised: Callable[[object], str]
    """The text as a holder says it; SettingsError where it cannot be one."""
    is_asked_about: bool
    """Whether a metric can be asked about its part alone, by `pred_name`."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component of one program."""

    name: str
    kind: ComponentKind
    holder: Any
    """What holds its text, in the terms of its kind: the predictor of an instruction, say."""
    owners: tuple[str, ...] = ()
    """The components whose calls are its calls; empty if it is called itself."""

    @property
    def text(self) -> str:
        """What it says now."""
        return self.kind.read(self.holder)

    def say(self, text: str) -> None:
        """Let it say this text, as its kind's `normalised` has it.

        Raises:
            SettingsError: the text cannot be used.
        """
        # What is unchanged stays the very object that the user wrote.
        if text != self.text:
            self.kind.write(self.name, self.holder, self.kind.normalised(text))


def sendable_text(text: object, what: str) -> str:
    """The text, if it is one and can be sent.

    Raises:
        SettingsError: it is none, or has a lone surrogate.
    """
    if not isinstance(text, str):
        raise SettingsError(f"{what} is text, and this is a {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"the text cannot be sent to a model: {error}") from None
    return text


def plain_text(text: object) -> str:
    """A description as it is said: without white space around it. It may be empty.

    Raises:
        SettingsError: it cannot be a description. Says why.
    """
    return sendable_text(text, "a description").strip()
