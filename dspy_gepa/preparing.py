"""What `compile` and `plan` are given, made ready: the student, the examples, demonstrations."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import dspy

from dspy_gepa.arguments import Arguments
from dspy_gepa.errors import SettingsError
from dspy_gepa.holding_out import split
from dspy_gepa.program.components.kinds import kinds_for
from dspy_gepa.program.demos import DemoSettings
from dspy_gepa.program.examples import ExampleTable, listed, tabulate
from dspy_gepa.program.inputs import check_inputs
from dspy_gepa.program.program import build, components_of
from dspy_gepa.program.unimproved import check_program

__all__ = ["demo_settings", "seeded", "tabulated"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


def seeded(arguments: Arguments, student: dspy.Module) -> dspy.Module:
    """The student, or a copy with the texts to start from.

    Raises:
        SettingsError: it is no program, or none that could be improved.
    """
    components_of(student, kinds_for(arguments.optimize))
    check_program(student)
    return build(student, arguments.seed_instructions) if arguments.seed_instructions else student


def tabulated(
    arguments: Arguments,
    student: dspy.Module,
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example] | None,
    heldout: Sequence[dspy.Example] | float | None = None,
) -> ExampleTable:
    """The examples; an example that stands several times in a set is run several times.

    Raises:
        SettingsError: they cannot be used, or the student cannot be run on them.
    """
    times = arguments.rollouts_per_example
    must_pass = listed("must_pass", arguments.must_pass)
    if heldout is None and arguments.if_no_evidence != "best":
        raise SettingsError(
            f"if_no_evidence={arguments.if_no_evidence!r} needs held-out examples that there may "
            "be evidence on: give heldout=, examples or a share."
        )
    sets = split(trainset, valset, must_pass, heldout, arguments.seed or 0)
    table = tabulate(sets.trainset, sets.valset, must_pass, times=times)
    if sets.heldout:
        table = table.with_heldout(sets.heldout)
    if again := len(sets.heldout) - len(table.heldout):
        logger.warning("%d held-out examples are copies of others, and are left out.", again)
    check_inputs(student, table)
    return table


def demo_settings(
    arguments: Arguments, teacher: dspy.Module | Sequence[dspy.Module] | None = None
) -> DemoSettings:
    """How demonstrations are made. Chains of optimizers pass a list of teachers."""
    if teacher is not None and not isinstance(teacher, dspy.Module):
        teacher = next(iter(teacher), None)
    return DemoSettings(
        bootstrapped=arguments.max_bootstrapped_demos or 0,
        labeled=arguments.max_labeled_demos or 0,
        teacher=teacher,
        teacher_settings=arguments.teacher_settings or {},
        metric_threshold=arguments.metric_threshold,
    )
