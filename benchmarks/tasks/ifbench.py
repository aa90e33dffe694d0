"""IFBench: answers that have to keep constraints which a program can check, in two steps."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from itertools import islice
from random import Random
from typing import Any, NamedTuple

import dspy
from constraints import can_check, check, use_nltk_data

from tasks import Hub, Source, Splits, Task, cut, graded, stepwise_metric, task_of

__all__ = ["RespondAndEnsure", "grade", "task"]

LEARNT, TESTED = (150, 300), 294
COLUMNS = ("prompt", "instruction_id_list", "kwargs")
TEST = Hub("allenai/IFBench_test", "train")
LEARN = Hub("allenai/IF_multi_constraints_upto5", "train")


class Respond(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Respond to the query."""

    query: str = dspy.InputField()
    response: str = dspy.OutputField()


class Ensure(dspy.Signature):  # type: ignore[misc]
    """Make sure that the response keeps all constraints of the query, and give it as it is sent."""

    query: str = dspy.InputField()
    response: str = dspy.InputField()
    final_response: str = dspy.OutputField()


class RespondAndEnsure(dspy.Module):  # type: ignore[misc]
    """A response, then the same one with all constraints kept."""

    def __init__(self) -> None:
        super().__init__()
        self.respond = dspy.ChainOfThought(Respond)
        self.ensure = dspy.ChainOfThought(Ensure)

    def forward(self, query: str) -> dspy.Prediction:
        """The final response, and the first one as `draft`."""
        draft = self.respond(query=query).response
        final = self.ensure(query=query, response=draft).final_response
        return dspy.Prediction(response=final, draft=draft)


def task(source: Source, seed: int = 0) -> Task:
    """150 and 300 prompts to learn from; the published test prompts, whose constraints are new."""
    del seed
    use_nltk_data(source.folder)
    learnt = source.find("ifbench", "ifeval_input_data.jsonl", (), elsewhere=LEARN, pick=first)
    tested = source.find("ifbench", "IFBench_test.jsonl", COLUMNS, elsewhere=TEST)
    rows = [row for row in map(read, learnt.rows) if can_check(*row)]
    test = [row for row in map(read, tested.rows) if can_check(*row)]
    differs = ["learnt from IFEval's prompts"] if learnt.is_local else []
    if len(tested.rows) != TESTED:
        differs.append(f"of a release with {len(tested.rows)} test prompts, not {TESTED}")
    left_out = len(tested.rows) - len(test)
    if left_out:
        differs.append(f"{left_out} test prompts left out, whose checks need NLTK data not here")
    Random(0).shuffle(rows)
    train, validation, _ = cut(list(map(example, rows)), (*LEARNT, 0))
    return task_of(
        "IFBench",
        RespondAndEnsure(),
        Splits(train, validation, list(map(example, test))),
        grade,
        source=f"{learnt.source}, {tested.source}",
        licence="ODC-BY 1.0 (IFBench), Apache-2.0 (IFEval)",
        published=(*LEARNT, TESTED),
        differs=differs,
    )


class Row(NamedTuple):
    """A prompt and its constraints."""

    prompt: str
    kinds: list[str]
    settings: list[dict[str, Any]]


def read(row: dict[str, Any]) -> Row:
    """A row of IFEval and of IFBench's test, or one of IFBench's training prompts."""
    if "messages" not in row:
        return Row(row["prompt"], list(row["instruction_id_list"]), given(row["kwargs"]))
    # A list of one object as Python writes it; the object may be JSON again.
    (constraints,) = ast.literal_eval(row["ground_truth"])
    if isinstance(constraints, str):
        constraints = json.loads(constraints)
    kinds, settings = constraints["instruction_id"], constraints["kwargs"]
    return Row(row["messages"][0]["content"], list(kinds), given(settings))


def given(settings: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """The settings that have a value: the hub fills in None for those of all other kinds."""
    return [{name: v for name, v in (each or {}).items() if v is not None} for each in settings]


def first(rows: Sequence[Any]) -> list[int]:
    """The first training prompts of which all constraints can be checked."""
    checkable = (number for number in range(len(rows)) if can_check(*read(rows[number])))
    return list(islice(checkable, sum(LEARNT)))


def example(row: Row) -> dspy.Example:
    """A prompt as an example."""
    values = {"query": row.prompt, "kinds": row.kinds, "settings": row.settings}
    return dspy.Example(**values).with_inputs("query")


@stepwise_metric
def grade(gold: dspy.Example, pred: Any, step: str) -> dspy.Prediction:
    """The share of the constraints that the final response keeps."""
    verdicts = check(getattr(pred, "response", None), gold.query, gold.kinds, gold.settings)
    score = sum(each.is_kept for each in verdicts) / len(verdicts)
    if step == "respond":
        verdicts = check(getattr(pred, "draft", None), gold.query, gold.kinds, gold.settings)
    kept = [each.words for each in verdicts if each.is_kept]
    broken = [each.words for each in verdicts if not each.is_kept]
    remarks = [f"These constraints are kept: {' '.join(kept)}"] if kept else []
    remarks += [f"These constraints are broken: {' '.join(broken)}"] if broken else []
    return graded(score, " ".join(remarks))
