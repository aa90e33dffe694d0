"""Ready checks for `GEPA(invariants=[...])`: what a new text must not lose, or must not copy.

Each is called with a component, its old and its new text, and returns a reason where it refuses the
new one. What a check is about is said to the reflection LM beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.reflect.overlap import LEAST_WORDS, copied
from dspy_gepa.reflect.placeholders import placeholders, unknown_placeholders

__all__ = [
    "CopiesNoExamples",
    "KeepsPlaceholders",
    "NamesOutputFields",
    "TextFacts",
    "copies_no_examples",
    "keeps_placeholders",
    "names_output_fields",
]

_WRITTEN_BY_DSPY = re.compile(r"\s*Given the fields .*, produce the fields .*\.\s*", re.DOTALL)
"""The instruction where the user wrote none: nobody named the fields in it on purpose."""
_LONGEST_QUOTE = 300
"""Characters of a passage that are repeated in a reason."""


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What a check may need to know of the program and its data."""

    output_fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Component to the names of its output fields."""
    examples: Callable[[], Iterable[str]] = tuple
    """The texts of the training examples, made when they are asked for."""
    marks: Sequence[str] = ()
    """Pieces that look like placeholders and are none: who runs the text puts them back itself."""


@dataclass(frozen=True)
class _Informed:
    """A check that is told what the program and its data are."""

    facts: TextFacts = field(default_factory=TextFacts, repr=False, kw_only=True)

    def with_facts(self, facts: TextFacts) -> _Informed:
        """The same check for this program."""
        return replace(self, facts=facts)


class KeepsPlaceholders(_Informed):
    """Placeholders such as `{question}` stay, and none is added to them.

    For texts that code of yours fills in. DSPy fills nothing into an instruction.
    """

    def told(self, component: str, old: str) -> str:  # noqa: ARG002 - one shape for all checks
        """What it asks of the new text, in a sentence; empty if nothing."""
        kept = placeholders(self._unmarked(old))
        if not kept:
            return ""
        return f"Keep these placeholders exactly as they are, and add no others: {', '.join(kept)}"

    def __call__(self, component: str, old: str, new: str) -> str:  # noqa: ARG002 - likewise
        """Why the new text is refused; empty if it is not."""
        old, new = self._unmarked(old), self._unmarked(new)
        # Looked for as it stands: the new text may well have it inside of code.
        if lost := [one for one in placeholders(old) if one not in new]:
            return f"it lost placeholders that have to stay exactly as they are: {', '.join(lost)}"
        if added := unknown_placeholders(old, new):
            return f"it has placeholders that nobody fills in: {', '.join(added)}"
        return ""

    def _unmarked(self, text: str) -> str:
        for mark in self.facts.marks:
            text = text.replace(mark, "")
        return text


class NamesOutputFields(_Informed):
    """Output fields that the current text names as such are named by the new one as well."""

    def told(self, component: str, old: str) -> str:
        """What it asks of the new text, in a sentence; empty if nothing."""
        named = self._named(component, old)
        return (
            f"Keep naming these output fields, by these names: {', '.join(named)}" if named else ""
        )

    def __call__(self, component: str, old: str, new: str) -> str:
        """Why the new text is refused; empty if it is not."""
        lost = [name for name in self._named(component, old) if not _mentions(new, name)]
        if not lost:
            return ""
        return f"it no longer names output fields that the program reads: {', '.join(lost)}"

    def _named(self, component: str, text: str) -> list[str]:
        if _WRITTEN_BY_DSPY.fullmatch(text):
            return []
        fields = self.facts.output_fields.get(component, ())
        return [name for name in fields if _names_field(text, name)]


@dataclass(frozen=True)
class CopiesNoExamples(_Informed):
    """No passage of so many words is copied from a training example."""

    words: int = LEAST_WORDS

    def __post_init__(self) -> None:
        if isinstance(self.words, bool) or not isinstance(self.words, int):
            raise WrongType(f"words={self.words!r} was given; a whole number is needed.")
        if self.words < 2:
            raise SettingsError(f"words={self.words} was given; 2 is the lowest allowed.")

    def told(self, component: str, old: str) -> str:  # noqa: ARG002 - one shape for all checks
        """What it asks of the new text, in a sentence."""
        return f"Copy no {self.words} words in a row from an input, an output or a remark"

    def __call__(self, component: str, old: str, new: str) -> str:  # noqa: ARG002 - likewise
        """Why the new text is refused; empty if it is not."""
        passage = copied(new, old, self._texts, self.words)
        if not passage:
            return ""
        return (
            f"it copies an example word for word ({passage[:_LONGEST_QUOTE]!r}), so state the "
            "rule behind it and leave the example out"
        )

    @cached_property
    def _texts(self) -> Sequence[str]:
        return tuple(self.facts.examples())


keeps_placeholders = KeepsPlaceholders()
names_output_fields = NamesOutputFields()


def copies_no_examples(words: int = LEAST_WORDS) -> CopiesNoExamples:
    """A check that refuses texts with so many words in a row from a training example.

    Raises:
        SettingsError: fewer than two words.
        WrongType: no whole number.
    """
    return CopiesNoExamples(words)


def _names_field(text: str, name: str) -> bool:
    """Whether the text speaks of the field, and does not only use an ordinary word that it is."""
    if not name.isalpha() or not (name.islower() or name.istitle()):
        return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
    word = re.escape(name)
    return (
        re.search(
            rf"[`'\"\[{{*]{word}[`'\"\]}}*]|\[\[ ## {word} ## \]\]|^[^\w\n]*{word}[^\w\n]{{0,9}}:|"
            rf"\b(?:field|key|output)s? {word}(?!\w)|(?<!\w){word} (?:field|key)(?!\w)",
            text,
            re.MULTILINE,
        )
        is not None
    )


def _mentions(text: str, name: str) -> bool:
    """Whether the name stands in the text, as a word or as the words that it is made of."""
    spoken = re.escape(name).replace("_", "[ _-]")
    return re.search(rf"(?<!\w){spoken}(?!\w)", text, re.IGNORECASE) is not None
