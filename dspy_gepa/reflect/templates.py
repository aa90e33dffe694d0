"""The words in which we ask for a better instruction, and the marks between which it comes back.

Placeholders are filled in one pass, so whatever is filled in is never itself interpreted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.reflect.overlap import Sources

__all__ = [
    "ADDITION_FILLER",
    "ADDITION_TEMPLATE",
    "CLOSING_MARK",
    "DEFAULT_TEMPLATE",
    "FILLER",
    "NONE_YET",
    "OPENING_MARK",
    "OWN_PASSAGES",
    "OWN_WORDS",
    "PLACEHOLDERS",
    "REMARKS",
    "Template",
    "repair_note",
]

OPENING_MARK = "<new_instruction>"
CLOSING_MARK = "</new_instruction>"
FILLER = "(the complete new instruction)"
"""Stands between the marks where the prompt shows the form of the answer."""
ADDITION_FILLER = "(the lines to be added)"
"""The same where the answer is added to the current instruction."""
NONE_YET = "(there is none yet)"
"""Stands in the place of a current instruction that is empty, or is not shown."""

PLACEHOLDERS = MappingProxyType(
    {
        "description": "what the component is for and its fields, where there is more to say than "
        "that they are texts",
        "instruction": "its current text",
        "attempts": "texts that were tried in its place and rejected, if any",
        "references": "named texts to draw on, if any",
        "examples": "what it did, with feedback where {{feedback}} is not asked for",
        "feedback": "what was said about those that are not right yet, apart from them",
        "guidance": "the user's words on how to improve it, if any",
        "limits": "what the new text has to keep to, if anything",
    }
)
"""Name to meaning: what a template can ask for, written as {{name}}."""
_REQUIRED = ("instruction", "examples")
_NEVER_LOST = ("references", "guidance", "limits")
"""What a user has given on purpose: appended where a template has no place for it."""
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_GEPA_NAMES = MappingProxyType(
    {
        "curr_param": "instruction",
        "side_info": "examples",
        "curr_instructions": "instruction",
        "inputs_outputs_feedback": "examples",
    }
)
"""How templates of the gepa package and of its older releases say it."""
_GEPA_PLACEHOLDER = re.compile(rf"<({'|'.join(_GEPA_NAMES)})>")


@dataclass(frozen=True, slots=True)
class Template:
    """A reflection prompt with placeholders.

    It need not ask for our marks: a reply in a code fence or as plain text can be read too, though
    less surely. A template of the gepa package, with <curr_param> and <side_info> and without
    placeholders of ours, is one as well. References, guidance and limits are appended where it has
    no place for them, and so are never lost.

    Raises:
        SettingsError: a placeholder is missing, unknown or there twice.
        WrongType: it is no text.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise WrongType(f"The reflection template is {self.text!r:.200}, and a text is needed.")
        names = [name for name, _ in self._placeholders()]
        known = ", ".join(f"{{{{{name}}}}} ({meaning})" for name, meaning in PLACEHOLDERS.items())
        wrong = {
            "unknown": [name for name in names if name not in PLACEHOLDERS],
            "missing": [name for name in _REQUIRED if name not in names],
            "repeated": [name for name in PLACEHOLDERS if names.count(name) > 1],
        }
        for what, found in wrong.items():
            if found:
                written = ", ".join(f"{{{{{name}}}}}" for name in found)
                raise SettingsError(
                    f"the reflection template has {what} placeholders: {written}. "
                    f"Each of these may stand in it once: {known}; "
                    "{{instruction}} and {{examples}} must. The gepa package's <curr_param> and "
                    "<side_info> stand for these two where no placeholder in braces is used."
                )

    def filled(
        self,
        *,
        instruction: str,
        examples: str,
        description: str = "",
        attempts: str = "",
        references: str = "",
        feedback: str = "",
        guidance: str = "",
        limits: str = "",
    ) -> str:
        """The prompt with these texts in place of the placeholders, each exactly as given."""
        texts = {
            "description": description,
            "instruction": instruction,
            "attempts": attempts,
            "references": references,
            "examples": examples,
            "feedback": feedback,
            "guidance": guidance,
            "limits": limits,
        }
        found = self._placeholders()
        parts, end = [], 0
        for name, place in found:
            parts += [self.text[end : place.start()], texts[name]]
            end = place.end()
        parts.append(self.text[end:])
        named = {name for name, _ in found}
        parts += [texts[name] for name in _NEVER_LOST if name not in named]
        return "".join(parts)

    @property
    def sets_feedback_apart(self) -> bool:
        """Whether feedback has a place of its own, and so does not stand with its example."""
        return "feedback" in {name for name, _ in self._placeholders()}

    def _placeholders(self) -> list[tuple[str, re.Match[str]]]:
        """Every placeholder with its place, in order."""
        ours = [(place[1], place) for place in _PLACEHOLDER.finditer(self.text)]
        if ours:
            return ours
        theirs = _GEPA_PLACEHOLDER.finditer(self.text)
        return [(_GEPA_NAMES[place[1]], place) for place in theirs]


