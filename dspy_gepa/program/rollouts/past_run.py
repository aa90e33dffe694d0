"""A run that is over, as the metric is shown it when it is asked about one component's part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from dspy_gepa.core.rollout import Opaque, Trace
from dspy_gepa.models.media import revived
from dspy_gepa.program.rollouts.trace import PredictorCall

__all__ = ["PastRun", "revived_run"]


@dataclass(frozen=True)
class PastRun:
    """What came of a run of the program, and how."""

    prediction: Any
    calls: Sequence[PredictorCall]
    calls_by_component: Mapping[str, Sequence[PredictorCall]]


def revived_run(trace: Trace, program: dspy.Module) -> PastRun | None:
    """The run that left this trace, put together again: after a restart, nothing else is left.

    None if the trace holds a value of which only the text was kept.
    """
    predictors = dict(program.named_predictors())
    steps = [step for step in trace.steps if step.component in predictors and not step.failure]
    fields = [trace.outputs, *(step.inputs for step in steps), *(step.outputs for step in steps)]
    if any(_is_opaque(values.values()) for values in fields):
        return None
    calls = [
        (
            predictors[step.component],
            revived(dict(step.inputs)),
            dspy.Prediction(**revived(dict(step.outputs))),
        )
        for step in steps
    ]
    by_component = {
        name: [call for call in calls if call[0] is predictor]
        for name, predictor in predictors.items()
    }
    return PastRun(dspy.Prediction(**revived(dict(trace.outputs))), calls, by_component)


def _is_opaque(values: Iterable[object]) -> bool:
    for value in values:
        if isinstance(value, Opaque):
            return True
        if isinstance(value, Mapping) and _is_opaque(value.values()):
            return True
        if isinstance(value, (list, tuple)) and _is_opaque(value):
            return True
    return False
