"""The form in which the reflection LM answers: marks, each alone on its line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Form", "is_own_placeholder"]

_TAGS = ("diagnosis", "new_text", "edit", "lesson", "no_change")
# In brackets, so that the form is no answer where it is only repeated.
_WHOLE = "(the whole new text)"
_LINES = "(the lines to be added)"
_OLD = "(words of the current text, exactly as they stand there, and only once)"
_NEW = "(what stands there instead)"


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text.casefold()))


_PLACEHOLDERS = frozenset(map(_letters, (_WHOLE, _LINES, _OLD, _NEW)))


def is_own_placeholder(text: str) -> bool:
    """Whether it is what the form has in place of a text, whatever was made of its brackets."""
    return _letters(text) in _PLACEHOLDERS


@dataclass(frozen=True, slots=True)
class Form:
    """The marks of one prompt."""

    number: int = 1
    """Above 1 it stands behind each name, because texts of the prompt hold the plain marks."""

    @classmethod
    def unlike(cls, texts: Sequence[str]) -> Form:
        """The first form whose marks stand in none of the texts: the same in every process."""
        whole = "\n".join(texts)
        return next(form for form in map(cls, itertools.count(1)) if not form.marks_in(whole))

    def marks_in(self, text: str) -> int:
        """How often marks of this form stand in a text."""
        return len(re.findall(rf"</?(?:{'|'.join(self.names)})\b", text))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all marks."""
        return tuple(map(self._name, _TAGS))

    def tag(self, name: str) -> str:
        """What a mark of this name is called in the plain form."""
        return _TAGS[self.names.index(name)]

    def mark(self, tag: str, component: str = "") -> str:
        """An opening mark."""
        named = f' component="{component}"' if component else ""
        return f"<{self._name(tag)}{named}>"

    def pair(self, tag: str) -> str:
        """Both marks, to be spoken of."""
        return f"<{self._name(tag)}> and </{self._name(tag)}>"

    def answer(self, components: Sequence[str], *, adds: bool = False, edits: bool = False) -> str:
        """The form of an answer that gives texts for some of these components."""
        example = components[0] if len(components) > 1 else ""
        blocks = [self._block("new_text", _LINES if adds else _WHOLE, example)]
        if edits:
            block = f"<old>\n{_OLD}\n</old>\n<new>\n{_NEW}\n</new>"
            blocks.append(self._block("edit", block, example))
        return "\n".join(blocks)

    def diagnosed(self, components: Sequence[str], *, edits: bool, unchanged_if: str) -> str:
        """How to answer with a diagnosis, with new texts for some of these components, or none."""
        several = (
            f" Give a block for each component that is at fault, of {', '.join(components)}; the "
            "others keep their texts."
            if len(components) > 1
            else ""
        )
        small = (
            f" For a small change of a long text, write {self.mark('edit')} blocks in place of "
            f"{self.mark('new_text')}."
            if edits
            else ""
        )
        before = self._block(
            "diagnosis", "(what goes wrong and why, and what works and has to stay)"
        )
        after = self._block(
            "lesson", "(in one sentence, what you assume to be true with this change)"
        )
        return (
            f"Answer in this form, each mark alone on its line.{several}{small} If {unchanged_if}, "
            f"say so in the diagnosis and write {self.no_change} in place of the new text.\n\n"
            f"{before}\n{self.answer(components, edits=edits)}\n{after}"
        )

    @property
    def no_change(self) -> str:
        """The mark that says that no text is to be changed."""
        return f"<{self._name('no_change')}/>"

    def is_no_change(self, text: str) -> bool:
        """Whether a text is that mark and nothing else: it stands between the marks of a text."""
        return bool(re.fullmatch(rf"\W*{self._name('no_change')}\W*", text, re.IGNORECASE))

    def _name(self, tag: str) -> str:
        return tag if self.number == 1 else f"{tag}_{self.number}"

    def _block(self, tag: str, text: str, component: str = "") -> str:
        return f"{self.mark(tag, component)}\n{text}\n</{self._name(tag)}>"