# Our choice of wording and order, for models that are too small for more: what was said about the
# outputs stands apart and last, because a model of 1.5 billion parameters else takes the wrong
# outputs for what is wanted; one request, to say what the teacher says, which is within its power
# where judging is not; one form of answer, shown and not described. Larger ones lose nothing by it.
_EVIDENCE = """\
A language model follows this instruction:

<current_instruction>
{{instruction}}
</current_instruction>
{{description}}{{attempts}}{{references}}
It gets inputs like these wrong:

{{examples}}
{{feedback}}{{guidance}}{{limits}}
"""
REMARKS = "This is what a teacher said about the outputs, in the same order:"
"""What stands before {{feedback}}."""
DEFAULT_TEMPLATE = Template(
    f"""\
{_EVIDENCE}\
Write the instruction anew. Begin with what the current instruction says, then list all that the \
teacher said as rules: one line for each, in the teacher's own words, with all names, codes and \
formats.

Answer in exactly this form, with both marks:

{OPENING_MARK}
{FILLER}
{CLOSING_MARK}
"""
)
# Our choice for models that leave out what they had learned when they write it anew. They are not
# shown what was rejected: such a model writes it again.
ADDITION_TEMPLATE = Template(
    f"""\
{_EVIDENCE.replace("{{attempts}}", "")}\
Write what has to be added to the instruction: all that the teacher said, as rules, one line for \
each, in the teacher's own words, with all names, codes and formats.

Answer in exactly this form, with both marks:

{OPENING_MARK}
{ADDITION_FILLER}
{CLOSING_MARK}
"""
)

_REPAIR = """

# Your last reply could not be used

The problem with it: {reason}.

Do the task again from the beginning. Start your answer with the line {opening}, continue with \
{asked}, and end with the line {closing}.
"""


def repair_note(reason: str, *, adds: bool = False) -> str:
    """What is appended to the prompt to ask once more, after a reply that could not be read.

    The prompt itself is sent again with it, because the LM is asked afresh and remembers nothing.
    """
    asked = (ADDITION_FILLER if adds else FILLER).strip("()")
    return _REPAIR.format(reason=reason, asked=asked, opening=OPENING_MARK, closing=CLOSING_MARK)


def _own_words() -> tuple[str, ...]:
    """Sentences so long that an instruction has them only if it repeats our prompt."""
    texts = (DEFAULT_TEMPLATE.text, REMARKS, ADDITION_TEMPLATE.text, _REPAIR)
    lines = "\n".join(texts).splitlines()
    sentences = [sentence for line in lines for sentence in re.split(r"(?<=\.) ", line)]
    long = [one.strip("-# ") for one in sentences if len(one) >= 40 and "{" not in one]
    return tuple(dict.fromkeys(long))  # templates share sentences


OWN_WORDS = _own_words()
"""A text that contains one of these sentences is our prompt, leaked back."""
OWN_PASSAGES = Sources((DEFAULT_TEMPLATE.text, REMARKS, ADDITION_TEMPLATE.text, _REPAIR))
"""So is one that has a dozen of its words in a row: small models make an answer of the request."""
