"""Which components of the parent a proposal rewrites.

A strategy sees only components that were called on the minibatch: a text that had no part in the
answers cannot be blamed for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.work import Evidence

__all__ = [
    "COMPONENT_SELECTORS",
    "ComponentSelector",
    "ComponentView",
    "every",
    "in_one_call",
    "round_robin",
]


@dataclass(frozen=True, slots=True)
class ComponentView:
    """What a component selector may look at."""

    pool: PoolView
    """The pool, as it is for the proposal."""
    parent: int
    """The id of the member that is rewritten."""
    candidate: Candidate
    """Its texts."""
    rewrites_before: int
    """How many proposals along this lineage came before: what round robin counts by."""
    called: tuple[str, ...]
    """The components that were called on the minibatch, in the program's order; never empty."""
    evidence: tuple[Evidence, ...]
    """The parent's rollouts on the minibatch."""
    is_asked_apart: bool = False
    """Whether a reflection call is about one component, so that each one that is rewritten costs a
    call."""


ComponentSelector: TypeAlias = Callable[[ComponentView], tuple[str, ...]]
"""Returns the names of the components to rewrite."""


def round_robin(view: ComponentView) -> tuple[str, ...]:
    """One component, the next in the program's order that was called. Paper, section 3."""
    names = list(view.candidate)
    first = view.rewrites_before % len(names)
    return next((name,) for name in names[first:] + names[:first] if name in view.called)


def every(view: ComponentView) -> tuple[str, ...]:
    """All components that were called."""
    return view.called


def in_one_call(view: ComponentView) -> tuple[str, ...]:
    """All components that were called where one reflection call is about all; else one of them.

    Our choice: feedback mostly says which one is at fault, and asking about all of them at once
    costs no more. From a model that answers about one at a time, each would be a call.
    """
    return round_robin(view) if view.is_asked_apart else every(view)


COMPONENT_SELECTORS: dict[str, ComponentSelector] = {"round_robin": round_robin, "all": every}
"""The strategies by the names that `GEPA(component_selector=...)` takes."""
