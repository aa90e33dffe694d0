"""Examples that the search never sees: given, or a share of those that it would choose by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

import dspy

from dspy_gepa.core.streams import stream
from dspy_gepa.errors import SettingsError
from dspy_gepa.program.examples import Shelf, checked_examples

__all__ = ["Split", "split"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class Split(NamedTuple):
    """The sets of examples, those of the search without what is put aside."""

    trainset: list[dspy.Example]
    valset: list[dspy.Example]
    heldout: list[dspy.Example]


def split(
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example] | None,
    must_pass: Sequence[dspy.Example],
    heldout: Sequence[dspy.Example] | float | None,
    seed: int,
) -> Split:
    """The sets, and what the search never sees.

    A share is of the validation set, or of the training set where that serves for both. It is drawn
    by the seed, equal examples together, of those that stand in no other set.

    Raises:
        SettingsError: it is no share, or there is nothing that could be put aside.
        WrongType: something in a set is not a dspy.Example.
    """
    learned, validated = checked_examples("trainset", trainset), checked_examples("valset", valset)
    if heldout is None:
        return Split(learned, validated, [])
    if not isinstance(heldout, Real):
        held = checked_examples("heldout", heldout)
        if not held:
            raise SettingsError("heldout is empty. Give examples or a share, or leave it out.")
        return Split(learned, validated, held)
    share = float(heldout)
    if isinstance(heldout, bool) or not 0 < share < 1:
        raise SettingsError(
            f"heldout={heldout!r} was given; a share between 0 and 1 is needed, 0.2 for instance, "
            "or examples."
        )
    chosen_by, others = (validated, learned) if validated else (learned, [])
    kept, held = _drawn(
        chosen_by, [*others, *checked_examples("must_pass", must_pass)], share, seed
    )
    return Split(learned, kept, held) if validated else Split(kept, [], held)


def _drawn(
    examples: Sequence[dspy.Example], elsewhere: Sequence[dspy.Example], share: float, seed: int
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """What is left, and what is put aside."""
    known, shelf = Shelf(elsewhere), Shelf(())
    groups: dict[int, list[int]] = {}
    for position, example in enumerate(examples):
        if known.position_of(example) is not None:
            continue
        first = shelf.position_of(example)
        if first is None:
            shelf.put(position, example)
        groups.setdefault(position if first is None else first, []).append(position)
    wanted = max(1, round(share * len(examples)))
    order = list(groups)
    stream(seed, "heldout").shuffle(order)
    aside: set[int] = set()
    for first in order:
        if len(aside) < wanted and len(aside) + len(groups[first]) < len(examples):
            aside.update(groups[first])
    if not aside:
        raise SettingsError(
            f"heldout={share:g} was given, and of {len(examples)} examples to choose by none can "
            "be put aside: they are needed, or stand in the training set or in must_pass as well. "
            "Give held-out examples of their own."
        )
    if len(aside) < wanted:
        logger.warning(
            "heldout=%g asks for %d examples; %d are put aside, because the others stand in the "
            "training set or in must_pass as well.",
            share,
            wanted,
            len(aside),
        )
    kept = [each for position, each in enumerate(examples) if position not in aside]
    return kept, [examples[position] for position in sorted(aside)]
