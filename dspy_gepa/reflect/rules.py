"""What a new text has to keep to, whoever wrote it: the check, and the same in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from dspy_gepa.errors import SettingsError
from dspy_gepa.reflect.predicates import TextFacts
from dspy_gepa.reflect.tokens import estimated_tokens
from dspy_gepa.values.foreign import IN_USER_CODE

__all__ = ["EVERY_COMPONENT", "CheckedText", "FrozenPart", "Predicate", "Rules"]

EVERY_COMPONENT = "*"
"""Stands for all components in `Rules.frozen`."""

FrozenPart: TypeAlias = "str | re.Pattern[str]"
"""A piece of a text, or a pattern that matches such pieces."""
Predicate: TypeAlias = Callable[[str, str, str], "bool | str | None"]
"""From a component, its old and its new text: False or a reason where the new one is refused."""


class CheckedText(NamedTuple):
    """A new text as the program will say it, or why it cannot be used."""

    text: str
    reason: str = ""
    """In words that its author understands; empty if it can be used."""


def _stripped(_component: str, text: str) -> str:
    return text.strip()


@dataclass(frozen=True, slots=True)
class Rules:
    """What has to stay, and what must not be, in a component's new text."""

    frozen: Mapping[str, Sequence[FrozenPart]] = field(default_factory=dict)
    """Component, or "*" for all, to parts that stay as often as they are in its current text."""
    constraints: Sequence[str] = ()
    """Words for the reflection LM, a point each. Nobody can check them."""
    max_instruction_tokens: int | None = None
    count_tokens: Callable[[str], int] = estimated_tokens
    """As the model counts that reads the instruction, where that is known."""
    predicates: Sequence[Predicate] = ()
    normalised: Callable[[str, str], str] = _stripped
    """From a component and a new text to that text as the program will say it. It raises a
    SettingsError where there is no saying it, and leaves as it is what it has returned itself."""

    def with_facts(self, facts: TextFacts) -> Rules:
        """The same rules, where ready checks know the program and its data."""
        bound = [
            one.with_facts(facts) if hasattr(one, "with_facts") else one for one in self.predicates
        ]
        return replace(self, predicates=tuple(bound))

    def check(self, texts: Mapping[str, str]) -> None:
        """Nothing, if every frozen part is in its component's text; one for "*" in any text.

        Raises:
            SettingsError: `frozen` names a component that is not among these, or a part that is not
                there: a slip of the pen, which would leave the part that was meant free.
        """
        for component, parts in self.frozen.items():
            if component != EVERY_COMPONENT and component not in texts:
                raise SettingsError(
                    f"frozen names the component {component!r}; there are {list(texts)}, and "
                    f'"{EVERY_COMPONENT}" for all.'
                )
            own = texts.values() if component == EVERY_COMPONENT else [texts[component]]
            for part in parts:
                if not any(_found(part, text) for text in own):
                    raise SettingsError(
                        f"frozen has {_quoted(part)} for {component!r}, and the text of it has no "
                        "such part. Give it as it stands there, to the character."
                    )

    def judged(self, component: str, old: str, new: str) -> CheckedText:
        """The new text as the program will say it, or why it cannot be used.

        Every new text goes through here, whoever wrote it, so that what is held to the rules is
        what is run, written down and saved. One that says the same as the old text is the old
        text, which need not be normal and breaks no rule anew.
        """
        text = self._normal(component, new)
        if new == old or text == self._normal(component, old):
            return CheckedText(old)
        if text.reason:
            return text
        reason = self.violation(component, old, text.text)
        if reason and text.text != new.strip() and text.text.split() == new.split():
            # Its author may well have repeated a part to the character.
            reason += " (in the text as it is used: without indentation that its lines share)"
        return CheckedText(text.text, reason)

    def _normal(self, component: str, text: str) -> CheckedText:
        try:
            return CheckedText(self.normalised(component, text))
        except SettingsError as error:
            return CheckedText("", str(error))

    def violation(self, component: str, old: str, new: str) -> str:
        """The rule that a normal text breaks, in words that its author understands, if any.

        The first reason only. A text that already broke a rule before is held to it as well.
        """
        for check in (self._on_frozen, self._on_size, *map(_checking, self.predicates)):
            if reason := check(component, old, new):
                return reason
        return ""

    def told(self, component: str, current: str, *, adds: bool = False) -> tuple[str, ...]:
        """What applies to the component, a sentence each, for a reflection LM to read.

        Args:
            component: Whose text is written.
            current: Its current text.
            adds: Whether what is written is added to the current text, whose parts and names then
                stay by themselves, and would be there twice if they were repeated.
        """
        requirements = [one.strip() for one in self.constraints if one.strip()]
        if not adds:
            requirements += [
                f"Repeat this part to the character{_times(count)}: {_quoted(part)}"
                for part, count in self._frozen_in(component, current).items()
            ]
        asked = [getattr(one, "told", None) for one in self.predicates]
        requirements += filter(
            None, (describe(component, current) for describe in asked if callable(describe))
        )
        if (most := self.max_instruction_tokens) is not None:
            size = self.count_tokens(current)
            requirements.append(
                f"Write at most {max(0, most - size):,} tokens"
                if adds
                else f"Write at most {most:,} tokens; the current instruction has {size:,}"
            )
        return tuple(requirements)

    def _frozen_in(self, component: str, current: str) -> Counter[str]:
        """Every frozen part that the current text has, and how often."""
        parts = [*self.frozen.get(EVERY_COMPONENT, ()), *self.frozen.get(component, ())]
        counts: Counter[str] = Counter()
        for part in parts:
            # The same part may be given twice, for all components and for this one.
            counts |= _found(part, current)
        return counts

    def _on_frozen(self, component: str, old: str, new: str) -> str:
        for part, count in self._frozen_in(component, old).items():
            now = new.count(part)
            if now != count:
                return (
                    f"it has the fixed part {_quoted(part)} {now} times, and it must be repeated "
                    f"to the character{_times(count) or ', once'}"
                )
        return ""

    def _on_size(self, component: str, old: str, new: str) -> str:  # noqa: ARG002
        if self.max_instruction_tokens is None:
            return ""
        size = self.count_tokens(new)
        if size <= self.max_instruction_tokens:
            return ""
        return (
            f"it has {size:,} tokens and at most {self.max_instruction_tokens:,} are allowed, so "
            "say the same in fewer words"
        )


