"""Where a run is kept: a run directory with the journal, or nowhere; and how it is read again."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dspy
import ujson
from dspy.utils.saving import get_dependency_versions

from dspy_gepa.core.budget import Limits, Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Committed, Event
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.errors import SettingsError
from dspy_gepa.observe.observer import attempted
from dspy_gepa.program.components.kinds import DEFAULT_KINDS, kinds_in
from dspy_gepa.program.examples import ExampleTable, listed
from dspy_gepa.program.program import build, components_of
from dspy_gepa.program.rollouts.outputs import OutputForms, fields_alone
from dspy_gepa.result import RunResult
from dspy_gepa.specialists.pool import specialists_later
from dspy_gepa.specialists.routing import Routing
from dspy_gepa.store.credentials import credentials
from dspy_gepa.store.files import write_whole
from dspy_gepa.store.manifest import Manifest, digest, without_addresses
from dspy_gepa.store.outcome import keep_fields, kept_fields
from dspy_gepa.store.run_dir import RunDir, read_run
from dspy_gepa.story.stored import facts_of, teller_of
from dspy_gepa.story.story import Story
from dspy_gepa.values.plain import dumps, packed
from dspy_gepa.verdict.finding import Verdict
from dspy_gepa.verdict.kept import kept_in
from dspy_gepa.views.told import Told

__all__ = [
    "BestKeeper",
    "SavedRun",
    "example_digest",
    "keep_outcome",
    "load_run",
    "opened",
    "save_best",
]

_PROGRAM = "best_program.json"


def opened(
    path: str,
    *,
    seed: Candidate,
    settings: Settings,
    table: ExampleTable,
    metric: str,
    models: Mapping[str, Any],
    adopt: Iterable[str] = (),
    digest_of: Callable[[Any], str] | None = None,
    outputs: OutputForms | None = None,
    roots: Mapping[str, object] | None = None,
    student: dspy.Module | None = None,
    log_examples: bool = True,
) -> RunDir:
    """The run directory at this path, for this run: a new one, or one to carry on from.

    Args:
        path: The directory; made where it is not there.
        seed: The student's texts.
        settings: What the search is asked to do.
        table: The examples.
        metric: The metric's name.
        models: What each model is used for, and the model.
        adopt: Differences that do not matter, beside those of the budget.
        digest_of: What tells an example from others; that of a dspy.Example where it is None.
        outputs: How answers of the program are kept, where they are.
        roots: Name to object, of all that may hold secrets beside the models.
        student: What of a program tells it from others, beside its texts.
        log_examples: Whether the examples are described there, in words.

    Raises:
        JournalMismatch: the directory holds another run. Lists the differences.
        JournalError: it cannot be used.
    """
    manifest = Manifest(
        candidate=seed,
        examples=tuple(map(digest_of or example_digest, table.searched)),
        train=table.train,
        validation=table.validation,
        first=settings.first_examples,
        anchors=table.anchors,
        limits=_given(settings.limits),
        seed=settings.seed,
        settings={**_by_name(settings), "metric": metric, **_program_of(student)},
        models={use: _described(model) for use, model in models.items()},
        versions={
            "dspy_gepa": version("dspy_gepa"),
            "dspy": version("dspy"),
            "python": platform.python_version(),
        },
    )
    # A larger budget, or a budget in other units, is how a run is carried on.
    adopted = [*(f"limits.{unit.name}" for unit in fields(Limits)), *adopt]
    forms: dict[str, Any] = {}
    if outputs is not None:
        forms = {"stored_output": outputs.stored, "restored_output": outputs.restored}
    secrets = credentials(os.environ, {"models": models, **(roots or {})})
    run_dir = RunDir(path, manifest, adopt=adopted, secrets=secrets, **forms)
    if log_examples:
        problem = "%s takes no description of the examples"
        described = partial(run_dir.describe, [*map(_sides, table.searched)])
        attempted(described, problem, run_dir.path)
    return run_dir


def _sides(example: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs of an example and its other fields; of what is no example, itself."""
    if not isinstance(example, dspy.Example):
        return {"example": example}, {}
    inputs = example.inputs()
    return dict(inputs), {name: of for name, of in example.items() if name not in inputs}


