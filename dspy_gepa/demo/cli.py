"""`dspy-gepa demo`: optimize a small program with any model and show what that gained."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from dspy_gepa.demo.models import ModelChoice
from dspy_gepa.demo.show import TASKS, Show, show
from dspy_gepa.demo.weights import WEIGHTS

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Make the command known."""
    demo = commands.add_parser(
        "demo",
        help="optimize a small real program, with a model on this machine unless told otherwise",
        description="Optimizes a small real program and shows its scores before and after. Runs a "
        'language model on this machine, from the extra "local", unless --model is given.',
    )
    demo.set_defaults(run=_demo)
    demo.add_argument(
        "--task", choices=sorted(TASKS), default="house-labels", help="default: %(default)s"
    )
    demo.add_argument("--limit", type=_positive, help="at most so many examples of each split")
    demo.add_argument("--budget", type=_positive, help="at most so many metric calls in the search")
    demo.add_argument("--seed", type=int, default=0, help="of the search; default: 0")
    demo.add_argument(
        "--num-threads", type=_positive, default=1, help="examples in flight at once; default: 1"
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("optimized.json"),
        help="where the program is saved; default: %(default)s",
    )
    demo.add_argument("--data-dir", type=Path, help="a folder that holds facility/dataset.json")
    hosted = demo.add_argument_group("a hosted model")
    hosted.add_argument("--model", help="any name that litellm knows: openai/gpt-4.1-mini, ...")
    hosted.add_argument("--reflection-model", help="likewise, for rewriting instructions")
    hosted.add_argument("--api-base", help="where these are reached, if not where litellm knows")
    local = demo.add_argument_group("the local model")
    local.add_argument(
        "--local-model", choices=sorted(WEIGHTS), default="1.5b", help="default: %(default)s"
    )
    local.add_argument("--gguf", type=Path, help="a model file of your own")
    local.add_argument("--port", type=int, default=0, help="default: any free one")
    local.add_argument("--threads", type=_positive, help="default: as many as there are idle cores")


def _demo(given: argparse.Namespace) -> int:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    choice = ModelChoice(
        model=given.model,
        reflection_model=given.reflection_model,
        api_base=given.api_base,
        local_model=given.local_model,
        gguf=given.gguf,
        port=given.port,
        threads=given.threads,
    )
    show(
        Show(
            choice,
            given.output,
            task=given.task,
            folder=given.data_dir,
            limit=given.limit,
            budget=given.budget,
            seed=given.seed,
            num_threads=given.num_threads,
        )
    )
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} was given; a whole number of 1 or more is needed")
    return int(text)
