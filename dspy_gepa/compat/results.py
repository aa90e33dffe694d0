"""The statistics that DSPy's own GEPA leaves on a compiled program, in its own class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import dspy
import numpy as np
from dspy.teleprompt.gepa.gepa import DspyGEPAResult

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.columns import objective_means, signs
from dspy_gepa.core.frontier import mean_scores, tops, with_failures_scored
from dspy_gepa.core.proposal import Evaluation
from dspy_gepa.core.state import RunState
from dspy_gepa.program.program import build

__all__ = ["DetailedResults", "attach_mipro_statistics", "detailed_results"]


class Programs(Sequence[dspy.Module]):
    """The members as programs, each built when it is asked for and not kept."""

    def __init__(self, student: dspy.Module, candidates: Sequence[Candidate]) -> None:
        self._student = student
        self._candidates = candidates

    @overload
    def __getitem__(self, position: int) -> dspy.Module: ...
    @overload
    def __getitem__(self, position: slice) -> list[dspy.Module]: ...
    def __getitem__(self, position: int | slice) -> dspy.Module | list[dspy.Module]:
        if isinstance(position, slice):
            return [build(self._student, candidate) for candidate in self._candidates[position]]
        return build(self._student, self._candidates[position])

    def __len__(self) -> int:
        return len(self._candidates)


class RankedProgram(Mapping[str, Any]):
    """A member as MIPROv2 lists it: score in percent and program, which is built when read.

    A pickled copy is a plain dict.
    """

    def __init__(self, score: float, programs: Programs, member: int) -> None:
        self._entries = {"score": score, "program": None, "full_eval": True}
        self._programs = programs
        self._member = member

    def __getitem__(self, name: str) -> Any:
        return self._programs[self._member] if name == "program" else self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __deepcopy__(self, memo: dict[int, Any]) -> RankedProgram:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class DetailedResults(DspyGEPAResult):  # type: ignore[misc]  # DSPy's class is untyped here
    """DSPy's own result with programs built on demand.

    A pickled copy is a plain `DspyGEPAResult`, so a program saved whole loads where this package
    is not installed.
    """

    chosen: int = 0
    """The member that was returned."""

    @property
    def best_idx(self) -> int:
        """The member that was returned: raw means over different examples cannot be compared."""
        return self.chosen

    def __deepcopy__(self, memo: dict[int, Any]) -> DetailedResults:
        # It is never changed, and chains of optimizers copy programs at every step.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in DspyGEPAResult.__dataclass_fields__}
        fields["candidates"] = list(self.candidates)
        return DspyGEPAResult, tuple(fields.values())


def detailed_results(
    state: RunState,
    student: dspy.Module,
    *,
    chosen: int,
    keeps_outputs: bool,
    log_dir: str | None = None,
) -> DetailedResults:
    """The finished run's statistics, with validation examples numbered from 0.

    `chosen` is the member that is returned.
    `best_outputs_valset` is filled where the run kept outputs.
    """
    scores, examples = state.scores, state.settings.validation
    is_scored = ~np.isnan(scores)
    top = tops(scores)
    columns = [i for i in range(len(examples)) if is_scored[:, i].any()]
    best = {i: {int(member) for member in top[:, i].nonzero()[0]} for i in columns}
    results = DetailedResults(
        candidates=Programs(student, [member.candidate for member in state.members]),
        parents=[list(member.parents) or [None] for member in state.members],
        val_aggregate_scores=mean_scores(scores).tolist(),
        val_subscores=[
            {i: float(row[i]) for i in columns if scored[i]}
            for row, scored in zip(with_failures_scored(scores), is_scored, strict=True)
        ],
        per_val_instance_best_candidates=best,
        discovery_eval_counts=[member.discovery_metric_calls for member in state.members],
        best_outputs_valset=_best_outputs(state, best) if keeps_outputs else None,
        total_metric_calls=state.tally.metric_calls,
        num_full_val_evals=int(is_scored.all(axis=1).sum()),
        log_dir=log_dir,
        seed=state.settings.seed,
        **_objective_statistics(state),
    )
    results.chosen = chosen
    return results


def _objective_statistics(state: RunState) -> dict[str, Any]:
    """The fields on objectives; nothing if the metric scores none."""
    names = state.objectives
    if not names:
        return {}
    means = objective_means([member.results for member in state.members], names)
    towards_more = signs(names, state.settings.minimized)
    top = tops(means * towards_more)
    statistics = {
        "val_aggregate_subscores": [dict(zip(names, row, strict=True)) for row in means.tolist()],
        "per_objective_best_candidates": {
            name: set(top[:, i].nonzero()[0].tolist()) for i, name in enumerate(names)
        },
        "objective_pareto_front": {
            name: float(towards_more[i] * np.nanmax(towards_more[i] * means[:, i]))
            for i, name in enumerate(names)
        },
    }
    # Older versions of DSPy's class have no place for them.
    known = DspyGEPAResult.__dataclass_fields__
    return {name: value for name, value in statistics.items() if name in known}


def attach_mipro_statistics(
    program: dspy.Module, state: RunState, student: dspy.Module, *, score: float
) -> None:
    """Leave on the program what MIPROv2 leaves there: scores in percent, programs, trials.

    `score` is the program's mean validation score.
    """
    means = mean_scores(state.scores).tolist()
    programs = Programs(student, [member.candidate for member in state.members])
    ranking = sorted(range(len(means)), key=lambda member: -means[member])
    program.score = _percent(score)
    program.candidate_programs = [RankedProgram(_percent(means[m]), programs, m) for m in ranking]
    program.mb_candidate_programs = []
    program.trial_logs = {
        number: {
            "full_eval_score": _percent(means[number - 1]),
            "total_eval_calls_so_far": member.discovery_metric_calls,
            **{
                f"{position}_predictor_instruction": text
                for position, text in enumerate(member.candidate.values())
            },
        }
        for number, member in enumerate(state.members, start=1)
    }
    # MIPROv2 counts neither: it leaves both at 0.
    program.prompt_model_total_calls = state.tally.reflection_calls
    program.total_calls = state.tally.rollouts


def _percent(score: float) -> float:
    return round(100 * score, 2)


def _best_outputs(
    state: RunState, best: dict[int, set[int]]
) -> dict[int, list[tuple[int, object]]]:
    examples = state.settings.validation
    return {
        i: [
            (member, rollout.output)
            for member in sorted(members)
            for rollout in state.rollouts(
                Evaluation(state.members[member].candidate, (examples[i],))
            )
        ]
        for i, members in best.items()
    }