class BestKeeper:
    """An observer that keeps the best program so far in the run directory."""

    def __init__(self, run_dir: RunDir, student: dspy.Module) -> None:
        self._run_dir = run_dir
        self._student = student
        self._kept: Candidate | None = None

    def __call__(self, event: Event, state: RunState) -> None:
        """Save the best program where it is another one than before."""
        if isinstance(event, Committed) and state.members:
            best = state.members[state.best].candidate
            if best != self._kept:
                save_best(self._run_dir, build(self._student, best))
                self._kept = best


@dataclass(frozen=True, slots=True, repr=False)
class SavedRun(Told):
    """A run as its directory holds it, under way, finished or dead."""

    result: RunResult
    """Members, proposals, costs and why it ended; empty `stop_reason` where it has not."""
    manifest: Manifest
    """What the run is: data, seed, settings, models, versions."""

    @property
    def story(self) -> Story:
        """What happened, as plain values: what every view of the run is made from."""
        return self.result.story

    def program(self, student: dspy.Module, member: int | None = None) -> dspy.Module:
        """A copy of the student with a member's texts; the best member's where none is named.

        The best by its scores: what an aggregate metric chose is in `best_program.json`.

        Raises:
            SettingsError: there is no such member, or the student has other components.
        """
        number = self.result.best if member is None and self.result.members else member
        if number is None or not 0 <= number < len(self.result.members):
            raise SettingsError(
                f"member={member} was asked for; the run has {len(self.result.members)} members, "
                "numbered from 0."
            )
        candidate = self.result.members[number].candidate
        own = list(components_of(student, kinds_in(student, candidate) or DEFAULT_KINDS))
        stored = list(candidate)
        if own != stored:
            raise SettingsError(
                f"The student has the components {own}, and the run's program had {stored}: "
                "give the program that was compiled."
            )
        return build(student, candidate)

    def specialists(
        self,
        student: dspy.Module,
        valset: Sequence[dspy.Example],
        most: int = 3,
        chooser: str | Callable[[Mapping[str, Any]], int] = "nearest",
    ) -> dspy.Module:
        """As `RunResult.specialists`, given the validation examples again, in any order.

        Raises:
            SettingsError: an example of the run is missing, or see there.
        """
        given = {example_digest(example): example for example in listed("valset", valset)}
        examples = {}
        for number in self.result.state.settings.validation:
            example = given.get(self.manifest.examples[number])
            if example is None:
                raise SettingsError(
                    f"Of the {len(self.result.state.settings.validation)} validation examples of "
                    "this run at least one is not in valset: give those that were compiled with."
                )
            examples[number] = example
        result = replace(
            self.result,
            specializer=partial(specialists_later, self.result.state, self.result.best, examples),
        )
        program: dspy.Module = result.specialists(student, most, chooser)
        object.__setattr__(self.result, "routing", result.routing)
        return program


def load_run(log_dir: str | os.PathLike[str]) -> SavedRun:
    """What a run directory holds. Reads only: no code is executed, and nothing is changed.

    Raises:
        JournalError: there is no run, or it cannot be read.
        JournalCorrupt: what is stored was changed.
        JournalMismatch: it was written in a format that this version cannot read.
    """
    stored = read_run(Path(log_dir), fields_alone, credentials(os.environ))
    teller = teller_of(stored)
    result = RunResult(
        teller.state,
        verdict=kept_in(Path(log_dir)),
        teller=teller,
        facts=facts_of(stored.manifest, stored),
    )
    fields = kept_fields(stored, teller.state)
    return SavedRun(_with_outcome(result, fields) if fields else result, stored.manifest)


