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
    "OPENING_MARK",
    "OWN_PASSAGES",
    "OWN_WORDS",
    "PLACEHOLDERS",
    "Template",
    "repair_note",
]

OPENING_MARK = "<new_instruction>"
CLOSING_MARK = "</new_instruction>"
FILLER = "(the complete new instruction)"
"""Stands between the marks where the prompt shows the form of the answer."""
ADDITION_FILLER = "(the lines to be added)"
"""The same where the answer is added to the current instruction."""

PLACEHOLDERS = MappingProxyType(
    {
        "description": "what the component is for, and its fields",
        "instruction": "its current text",
        "attempts": "texts that were tried in its place and rejected, if any",
        "references": "named texts to draw on, if any",
        "examples": "what it did, with feedback",
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
    adds: bool = False
    """Whether the answer is added to the current text, and does not replace it."""

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

    def _placeholders(self) -> list[tuple[str, re.Match[str]]]:
        """Every placeholder with its place, in order."""
        ours = [(place[1], place) for place in _PLACEHOLDER.finditer(self.text)]
        if ours:
            return ours
        theirs = _GEPA_PLACEHOLDER.finditer(self.text)
        return [(_GEPA_NAMES[place[1]], place) for place in theirs]


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
{{{{attempts}}}}{{{{references}}}}
# What the step did with the current instruction

Each example shows the input, the output that the step wrote, and feedback on it. The feedback \
is right where it differs from the output.

{{{{examples}}}}
{{{{guidance}}}}{{{{limits}}}}
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

# Our choice for models that are too small to rewrite: they leave out what they had learned and add
# what nobody said, while to write down what the feedback says is within their power. Of "reviewer"
# and "model" they lose track less than of steps, components and fields. They are not shown what was
# rejected: seen with a model of 1.5 billion parameters, they write it again.
ADDITION_TEMPLATE = Template(
    f"""\
A language model follows the instruction below. It sees the instruction and one input, and writes \
the output.

<current_instruction>
{{{{instruction}}}}
</current_instruction>
{{{{references}}}}
This is what it wrote for some inputs, and what a reviewer said about it. The reviewer is right.

{{{{examples}}}}
{{{{guidance}}}}{{{{limits}}}}
The model made these mistakes because the instruction does not say what the reviewer knows. Write \
the lines that have to be added to the instruction, so that the model gets these inputs and \
others like them right:

- one line that says in which form the output has to be, and what must not be in it;
- one line for each thing that the reviewer knows: which input calls for which output, what each \
label or term means, with names, labels and formats exactly as the reviewer wrote them;
- one example of a right output.

Do not repeat the current instruction.

Answer in exactly this form, with both marks:

{OPENING_MARK}
{ADDITION_FILLER}
{CLOSING_MARK}
""",
    adds=True,
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
    lines = (DEFAULT_TEMPLATE.text + ADDITION_TEMPLATE.text + _REPAIR).splitlines()
    sentences = [sentence for line in lines for sentence in re.split(r"(?<=\.) ", line)]
    return tuple(one.strip("-# ") for one in sentences if len(one) >= 40 and "{" not in one)


OWN_WORDS = _own_words()
"""A text that contains one of these sentences is our prompt, leaked back."""
OWN_PASSAGES = Sources((DEFAULT_TEMPLATE.text, ADDITION_TEMPLATE.text, _REPAIR))
"""So is one that has a dozen of its words in a row: small models make an answer of the request."""
