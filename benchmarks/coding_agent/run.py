"""A coding agent before and after its prompt has evolved, on bugs that the search never saw.

The bugs are those of `tasks.json`: one change of syntax each, in packages that carry their tests
(`pip install toolz==1.2.0 pyflakes==4.0.3 pytest`, or the extra `coding`). The search learns on the
training bugs of one package; both programs are tested on other functions of it and on a package
that was never trained on. The evolved one is saved, and loaded again to be tested.

A model is `local:1.5b`, any name that litellm knows, or `mailbox:FOLDER`, which lets a person or
another program answer (see `mailbox_lm.py`); several folders with commas between them share the
prompts, and `--num-threads` is how many rollouts are under way. Every row is written to --json as
soon as it is there and the search keeps what was paid for in --log-dir, so that the same command
goes on where it was interrupted; replies that lie in a mailbox already are used.

    python benchmarks/coding_agent/run.py --model local:1.5b --reflection-model local:1.5b \
        --flow fixed --budget 24 --json coding.json --log-dir coding_run
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean
from threading import Lock
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
sys.path.insert(0, str(Path(__file__).parents[1]))

import dspy
from mailbox_lm import Usage
from report import print_table, surroundings, write_record

from coding_agent.agent import FLOWS
from coding_agent.applying import MergeApply, MorphApply
from coding_agent.judging import metric
from coding_agent.model_choice import Chosen, chosen_models
from coding_agent.packages import TASKS, Bug, bugs_in, chosen, example
from coding_agent.searching import PatternSearch, WarpGrep
from dspy_gepa import GEPA
from dspy_gepa.core.components import ComponentView

AS_GIVEN, EVOLVED = "as given", "evolved"
_SERVICE = "https://api.morphllm.com/v1"
_KEY = "MORPH_API_KEY"


class Record:
    """All rows, kept in a file as they come. Several threads may add to it."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.path, self._lock = path, Lock()
        self.content: dict[str, Any] = {
            "benchmark": "coding_agent",
            **surroundings("dspy_gepa", "dspy"),
            "settings": dict(settings),
            "search": {},
            "rows": [],
        }
        if path is not None and path.exists():
            kept = json.loads(path.read_text("utf-8"))
            if kept["settings"] != self.content["settings"]:
                raise SystemExit(
                    f"{path} holds rows of other settings: {kept['settings']}. Give another file."
                )
            self.content |= {"rows": kept["rows"], "search": kept["search"]}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a program and bug."""
        return list(self.content["rows"])

    def row(self, **key: Any) -> dict[str, Any] | None:
        """The row that says this; None if there is none."""
        return next((row for row in self.rows if key.items() <= row.items()), None)

    def keep(self, row: dict[str, Any]) -> None:
        """Add a row."""
        with self._lock:
            self.content["rows"].append(row)
            write_record(self.path, self.content)

    def note_search(self, **found: Any) -> None:
        """What the search made and spent."""
        with self._lock:
            self.content["search"] = found
            write_record(self.path, self.content)


def texts_of(program: dspy.Module) -> dict[str, str]:
    """The instructions by predictor; those of ReAct list the tools."""
    return {name: each.signature.instructions for name, each in program.named_predictors()}


def row_of(program: dspy.Module, bug: Bug, lm: Any) -> dict[str, Any]:
    """What a program does about a bug; an answer that cannot be read is a failure."""
    usage, began, gold = Usage(), time.perf_counter(), example(bug)
    try:
        with dspy.context(lm=lm, callbacks=[usage]):
            prediction = program(**gold.inputs())
        judged = metric(gold, prediction)
        found = {"score": judged.score, "steps": prediction.steps, "feedback": judged.feedback}
    except dspy.AdapterParseError as error:
        found = {
            "score": 0.0,
            "steps": 0,
            "feedback": f"An answer could not be read: {error}"[:500],
        }
    return {
        **found,
        "calls": usage.calls,
        "tokens": usage.tokens_in + usage.tokens_out,
        "minutes": (time.perf_counter() - began) / 60,
    }


def add_rows(
    name: str, program: dspy.Module, bugs: Sequence[Bug], lm: Any, record: Record, *, threads: int
) -> None:
    """Adds the rows that are not in the record yet."""
    digest = hashlib.sha256(json.dumps(texts_of(program)).encode()).hexdigest()[:12]

    def keep(bug: Bug) -> None:
        key = {"program": name, "texts": digest, "bug": bug.name, "package": bug.package}
        if record.row(**key) is None:
            # A search that found nothing better gives the program back as it was.
            same = record.row(**{**key, "program": AS_GIVEN})
            row = {**(same or row_of(program.deepcopy(), bug, lm)), **key}
            record.keep(row)
            print(f"{name}, {bug.name}: {row['score']:g} in {row['steps']} steps", flush=True)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(keep, bugs))


def instruction_and_a_tool(view: ComponentView) -> tuple[str, ...]:
    """The instructions, and one tool's description in turn: each tool costs a reflection call."""
    told = [name for name in view.called if name.endswith("]")]
    own = [name for name in view.called if "tools[" not in name]
    return (*own, *([told[view.rewrites_before % len(told)]] if told else []))


