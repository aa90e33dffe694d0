"""Whether graded metrics climb: lessons kept of ten, behind DSPy's interface, beside dspy.GEPA.

Every reflection writes one lesson more, until there are ten; the metric makes a score of how many
the instruction holds and of what is the example's own. So each step is an improvement, however
small it is, and what is asked is only whether the search sees it.

    python benchmarks/graded.py --json graded.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from report import OURS, REFERENCE, print_table, surroundings, write_record
from search_efficiency import quiet
from worlds import chance

from dspy_gepa import GEPA

LESSONS = 10
CALLS = 400
EXAMPLES = 40
"""Half of them are for training."""

Shape: TypeAlias = tuple[Callable[[int, float], float], dict[str, Any]]
"""From the lessons that are held and the example's ease, from 0 to 1, the score; and what the user
tells of the metric."""

SHAPES: dict[str, Shape] = {
    "0.1 + 0.08 a lesson": (lambda held, _: 0.1 + 0.08 * held, {}),
    "0.37 + 0.02 a lesson": (lambda held, _: 0.37 + 0.02 * held, {}),
    "like ROUGE": (lambda held, ease: 0.15 + 0.02 * held + 0.1 * ease, {}),
    "a rubric of ten criteria": (lambda held, _: held / LESSONS, {}),
    "negative, best 0": (lambda held, _: held - LESSONS, {}),
    "negative, best 0, and that is told": (
        lambda held, _: held - LESSONS,
        {"perfect_score": 0.0, "failure_score": -10.0},
    ),
    "0 to 100, and that is told": (lambda held, _: 10 * held, {"perfect_score": 100.0}),
    "steps of the example's own size": (lambda held, ease: held * (0.01 + 0.07 * ease), {}),
}


def text_of(lessons: int) -> str:
    """An instruction that holds so many."""
    return f"Do as learned. LESSONS-{lessons} END"


def lessons_in(text: str) -> int:
    """How many an instruction holds, or the first one in a prompt."""
    return int(re.findall(r"LESSONS-(\d+) END", text)[0])


class Simulated(dspy.BaseLM):
    """Says how many lessons its instruction holds, or writes an instruction with one more.

    That reply is JSON, which both optimizers read.
    """

    def __init__(self, *, is_reflection: bool) -> None:
        super().__init__(model="simulated", cache=False)
        self.is_reflection = is_reflection
        self.calls = 0

    def forward(self, prompt: Any = None, messages: Any = None, **settings: Any) -> Any:
        """The reply, as a provider would send it."""
        del settings
        self.calls += 1
        told = "\n".join(message["content"] for message in messages) if messages else prompt
        held = lessons_in(told)
        reply = f"[[ ## held ## ]]\n{held}\n\n[[ ## completed ## ]]"
        if self.is_reflection:
            reply = json.dumps({"new_instruction": text_of(min(LESSONS, held + 1))})
        message = SimpleNamespace(content=reply, tool_calls=None)
        choice = SimpleNamespace(message=message, finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage={}, model=self.model)


def run(system: str, shape: Shape, seed: int, metric_calls: int) -> dict[str, Any]:
    """How many lessons the program holds that one of the optimizers returns."""
    score, told = shape
    count = 0

    def metric(
        gold: dspy.Example, pred: dspy.Prediction, trace: object = None, *named: object
    ) -> dspy.Prediction:
        nonlocal count
        del trace, named
        count += 1
        found = score(int(pred.held), chance(seed, "ease", gold.question))
        return dspy.Prediction(score=found, feedback=f"The score is {found:.4f}.")

    examples = [
        dspy.Example(question=f"question {number}").with_inputs("question")
        for number in range(EXAMPLES)
    ]
    task_lm, reflection_lm = Simulated(is_reflection=False), Simulated(is_reflection=True)
    chosen: Any = GEPA if system == OURS else dspy.GEPA
    optimizer = chosen(
        metric=metric,
        max_metric_calls=metric_calls,
        reflection_lm=reflection_lm,
        num_threads=1,
        seed=seed,
        **told,
    )
    student = dspy.Predict(dspy.Signature("question -> held", text_of(0)))
    with quiet(), dspy.context(lm=task_lm, disable_history=True):
        half = EXAMPLES // 2
        program = optimizer.compile(student, trainset=examples[:half], valset=examples[half:])
    held = lessons_in(program.signature.instructions)
    return {
        "system": system,
        "seed": seed,
        "lessons": held,
        "metric_calls": count,
        "reflections": reflection_lm.calls,
    }


def main() -> None:
    """Print a row for each shape; with --json, write every run to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--budget", type=int, default=CALLS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[list[object]] = [["metric", f"{OURS}: lessons", "calls", "reflections"]]
    rows[0] += [f"{REFERENCE}: lessons", "calls", "reflections"]
    record: dict[str, Any] = {}
    for name, shape in SHAPES.items():
        row: list[object] = [name]
        for system in (OURS, REFERENCE):
            runs = [run(system, shape, each, arguments.budget) for each in range(arguments.seeds)]
            record.setdefault(name, []).extend(runs)
            row += [
                ", ".join(str(each[unit]) for each in runs)
                for unit in ("lessons", "metric_calls", "reflections")
            ]
        rows.append(row)
    print_table(rows)
    told = {"benchmark": "graded", **surroundings("dspy_gepa", "dspy", "gepa"), "runs": record}
    write_record(arguments.json, told)


if __name__ == "__main__":
    main()
