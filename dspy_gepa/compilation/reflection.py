"""How new texts for a program's components are asked for, and what they are held to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import dspy

from dspy_gepa.assembly.texts import own_templates, prompt_tokens, references
from dspy_gepa.compilation.task import Task
from dspy_gepa.config.config import Config
from dspy_gepa.config.texts import Reflection, TextRules
from dspy_gepa.models.asking import reflection_asker
from dspy_gepa.models.media import media_kind
from dspy_gepa.models.tokens import counted_tokens
from dspy_gepa.program.components.description_templates import (
    ARGUMENT_TEMPLATE,
    FIELD_TEMPLATE,
    TOOL_TEMPLATE,
)
from dspy_gepa.program.components.fields import users_outputs
from dspy_gepa.program.components.kinds import (
    ARGUMENT,
    CODE,
    FIELD,
    INSTRUCTION,
    TOOL,
    ComponentKind,
    Part,
)
from dspy_gepa.program.components.tools import TOOL_MARK
from dspy_gepa.program.proposers.code_proposer import CodeProposer
from dspy_gepa.program.proposers.proposer import CustomProposer
from dspy_gepa.program.proposers.reflection import Reflect, ReflectionByKind, Ruled
from dspy_gepa.reflect.predicates import (
    CopiesNoExamples,
    KeepsPlaceholders,
    NamesOutputFields,
    TextFacts,
)
from dspy_gepa.reflect.prompt import EvidenceLimits
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.reflect.templates import ADDITION, TRANSCRIPTION
from dspy_gepa.values.words import text_of

__all__ = ["most_reflection_calls", "reflection_for", "rules_for"]

_TEMPLATES = {
    TOOL.name: TOOL_TEMPLATE,
    ARGUMENT.name: ARGUMENT_TEMPLATE,
    FIELD.name: FIELD_TEMPLATE,
}
"""How our own reflection asks about what is described, by kind of component."""


def reflection_for(task: Task, rules: Rules) -> Reflect:
    """What answers a reflection request: our own reflection or a proposer, by kind of component.

    Raises:
        SettingsError: there is no model that could reflect, or a reference cannot be read.
    """
    asked, parts = task.config.reflection, task.parts
    lm, student = asked.reflection_lm, task.student
    own = Reflector(
        reflection_asker(lm),
        templates=own_templates(asked.reflection_template, list(parts)),
        limits=EvidenceLimits(
            prompt_tokens=prompt_tokens(lm if lm is not None else dspy.settings.lm)
        ),
        perfect_score=task.config.scores.perfect_score,
        shows_unparsed=asked.add_format_failure_as_feedback,
        rules=rules,
        guidance=asked.guidance,
        references=references(asked.references),
        count_tokens=counted_tokens,
        media_kind=media_kind,
        counts_calls=_counts_calls(task.config),
    )
    made: dict[str, Reflect] = {}
    for kind in {part.kind.name: part.kind for part in parts.values()}.values():
        if kind.name == CODE.name:
            held_to = _rules_for_code(rules)
            proposer = CodeProposer(asked.code_proposer, student, lm=lm, told=held_to.told)
            made[kind.name] = Ruled(proposer, held_to)
        elif kind.name == INSTRUCTION.name and asked.instruction_proposer is not None:
            shows_unparsed = asked.add_format_failure_as_feedback
            custom = CustomProposer(
                asked.instruction_proposer, student, lm=lm, shows_unparsed=shows_unparsed
            )
            made[kind.name] = Ruled(custom, rules)
        else:
            made[kind.name] = _reflector_for(own, kind, asked)
    return ReflectionByKind(parts, made)


def _reflector_for(own: Reflector, kind: ComponentKind, asked: Reflection) -> Reflector:
    """Our own reflection, as it asks about components of this kind."""
    if kind.name != INSTRUCTION.name:
        return replace(own, template=_TEMPLATES[kind.name], is_joint=False)
    if asked.edit_mode == "append":
        return replace(own, template=ADDITION, is_joint=False, adds=True)
    if asked.reflection_style == "transcribe":
        return replace(own, template=TRANSCRIPTION, is_joint=False)
    return own


def most_reflection_calls(
    config: Config, parts: Mapping[str, Part], components: Sequence[str]
) -> int:
    """How often our own reflection asks about these components at most.

    Each question is followed by one more call at most. All instructions together are one question;
    but they may have to be asked about one by one, unless calls are limited.
    """
    own = own_templates(config.reflection.reflection_template, list(parts))
    joint = [
        name
        for name in components
        if name not in own
        and parts[name].kind.name == INSTRUCTION.name
        and config.reflection.diagnoses
    ]
    saved = max(0, len(joint) - 1) if _counts_calls(config) else 0
    return 2 * (len(components) - saved)


def _counts_calls(config: Config) -> bool:
    """Whether several instructions are never asked about one by one, because calls are limited."""
    return config.budget.max_reflection_calls is not None


def rules_for(
    texts: TextRules,
    student: dspy.Module,
    parts: Mapping[str, Part],
    trainset: Iterable[dspy.Example],
) -> Rules:
    """What new texts are held to.

    Raises:
        SettingsError, WrongType: a rule that cannot be kept, or that is none.
    """
    made = Rules(
        frozen=texts.kept_parts,
        constraints=texts.listed_constraints,
        max_instruction_tokens=texts.max_instruction_tokens,
        count_tokens=counted_tokens,
        predicates=tuple(texts.invariants),
        normalised=lambda component, text: parts[component].kind.normalised(text),
    )
    made.check({name: part.text for name, part in parts.items()})
    return made.with_facts(
        TextFacts(
            users_outputs(student),
            lambda: [text_of(value) for example in trainset for value in dict(example).values()],
            (TOOL_MARK,) if any(p.kind in (TOOL, ARGUMENT) for p in parts.values()) else (),
        )
    )


def _rules_for_code(held_to: Rules) -> Rules:
    """The rules that also apply to a source, in which braces are no placeholders."""
    prose = (KeepsPlaceholders, NamesOutputFields, CopiesNoExamples)
    own = [each for each in held_to.predicates if not isinstance(each, prose)]
    return replace(held_to, max_instruction_tokens=None, predicates=tuple(own))
