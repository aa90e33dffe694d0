"""The words in which we ask for a better description of a tool, an argument or a field.

They differ from those for an instruction: a description is short, it says what one thing is, and
the model that reads it has its instruction beside it.
"""

from __future__ import annotations

from dspy_gepa.reflect.templates import Template

__all__ = ["ARGUMENT_TEMPLATE", "FIELD_TEMPLATE", "TOOL_TEMPLATE"]


def _template(*, subject: str, says: str, rules: str) -> Template:
    """The same material and the same form of answer for all of them, as for an instruction."""
    return Template(
        f"""\
You improve the description of {subject}, which is one part of a program. A language model reads \
it each time that it carries out a step of the program, together with the step's instruction.
{{{{description}}}}
# The current description

<current_description>
{{{{instruction}}}}
</current_description>
{{{{lessons}}}}{{{{references}}}}
# What the step did with the current description

Each example shows the input and the output that the step wrote. The teacher is right where an \
output is not as he says. Much of what he says may be about other parts of the program.

{{{{examples}}}}
{{{{feedback}}}}{{{{guidance}}}}{{{{limits}}}}
# Your task

Write the new description of {subject}, complete, for somebody who has never seen the current one.

- Say {says}.
{rules}
- Keep what the current description says, unless the teacher shows that it is wrong. Where \
nothing is wrong with it, make it clearer.
- Write one to five sentences, and only what holds for every input. Do not copy the examples, do \
not mention the teacher or what you changed, and do not repeat the step's instruction.

Answer in exactly this form, with both marks; what stands between them is the description:

{{{{form}}}}
"""
    )


TOOL_TEMPLATE = _template(
    subject="a tool",
    says=(
        "what the tool does and what it returns, when to call it and when not to, and what "
        "another tool is better for"
    ),
    rules=(
        "- Claim nothing about the tool that the current description, its arguments or what it "
        "returned in the examples do not show.\n"
        "- Its arguments are described elsewhere."
    ),
)
ARGUMENT_TEMPLATE = _template(
    subject="one argument of a tool",
    says=(
        "what the argument means and exactly what its value must look like: form, unit, allowed "
        "values, how long, what to leave out"
    ),
    rules=(
        "- Show one value in the right form where the form is hard to say in words.\n"
        "- The type of the value is fixed, and the other arguments are described elsewhere."
    ),
)
FIELD_TEMPLATE = _template(
    subject="one field of a step",
    says=(
        "what the field holds; for an output field also exactly which form it must have: which "
        "values are allowed and what each means, how long it is, what to leave out"
    ),
    rules=(
        "- Write names, labels, numbers and formats exactly as the teacher has them.\n"
        "- The name and the type of the field are fixed, and other fields are described elsewhere."
    ),
)
