"""The worked examples of optimize_anything in one table each, beside gepa 0.1.4 and baselines.

The scripted models see the prompt and nothing else, and the same one answers in every row but
that of --model. Blind: without the feedback. Best of N: what the model makes of the first artifact,
again and again.

    python benchmarks/anything/run.py circles --calls 30 60 120 --seeds 3
    python benchmarks/anything/run.py regexes --calls 100 --seeds 5 --model openai/gpt-5
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import circles
import faster
import regexes

from dspy_gepa import optimize_anything

sys.path.insert(0, str(Path(__file__).parents[1]))

from report import print_table

Row = Callable[[int, int], tuple[float, int]]
"""From a seed and a limit to what was reached, and in how many calls of the evaluator."""


def single(task: Any, seed_text: str, **given: Any) -> dict[str, Row]:
    """The rows of a task without examples."""

    def ours(seed: int, limit: int, lm: Any = None, *, blind: bool = False) -> tuple[float, int]:
        result = optimize_anything(
            seed_text,
            task.evaluate,
            objective=task.OBJECTIVE,
            reflection_lm=lm or task.model(seed, blind=blind),
            max_evals=limit,
            seed=seed,
            **given,
        )
        return float("-inf") if result.score is None else result.score, result.tally.metric_calls

    def best_of(seed: int, limit: int) -> tuple[float, int]:
        model, prompts = task.model(seed), list[str]()

        def noting(prompt: str) -> str:
            prompts.append(prompt)
            return str(model(prompts[0]))

        return ours(seed, limit, noting)

    def theirs(seed: int, limit: int) -> tuple[float, int]:
        found, calls = gepa_run(task, seed_text, seed, limit)
        return task.evaluate(found)[0], calls

    return {
        "dspy_gepa": ours,
        "gepa 0.1.4": theirs,
        "dspy_gepa, blind": lambda seed, limit: ours(seed, limit, blind=True),
        "best of N": best_of,
    }


def generalizing() -> dict[str, Row]:
    """The rows of the regular expression: the share of unseen strings that is right."""

    def judged(artifact: str, seed: int) -> float:
        return fmean(regexes.evaluate(artifact, one)[0] for one in regexes.strings(seed).unseen)

    def ours(seed: int, limit: int, lm: Any = None, **how: bool) -> tuple[float, int]:
        sets = regexes.strings(seed)
        result = optimize_anything(
            regexes.SEED,
            regexes.evaluate,
            objective=regexes.OBJECTIVE,
            dataset=sets.train,
            valset=sets.validation,
            reflection_lm=lm or regexes.model(seed, **how),
            max_evals=limit,
            perfect_score=1.0,
            failure_score=0.0,
            seed=seed,
        )
        return judged(result.optimized_artifact, seed), result.tally.metric_calls

    def theirs(seed: int, limit: int) -> tuple[float, int]:
        sets = regexes.strings(seed)
        found, calls = gepa_run(
            regexes, regexes.SEED, seed, limit, dataset=sets.train, valset=sets.validation
        )
        return judged(found, seed), calls

    return {
        "dspy_gepa": ours,
        "gepa 0.1.4": theirs,
        "dspy_gepa, blind": lambda seed, limit: ours(seed, limit, blind=True),
        "dspy_gepa, shuffled": lambda seed, limit: ours(seed, limit, shuffled=True),
    }


def gepa_run(task: Any, text: str, seed: int, limit: int, **sets: Any) -> tuple[str, int]:
    """What gepa finds, and how many calls it really makes."""
    from gepa.optimize_anything import (  # noqa: PLC0415 - the one place that needs it
        EngineConfig,
        GEPAConfig,
        ReflectionConfig,
    )
    from gepa.optimize_anything import optimize_anything as gepa_anything  # noqa: PLC0415

    calls = [0]

    def alone(candidate: str) -> Any:
        calls[0] += 1
        return task.evaluate(candidate)

    def beside(candidate: str, example: Any) -> Any:
        calls[0] += 1
        return task.evaluate(candidate, example)

    engine = {"max_metric_calls": limit, "parallel": False, "seed": seed, "cache_evaluation": True}
    config = GEPAConfig(
        engine=EngineConfig(**engine, raise_on_exception=False),
        reflection=ReflectionConfig(reflection_lm=task.model(seed)),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        found = gepa_anything(
            text,
            evaluator=beside if sets else alone,
            objective=task.OBJECTIVE,
            config=config,
            **sets,
        )
    return str(found.best_candidate), calls[0]


def rows_of(name: str, model: str | None) -> dict[str, Row]:
    """The rows of an example by its name; one more where a model is to be asked."""
    rows = {
        "circles": lambda: single(circles, circles.ring()),
        "regexes": generalizing,
        "faster": lambda: single(
            faster, faster.ORIGINAL, isolation="process", timeout_seconds=20.0
        ),
    }[name]()
    if model is not None:
        ours: Any = rows["dspy_gepa"]
        rows[f"dspy_gepa, {model}"] = lambda seed, limit: ours(seed, limit, model)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", choices=["circles", "regexes", "faster"])
    parser.add_argument("--calls", type=int, nargs="+", default=[30, 60, 120])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", help="a name that litellm knows, for one more row")
    given = parser.parse_args(arguments)
    table: list[list[object]] = [["row", "asked", "made", "mean", "each seed"]]
    for name, row in rows_of(given.example, given.model).items():
        for limit in given.calls:
            found = [row(seed, limit) for seed in range(given.seeds)]
            each = " ".join(f"{score:.3f}" for score, _ in found)
            calls, mean = fmean(made for _, made in found), fmean(score for score, _ in found)
            table.append([name, limit, f"{calls:.1f}", f"{mean:.3f}", each])
    print_table(table)


if __name__ == "__main__":
    # Here, so that who imports this hears what runs say.
    logging.getLogger("dspy.teleprompt.dspy_gepa").setLevel(logging.WARNING)
    main()