def keep_outcome(run_dir: RunDir, result: RunResult) -> None:
    """Keep in the run directory what became of the search, so that its result can be read again.

    Raises:
        JournalError: there is no room or no right to write.
    """
    routing = None if result.routing is None else asdict(result.routing)
    fields = {
        "aggregates": list(result.aggregates),
        "demonstrations": result.demonstrations,
        "demo_tally": asdict(result.demo_tally),
        "further_tally": asdict(result.further_tally),
        "is_stopped": result.is_stopped,
        "routing": routing,
        "verdict": asdict(result.verdict),
    }
    keep_fields(run_dir, result.state, fields)


def _with_outcome(result: RunResult, fields: Mapping[str, Any]) -> RunResult:
    routing = fields["routing"]
    return replace(
        result,
        aggregates=tuple(fields["aggregates"]),
        demonstrations=fields["demonstrations"],
        demo_tally=Tally(**fields["demo_tally"]),
        further_tally=Tally(**fields["further_tally"]),
        is_stopped=fields["is_stopped"],
        routing=None if routing is None else Routing(**routing),
        verdict=Verdict(**fields["verdict"]),
        is_final=True,
    )


def save_best(run_dir: RunDir, program: dspy.Module) -> None:
    """Keep the program in the run directory, whole or not at all, and without secrets."""
    state, redact = program.dump_state(), run_dir.redact
    if redact.concerns(dumps(packed(state))):
        # As DSPy's `save` does it.
        metadata = {"dependency_versions": get_dependency_versions()}
        fields = redact.hidden({**state, "metadata": metadata})
        write_whole(run_dir.path / _PROGRAM, ujson.dumps(fields, indent=2).encode())
        return
    unfinished = run_dir.path / f"unfinished-{_PROGRAM}"
    try:
        program.save(str(unfinished))
        unfinished.replace(run_dir.path / _PROGRAM)
    finally:
        unfinished.unlink(missing_ok=True)


def _given(limits: Limits) -> dict[str, float]:
    return {name: limit for name, limit in asdict(limits).items() if limit is not None}


def example_digest(example: dspy.Example) -> str:
    """What tells an example from others."""
    return digest({"fields": dict(example.items()), "inputs": sorted(example.inputs().keys())})


def _by_name(settings: Settings) -> dict[str, object]:
    """Everything that decides what happens: functions by their names, objects by what they show."""
    left_out = {"train", "validation", "anchors", "limits", "seed"}
    return {
        name: value if _is_plain(value) else _name(value)
        for name in settings.__dataclass_fields__
        if name not in left_out
        for value in [getattr(settings, name)]
    }


def _program_of(student: dspy.Module | None) -> dict[str, object]:
    """What a program's predictors are given and answer, and what else is in their prompts."""
    told: dict[str, object] = {}
    predictors = [] if student is None else student.named_predictors()
    # By number: a setting whose name names a secret would be left out.
    for number, (name, predictor) in enumerate(predictors, start=1):
        signature = predictor.signature
        sides = (signature.input_fields, signature.output_fields)
        shown = [", ".join(f"{f}: {_type(of.annotation)}" for f, of in s.items()) for s in sides]
        told[f"predictor {number}"] = f"{name}({' -> '.join(shown)})"
        described = [(f, of.json_schema_extra) for side in sides for f, of in side.items()]
        demos = [dict(demo.items()) for demo in getattr(predictor, "demos", ())]
        told[f"descriptions and demonstrations of predictor {number}"] = digest([described, demos])
    return told


def _type(annotation: object) -> str:
    is_class = isinstance(annotation, type)
    return annotation.__qualname__ if is_class else without_addresses(repr(annotation))  # type: ignore[attr-defined]


def _is_plain(value: object) -> bool:
    """Whether JSON has it as a number."""
    return isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))


def _name(strategy: object) -> str:
    return str(getattr(strategy, "__qualname__", None) or without_addresses(repr(strategy)))


def _described(model: Any) -> dict[str, object]:
    """A model by its name and how it answers; where it is served may change from run to run."""
    kwargs = getattr(model, "kwargs", {})
    kept = ("temperature", "max_tokens", "top_p", "reasoning_effort")
    return {
        "model": str(getattr(model, "model", None) or _name(model)),
        **{name: kwargs[name] for name in kept if kwargs.get(name) is not None},
    }