def evolved(
    arguments: argparse.Namespace, program: dspy.Module, bugs: Sequence[Bug], lms: Chosen
) -> tuple[dspy.Module, Any]:
    """What the search makes of the program, and its result."""
    train, validation = (
        [example(each) for each in chosen(bugs, arguments.train_package, split, most)]
        for split, most in (("train", arguments.train), ("validation", arguments.validation))
    )
    has_tools = arguments.flow == "react"
    optimizer = GEPA(
        metric,
        max_metric_calls=arguments.budget,
        reflection_lm=lms.reflection,
        optimize=("instructions", "tools") if has_tools else ("instructions",),
        component_selector=instruction_and_a_tool,
        objectives={"steps": "min", "total_tokens": "min"},
        frontier_type="hybrid",
        reflection_style="transcribe"
        if arguments.reflection_model.startswith("local")
        else "diagnose",
        num_threads=arguments.num_threads,
        timeout_seconds=None,
        log_dir=arguments.log_dir,
        seed=arguments.seed,
    )
    with dspy.context(lm=lms.task):
        best = optimizer.compile(program, trainset=train, valset=validation)
    return best, optimizer.result


def tables(record: Record) -> None:
    """A row for each program and package, then one for each bug."""
    heading = ["program, package", "solved", "of", "steps", "calls", "tokens", "minutes"]
    summary: list[list[object]] = [heading]
    for name in (AS_GIVEN, EVOLVED):
        own = [row for row in record.rows if row["program"] == name]
        for package in dict.fromkeys(row["package"] for row in own):
            rows = [row for row in own if row["package"] == package]
            means = [f"{fmean(row[each] for row in rows):.1f}" for each in heading[3:]]
            solved = sum(row["score"] == 1 for row in rows)
            summary.append([f"{name}, {package}", solved, len(rows), *means])
    print()
    print_table(summary)
    detail: list[list[object]] = [["bug", AS_GIVEN, "steps", EVOLVED, "steps"]]
    by_bug: dict[str, dict[str, Any]] = {}
    for row in record.rows:
        by_bug.setdefault(row["bug"], {})[row["program"]] = row
    for bug, found in by_bug.items():
        cells: list[object] = [bug]
        for name in (AS_GIVEN, EVOLVED):
            row = found.get(name)
            cells += ["", ""] if row is None else [f"{row['score']:g}", row["steps"]]
        detail.append(cells)
    print()
    print_table(detail)


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--model", required=True, help="local:1.5b, mailbox:FOLDER[,FOLDER...], or litellm's name")
    add("--reflection-model", required=True, help="likewise")
    add("--api-base", help="where hosted models are reached, if not where litellm knows")
    add("--flow", choices=FLOWS, default="react", help="fixed: for models that cannot use tools")
    add("--budget", type=int, default=24, help="of the search, in rollouts; 0 for no search")
    add("--steps", type=int, help="calls of tools a rollout (8), or rounds of the fixed flow (3)")
    add("--tasks", type=Path, default=TASKS, help="the list of bugs")
    add("--train-package", default="toolz")
    add("--test-packages", nargs="+", default=["toolz", "pyflakes"])
    add("--train", type=int, default=6, help="bugs to learn from")
    add("--validation", type=int, default=4, help="bugs to choose on")
    add("--test", type=int, default=4, help="unseen bugs of each package, at most")
    add("--search", choices=("pattern", "warpgrep"), default="pattern")
    add("--apply", choices=("merge", "morph"), default="merge")
    add("--service", default=_SERVICE, help=f"of warpgrep and morph; its key is in {_KEY}")
    add("--num-threads", type=int, default=1, help="rollouts at once")
    add("--threads", type=int, default=1, help="of the local model")
    add("--seed", type=int, default=0)
    add("--save", type=Path, default=Path("coding_agent.json"), help="for the evolved program")
    add("--log-dir", type=Path, help="where the search keeps what was paid for")
    add("--json", type=Path, help="where rows are kept as they come")
    return parser.parse_args(given)


