"""The words in which we ask for a better instruction, and the marks between which it comes back.

Placeholders are filled in one pass, so whatever is filled in is never itself interpreted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from dspy_gepa.errors import SettingsError

__all__ = [
    "CLOSING_MARK",
    "DEFAULT_TEMPLATE",
    "FILLER",
    "OPENING_MARK",
    "OWN_WORDS",
    "PLACEHOLDERS",
    "Template",
    "repair_note",
]

OPENING_MARK = "<new_instruction>"
CLOSING_MARK = "</new_instruction>"
FILLER = "(the complete new instruction)"
"""Stands between the marks where the prompt shows the form of the answer."""

PLACEHOLDERS = MappingProxyType(
    {
        "description": "what the component is for, and its fields",
        "instruction": "its current text",
        "attempts": "texts that were tried in its place and rejected, if any",
        "examples": "what it did, with feedback",
    }
)
"""Name to meaning: what a template can ask for, written as {{name}}."""
_REQUIRED = ("instruction", "examples")
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A reflection prompt with placeholders.

    It need not ask for our marks: a reply in a code fence or as plain text can be read too, though
    less surely.

    Raises:
        SettingsError: a placeholder is missing, unknown or there twice.
    """

    text: str

    def __post_init__(self) -> None:
        names = _PLACEHOLDER.findall(self.text)
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
                    "{{instruction}} and {{examples}} must."
                )

    def filled(
        self, *, description: str, instruction: str, examples: str, attempts: str = ""
    ) -> str:
        """The prompt with these texts in place of the placeholders, each exactly as given."""
        texts = {
            "description": description,
            "instruction": instruction,
            "attempts": attempts,
            "examples": examples,
        }
        return _PLACEHOLDER.sub(lambda found: texts[found[1]], self.text)


# Our choice of wording and order: the material first and one request last, because a small model
# follows what it read last; "Keep" before "Add", because what a small model loses most is what an
# earlier reflection had already learned; one form of answer, shown and not described.
DEFAULT_TEMPLATE = Template(
    f"""\
You improve the instruction of one step of a program. A language model carries out the step: it \
reads the instruction and the input fields, and then it writes the output fields. It knows \
nothing else.

# What the step is for

{{{{description}}}}

# The current instruction

<current_instruction>
{{{{instruction}}}}
</current_instruction>
{{{{attempts}}}}
# What the step did with the current instruction

Each example shows the input, the output that the step wrote, and feedback on it. The feedback \
is right where it differs from the output.

{{{{examples}}}}

# Your task

Write the new instruction, complete, for somebody who sees only this instruction and the input \
fields: no examples, no feedback, and not the current instruction.

- Keep: repeat every rule and fact that the current instruction already states, unless the \
feedback shows that it is wrong. Whatever you leave out is forgotten.
- Add: state every rule and fact that the feedback teaches, for instance which label means what, \
what a term stands for, or which form the output must have. Write names, labels, numbers and \
formats exactly as the feedback has them.
- Generalize: say which kind of input calls for which output, so that the rules also fit inputs \
that are not shown here. Do not copy the examples one by one.
- Write only the instruction. Do not solve the examples, and do not mention the feedback or what \
you changed.

Answer in exactly this form, with both marks:

{OPENING_MARK}
{FILLER}
{CLOSING_MARK}
"""
)

_REPAIR = """

# Your last reply could not be used

The problem with it: {reason}.

Do the task again from the beginning. Start your answer with the line {opening}, continue with \
the complete new instruction, and end with the line {closing}.
"""


def repair_note(reason: str) -> str:
    """What is appended to the prompt to ask once more, after a reply that could not be read.

    The prompt itself is sent again with it, because the LM is asked afresh and remembers nothing.
    """
    return _REPAIR.format(reason=reason, opening=OPENING_MARK, closing=CLOSING_MARK)


def _own_words() -> tuple[str, ...]:
    """Sentences so long that an instruction has them only if it repeats our prompt."""
    lines = (DEFAULT_TEMPLATE.text + _REPAIR).splitlines()
    sentences = [sentence for line in lines for sentence in re.split(r"(?<=\.) ", line)]
    return tuple(one.strip("-# ") for one in sentences if len(one) >= 40 and "{" not in one)


OWN_WORDS = _own_words()
"""A text that contains one of these sentences is our prompt, leaked back."""
