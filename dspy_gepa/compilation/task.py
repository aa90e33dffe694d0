"""What one call of `compile` is about: a student, its components, its examples and its metric."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

from dspy_gepa.assembly.texts import frozen_components
from dspy_gepa.compilation.held_out import split
from dspy_gepa.config.config import Config
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.components import ComponentSelector
from dspy_gepa.core.selection import Selection
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import SettingsError
from dspy_gepa.observe.observer import Observer
from dspy_gepa.program.components.kinds import ComponentKind, Part, kinds_for, parts_of
from dspy_gepa.program.demos import DemoSettings
from dspy_gepa.program.examples import ExampleTable, checked_examples, tabulate
from dspy_gepa.program.inputs import check_inputs
from dspy_gepa.program.program import build, components_of
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.program.unimproved import check_program

__all__ = ["Customization", "Task", "demo_settings", "seeded", "tabulated_examples", "task_for"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


@dataclass(frozen=True, kw_only=True)
class Customization:
    """What was written for another optimizer, as values of ours; the searches' own by default."""

    selection: Selection | None = None
    components: ComponentSelector | None = None
    callbacks: Sequence[Observer] = ()
    stoppers: Sequence[Callable[[RunState], str]] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be improved, on what and by what measure. Made once for each search."""

    config: Config
    student: dspy.Module
    table: ExampleTable
    demos: DemoSettings
    customization: Customization
    score: Callable[..., Any]
    """The metric as it was given."""
    metric: Metric
    """The same in the one shape that we call; it remembers what it was asked."""
    kinds: tuple[ComponentKind, ...]
    parts: Mapping[str, Part]
    """The components that there are to be improved."""
    seed: Candidate
    """Their texts."""
    frozen: tuple[str, ...]
    """The components that are never rewritten."""

    @property
    def learned(self) -> list[dspy.Example]:
        """The training examples."""
        return [self.table.examples[example] for example in self.table.train]

    def again(self, config: Config, seed: Candidate, table: ExampleTable) -> Task:
        """The task of another search, from other texts and on a part of the examples."""
        # Observers and stop callbacks are told of one run.
        customization = replace(self.customization, callbacks=(), stoppers=())
        student = build(self.student, seed)
        return task_for(
            self.score, config, student, table, demos=self.demos, customization=customization
        )


def task_for(
    score: Callable[..., Any],
    config: Config,
    student: dspy.Module,
    table: ExampleTable,
    *,
    demos: DemoSettings,
    customization: Customization,
) -> Task:
    """The task, with what follows from these values.

    Raises:
        SettingsError: an argument names a component that there is not.
    """
    kinds = kinds_for(config.texts.optimize)
    parts = parts_of(student, kinds)
    return Task(
        config=config,
        student=student,
        table=table,
        demos=demos,
        customization=customization,
        score=score,
        metric=Metric(score, warns_on_mismatch=config.scores.warn_on_score_mismatch),
        kinds=kinds,
        parts=parts,
        seed=components_of(student, kinds),
        frozen=frozen_components(config.texts.frozen, tuple(parts)),
    )


def seeded(config: Config, student: dspy.Module) -> dspy.Module:
    """The student, or a copy with the texts to start from.

    Raises:
        SettingsError: it is no program, or none that could be improved.
    """
    components_of(student, kinds_for(config.texts.optimize))
    check_program(student)
    texts = config.texts.seed_instructions
    if not texts:
        return student
    try:
        return build(student, texts)
    except SettingsError as error:
        raise SettingsError(f"seed_instructions={dict(texts)!r:.200}: {error}") from None


def tabulated_examples(
    config: Config,
    student: dspy.Module,
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example] | None,
    heldout: Sequence[dspy.Example] | float | None = None,
) -> ExampleTable:
    """The examples; an example that stands several times in a set is run several times.

    Raises:
        SettingsError: they cannot be used, or the student cannot be run on them.
    """
    times = config.search.rollouts_per_example
    must_pass = checked_examples("must_pass", config.texts.must_pass)
    if_no_evidence = config.afterwards.if_no_evidence
    if heldout is None and if_no_evidence != "best":
        raise SettingsError(
            f"if_no_evidence={if_no_evidence!r} needs held-out examples that there may be "
            "evidence on: give heldout=, examples or a share."
        )
    sets = split(trainset, valset, must_pass, heldout, config.search.seed or 0)
    # Where there is none, the words are about what was given.
    table = tabulate(sets.trainset or trainset, sets.valset, must_pass, times=times)
    if sets.heldout:
        table = table.with_heldout(sets.heldout)
    if again := len(sets.heldout) - len(table.heldout):
        logger.warning("%d held-out examples are copies of others, and are left out.", again)
    check_inputs(student, table)
    return table


def demo_settings(
    config: Config, teacher: dspy.Module | Sequence[dspy.Module] | None = None
) -> DemoSettings:
    """How demonstrations are made; of a list of teachers, as chains pass it, by the first."""
    if teacher is not None and not isinstance(teacher, dspy.Module):
        teacher = next(iter(teacher), None)
    asked = config.afterwards
    return DemoSettings(
        bootstrapped=asked.max_bootstrapped_demos or 0,
        labeled=asked.max_labeled_demos or 0,
        teacher=teacher,
        teacher_settings=asked.teacher_settings or {},
        metric_threshold=asked.metric_threshold,
    )