def program_of(arguments: argparse.Namespace) -> dspy.Module:
    """The program as it is given."""
    key = os.environ.get(_KEY, "")
    hosted = [name for name in (arguments.search, arguments.apply) if name in ("warpgrep", "morph")]
    if hosted and not key:
        raise SystemExit(f"{' and '.join(hosted)} is a service: put its key into {_KEY}.")
    is_hosted = arguments.search == "warpgrep"
    search = WarpGrep.at(arguments.service, key) if is_hosted else PatternSearch()
    is_hosted = arguments.apply == "morph"
    apply = MorphApply.at(arguments.service, key) if is_hosted else MergeApply()
    make = FLOWS[arguments.flow]
    steps = {} if arguments.steps is None else {"most_steps": arguments.steps}
    return make(search, apply, **steps)


def carry_out(arguments: argparse.Namespace, lms: Chosen, usage: Usage) -> Record:
    """The program as given is tested, evolved, saved, loaded and tested again."""
    unrecorded = ("json", "log_dir", "save", "num_threads", "threads", "api_base", "service")
    settings = {
        name: str(each) if isinstance(each, Path) else each
        for name, each in vars(arguments).items()
        if name not in unrecorded
    }
    record, bugs = Record(arguments.json, settings), bugs_in(arguments.tasks)
    unseen = [
        each
        for package in arguments.test_packages
        for each in chosen(bugs, package, "test", arguments.test)
    ]
    make = partial(program_of, arguments)
    add_rows(AS_GIVEN, make(), unseen, lms.task, record, threads=arguments.num_threads)
    if arguments.budget:
        before = (usage.calls, usage.tokens_in, usage.tokens_out)
        best, result = evolved(arguments, make(), bugs, lms)
        spent = [
            now - then
            for now, then in zip(
                (usage.calls, usage.tokens_in, usage.tokens_out), before, strict=True
            )
        ]
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        best.save(arguments.save)
        print(f"\n{result}\n\nsaved: {arguments.save}", flush=True)
        record.note_search(
            texts=texts_of(best),
            improved=result.improved,
            reflections=dict(zip(("calls", "tokens_in", "tokens_out"), spent, strict=True)),
        )
        loaded = make()
        loaded.load(arguments.save)
        add_rows(EVOLVED, loaded, unseen, lms.task, record, threads=arguments.num_threads)
    return record


def main(given: Sequence[str] | None = None) -> None:
    """Print the tables; with --json, keep every row as soon as it is there."""
    arguments, usage = arguments_of(given), Usage()
    chosen_by_name = chosen_models(
        arguments.model,
        arguments.reflection_model,
        usage,
        api_base=arguments.api_base,
        threads=arguments.threads,
    )
    with chosen_by_name as lms:
        record = carry_out(arguments, lms, usage)
    print(f"\nsearch: {arguments.search}, apply: {arguments.apply}, flow: {arguments.flow}")
    tables(record)


if __name__ == "__main__":
    main()
