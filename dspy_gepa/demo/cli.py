"""`dspy-gepa demo`: optimize a small program with a local or hosted model and show what it gained.

One rule: whatever a user can get wrong ends in one line that says what to do, and exit code 2.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dspy_gepa.demo.models import ModelChoice
from dspy_gepa.demo.show import TASKS, Show, show
from dspy_gepa.demo.weights import WEIGHTS
from dspy_gepa.errors import GEPAError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; 0 when all went well, 2 on a usage error, 130 after Ctrl-C."""
    given = _parser().parse_args(arguments)
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
    try:
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
    except GEPAError as error:
        print(f"dspy-gepa: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndspy-gepa: stopped.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspy-gepa", description="Better instructions for DSPy programs."
    )
    demo = parser.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser(
        "demo",
        help="optimize a small real program, with a model on this machine unless told otherwise",
        description="Optimizes a small real program and shows its scores before and after. Runs a "
        'language model on this machine, from the extra "local", unless --model is given.',
    )
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
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} was given; a whole number of 1 or more is needed")
    return int(text)
