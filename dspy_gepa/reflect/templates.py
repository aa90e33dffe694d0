"""The words in which we ask for better instructions.

Placeholders are filled in one pass, so whatever is filled in is never itself interpreted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from dspy_gepa.errors import SettingsError, WrongType

__all__ = [
    "ADDITION",
    "DIAGNOSIS",
    "NONE_YET",
    "PLACEHOLDERS",
    "REMARKS",
    "REPAIR",
    "TRANSCRIPTION",
    "Template",
]

NONE_YET = "(there is none yet)"
"""Stands in the place of a current instruction that is empty, or is not shown."""

PLACEHOLDERS = MappingProxyType(
    {
        "description": "what the component is for and its fields, where there is more to say than "
        "that they are texts",
        "instruction": "its current text",
        "lessons": "what earlier changes on its line tried and what came of them, if any",
        "references": "named texts to draw on, if any",
        "examples": "what it did, with feedback where {{feedback}} is not asked for",
        "feedback": "what was said about those that are not right yet, apart from them",
        "guidance": "the user's words on how to improve it, if any",
        "limits": "what the new text has to keep to, if anything",
        "form": "the marks between which the answer is read most surely",
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

    It need not ask for our marks, which {{form}} shows: then the one element, fence for prose or
    field of a reply is the text, and of several the last if it alone goes on from the current text;
    any other reply is asked about once more. A template of the gepa package, with <curr_param> and
    <side_info> and without placeholders of ours, is one as well.
    References, guidance and limits are appended where it has no place for them, and so are never
    lost.

    Raises:
        SettingsError: a placeholder is missing, unknown or there twice.
        WrongType: it is no text.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise WrongType(f"The reflection template is {self.text!r:.200}, and a text is needed.")
        names = self._names
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

    def filled(self, **texts: str) -> str:
        """The prompt with texts in place of the placeholders that they are named for.

        Each stands there exactly as given; a placeholder without a text leaves nothing.
        """
        assert texts.keys() <= PLACEHOLDERS.keys()
        body = self._pattern.sub(lambda place: texts.get(_name_of(place), ""), self.text)
        appended = (texts.get(name, "") for name in _NEVER_LOST if name not in self._names)
        return body + "".join(appended)

    @property
    def sets_feedback_apart(self) -> bool:
        """Whether feedback has a place of its own, and so does not stand with its example."""
        return "feedback" in self._names

    @property
    def shows_form(self) -> bool:
        """Whether it asks for our marks."""
        return "form" in self._names

    @property
    def _pattern(self) -> re.Pattern[str]:
        """Finds our placeholders, or those of the gepa package where there are none of ours."""
        return _PLACEHOLDER if _PLACEHOLDER.search(self.text) else _GEPA_PLACEHOLDER

    @property
    def _names(self) -> list[str]:
        """What every placeholder asks for, in order."""
        return [_name_of(place) for place in self._pattern.finditer(self.text)]


def _name_of(place: re.Match[str]) -> str:
    return _GEPA_NAMES[place[1]] if place.re is _GEPA_PLACEHOLDER else place[1]


DIAGNOSIS = Template(
    """\
A program answers requests with calls to a language model. Each kind of call is a component with \
an instruction of its own. You improve these instructions.
{{description}}
# The instructions as they are

{{instruction}}
{{lessons}}{{references}}
# What the program did

Each example is one run of the program, with all calls of these components.

{{examples}}
{{guidance}}{{limits}}
# Your task

1. Work out the task from all examples together: what is a right answer, and what does it depend \
on? Where a remark only names the expected answer, find the rule that gives it here and the right\
 answers of the other examples as well.
2. Follow the calls of each wrong example to the first whose output was worse than its inputs \
allowed. That component is at fault. One that did what could be done with its inputs is not, \
however wrong the end.
3. Say what the right examples owe to the present instructions: that stays.
4. For each component at fault write the whole instruction for somebody who sees its inputs and \
nothing of this page: the task and the order in which to decide; every fact that the examples \
give away and that nobody could know (names, codes, limits, formats, exceptions), as general \
rules; which rule comes first where several fit; what to do with inputs unlike those shown; and \
all of the present text that no example speaks against.
Write rules, not cases, and not a word of examples, remarks or scores. What must be exact (a \
schema, a policy, a format, a code) is copied exactly. Where a form is easier shown than told, \
make up an example.
5. Try the new text on every example above, wrong and right, and mend it where it would give \
another answer than the right one.

{{form}}
"""
)
"""The default, for strong models: what goes wrong and why, and then texts for what is at fault."""

# Our choice of wording and order, for models that are too small for more: what was said about the
# outputs stands apart and last, because otherwise a model of 1.5 billion parameters takes the wrong
# outputs for what is wanted; one request, to say what the teacher says, which is within its power
# where judging is not; one form of answer, shown and not described.
_EVIDENCE = """\
A language model follows this instruction:

<current_instruction>
{{instruction}}
</current_instruction>
{{description}}{{references}}
It gets inputs like these wrong:

{{examples}}
{{feedback}}{{guidance}}{{limits}}
"""
REMARKS = "This is what a teacher said about the outputs, in the same order:"
"""What stands before {{feedback}}."""
TRANSCRIPTION = Template(
    f"""\
{_EVIDENCE}\
Write the instruction anew. Begin with what the current instruction says, then list all that the \
teacher said as rules: one line for each, in the teacher's own words, with all names, codes and \
formats.

Answer in exactly this form, with both marks:

{{{{form}}}}
"""
)
"""For models of a few billion parameters: the instruction anew, from what was said."""
ADDITION = Template(
    f"""\
{_EVIDENCE}\
Write what has to be added to the instruction: all that the teacher said, as rules, one line for \
each, in the teacher's own words, with all names, codes and formats.

Answer in exactly this form, with both marks:

{{{{form}}}}
"""
)
"""Asks for lines that are added to the current text."""
REPAIR = """\
A reply was to give new texts in a form that a program can read, and the program cannot use this \
of it:

{problems}

# The reply

{reply}

# The current texts

{current}

# Your task

Give once more what could not be used, changed in nothing but what makes it usable; what could be \
used need not be given again. If the reply gives no new text, or none that can be made usable, \
answer {no_change}. Answer in this form, with each mark alone on its line:

{form}
"""
