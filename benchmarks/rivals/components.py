"""A program as texts, and steps on these, for optimizers that know no DSPy programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

import dspy

from rivals.contest import Contest

__all__ = ["MINIBATCH", "Propose", "roles_of", "stepped", "texts_of", "with_texts"]

MINIBATCH = 3

Propose = Callable[[dspy.Module, Sequence[dspy.Example]], "Mapping[str, str] | None"]
"""New texts for a program, after it was run on these examples; None where a reply was unusable."""


def texts_of(program: dspy.Module) -> dict[str, str]:
    """The instruction of each predictor, by its name in the program."""
    return {name: each.signature.instructions for name, each in program.named_predictors()}


def roles_of(program: dspy.Module) -> dict[str, str]:
    """What each predictor is for, in words: what it is given and what it has to give."""
    return {
        name: f"the instruction of the step '{name}' of a program of language models, which is "
        f"given {' and '.join(each.signature.input_fields)} and answers with "
        f"{' and '.join(each.signature.output_fields)}"
        for name, each in program.named_predictors()
    }


def with_texts(program: dspy.Module, texts: Mapping[str, str]) -> dspy.Module:
    """A copy of the program with these instructions."""
    copy = program.deepcopy()
    for name, predictor in copy.named_predictors():
        predictor.signature = predictor.signature.with_instructions(texts[name])
    return copy


def stepped(contest: Contest, propose: Propose) -> dspy.Module:
    """As many steps as fit the budget, each on a minibatch of training examples.

    Each proposal is validated, and taken back if the validation score fell. A step whose reply
    cannot be used counts as made.
    """
    task, random = contest.task, Random(contest.seed)
    size = min(MINIBATCH, len(task.train))
    steps = (contest.budget - len(task.validation)) // (size + len(task.validation))
    program = contest.student()
    best = contest.validated(program)
    for _ in range(max(1, steps)):
        texts = propose(program, random.sample(task.train, size))
        if texts is None or texts == texts_of(program):
            continue
        changed = with_texts(program, texts)
        score = contest.validated(changed)
        if score >= best:
            program, best = changed, score
    return program


def asked_text(example: dspy.Example) -> str:
    """The inputs of an example in words."""
    return "\n".join(f"{name}: {value}" for name, value in example.inputs().items())
