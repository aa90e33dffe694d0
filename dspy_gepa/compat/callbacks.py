"""Callback objects that were written for the `gepa` package, told of our events.

Such an object has some of the `on_*` hooks, each of which takes a dict.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from dspy_gepa.compat.hooks import HOOKS, HookCall, calls_at_end, calls_at_start, calls_for
from dspy_gepa.core.events import Ended, Event
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import WrongType

__all__ = ["CallbackObserver"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_NEVER_CALLED = ("on_state_saved",)
"""Hooks of the `gepa` package that nothing here corresponds to."""


class CallbackObserver:
    """An observer that calls the hooks that one callback object has.

    An iteration is a proposal, under the number of its ticket; the seed is iteration 0. Candidates
    are numbered as members are, training and validation examples by their positions in their
    sets. Where several proposals are under way at once, their iterations overlap.

    Called are `on_optimization_start`, `on_optimization_end`, `on_iteration_start`,
    `on_iteration_end`, `on_candidate_selected`, `on_minibatch_sampled`, `on_evaluation_start`,
    `on_evaluation_end`, `on_evaluation_skipped`, `on_valset_evaluated`,
    `on_reflective_dataset_built`, `on_proposal_start`, `on_proposal_end`,
    `on_candidate_accepted`, `on_candidate_rejected`, `on_merge_attempted`, `on_merge_accepted`,
    `on_merge_rejected`, `on_pareto_front_updated`, `on_budget_updated` and `on_error`.

    Not called is `on_state_saved`, because no event says when a run is saved.

    Where events do not say what a key promises, or say it in another way:

    * `state`, `final_state`: our `RunState`, which has other fields than theirs.
    * `trainset_loader`: the training examples, as a list.
    * `reflective_dataset`, `dataset`: the evidence in the shape that DSPy gives it, with every call
      and its raw values; the reflection may show its LM less of it.
    * `prompts`, `raw_lm_outputs`: empty; the story of the run has prompts and replies.
    * `new_score` of a rejected candidate: NaN if it was rejected without being run.
    * `on_optimization_start` comes with the first event, whatever that is.
    * `on_evaluation_start` and `on_evaluation_end` tell of minibatches, and `on_valset_evaluated`
      of validation, as in the `gepa` package; `inputs` are whole examples.
    * `on_error` tells of a reflection that failed, and of what broke the run.
    * `on_optimization_end` comes last: at `Ended`, or, where proposals are still under way then
      or a run ends by an exception, when `close` is called.

    Args:
        callback: The object. It changes nothing, whatever it does to what it is told.
        examples: An example's id is its position. Without them ids stand in their place.

    Raises:
        WrongType: it has no hook.
    """

    def __init__(self, callback: object, examples: Sequence[object] = ()) -> None:
        if not any(hasattr(callback, name) for name in (*HOOKS, *_NEVER_CALLED)):
            raise WrongType(
                f"The callback {callback!r:.200} has no hook. Give it at least one of "
                f"{', '.join(HOOKS)}, each with one argument, a dict."
            )
        for name in _NEVER_CALLED:
            if hasattr(callback, name):
                logger.info("%s of %s is never called.", name, type(callback).__name__)
        self._callback = callback
        self._examples = examples
        self._last: RunState | None = None

    def __call__(self, event: Event, state: RunState) -> None:
        """Call the hooks that correspond to an event."""
        before = self._last
        if before is None and state.ending and not isinstance(event, Ended):
            return  # late news of a run that is over for the callback
        self._last = state
        if before is None:
            self._tell(calls_at_start(state))
        self._tell(calls_for(before, event, state, self._examples))
        if isinstance(event, Ended) and not state.live:
            self.close()

    def close(self) -> None:
        """Call the last hooks; nothing the second time. What they raise is passed on."""
        state, self._last = self._last, None
        if state is not None:
            self._tell(calls_at_end(state))

    def __repr__(self) -> str:
        return f"CallbackObserver({self._callback!r:.200})"

    def _tell(self, calls: Iterable[HookCall]) -> None:
        for hook, fields in calls:
            if hasattr(self._callback, hook):
                getattr(self._callback, hook)(fields)