def _found(part: FrozenPart, text: str) -> Counter[str]:
    """The pieces of the text that are this part, and how often each stands in it."""
    pieces = [part] if isinstance(part, str) else [place[0] for place in part.finditer(text)]
    return Counter({piece: text.count(piece) for piece in pieces if piece and piece in text})


def _checking(predicate: Predicate) -> Callable[[str, str, str], str]:
    """From a component, its old and its new text to why the predicate refuses the new one."""
    return lambda component, old, new: _refusal(predicate, component, old, new)


def _refusal(predicate: Predicate, component: str, old: str, new: str) -> str:
    """The reason for which a predicate refuses the text; empty if it does not."""
    name = getattr(predicate, "__name__", type(predicate).__name__)
    try:
        verdict = predicate(component, old, new)
    except IN_USER_CODE as error:  # any other exception ends the whole reflection
        return f"the rule {name} could not be applied to it: {type(error).__name__}: {error}"
    if isinstance(verdict, str):
        return verdict.strip()
    return f"it breaks the rule {name}" if verdict is not None and not verdict else ""


def _times(count: int) -> str:
    return f", {count} times" if count > 1 else ""


def _quoted(part: FrozenPart) -> str:
    if isinstance(part, re.Pattern):
        return f"the pattern {part.pattern!r}"
    # Never escaped: the reader is to write it as it stands here.
    return f"\n{part}\n" if "\n" in part else f'"{part}"'
