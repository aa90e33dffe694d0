"""The facility-support task: urgency, sentiment and categories of 200 e-mails to a caretaker.

The rows are Meta's (MIT licence) and do not ship with this package: they come from the package
`llama-prompt-ops`, which is located and not imported, or from a folder of the user's.
"""

from __future__ import annotations

import json
import os
import random
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import dspy

from dspy_gepa.demo.errors import MissingSource
from dspy_gepa.demo.task import DemoTask, Graded, Splits

__all__ = ["facility", "facility_over", "grade_analysis", "rows_file"]

_PACKAGE = "llama_prompt_ops"
_ROWS_IN_PACKAGE = "templates/sample_dataset.json"


class Urgency(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Tell how urgent the message is."""

    message: str = dspy.InputField()
    urgency: Literal["low", "medium", "high"] = dspy.OutputField()


class Sentiment(dspy.Signature):  # type: ignore[misc]
    """Tell the sentiment of the message."""

    message: str = dspy.InputField()
    sentiment: Literal["positive", "neutral", "negative"] = dspy.OutputField()


class Categories(dspy.Signature):  # type: ignore[misc]
    """Tell which categories apply to the message, separated by commas."""

    message: str = dspy.InputField()
    known_categories: str = dspy.InputField()
    categories: str = dspy.OutputField()


class FacilityAnalyzer(dspy.Module):  # type: ignore[misc]
    """Three steps over one message; each has an instruction of its own."""

    def __init__(self, known_categories: list[str]) -> None:
        super().__init__()
        self.known_categories = ", ".join(known_categories)
        self.urgency = dspy.ChainOfThought(Urgency)
        self.sentiment = dspy.ChainOfThought(Sentiment)
        self.categories = dspy.ChainOfThought(Categories)

    def forward(self, message: str) -> dspy.Prediction:
        """The urgency, the sentiment and the categories of the message."""
        return dspy.Prediction(
            urgency=self.urgency(message=message).urgency,
            sentiment=self.sentiment(message=message).sentiment,
            categories=self.categories(
                message=message, known_categories=self.known_categories
            ).categories,
        )


def facility(folder: Path | None = None) -> DemoTask:
    """The task over the rows in `folder`, in `DSPY_GEPA_DATA`, or in `llama-prompt-ops`.

    Raises:
        MissingSource: the rows are in none of these places.
    """
    chosen = folder or os.environ.get("DSPY_GEPA_DATA")
    place = Path(chosen).expanduser() if chosen else None
    # A folder that was given is the only place that is looked at.
    return facility_over(rows_file(place, or_package=folder is None))


def facility_over(file: Path) -> DemoTask:
    """The task over the rows of this file."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    examples = [_example(row) for row in rows]
    random.Random(0).shuffle(examples)  # the order that the published splits are made with
    return DemoTask(
        title="urgency, sentiment and categories of facility-support e-mails",
        program=FacilityAnalyzer(sorted(examples[0].analysis["categories"])),
        metric=grade_analysis,
        splits=Splits(examples[:66], examples[66:132], examples[132:]),
        metric_calls=600,
        answer_tokens=600,
        recipe="from dspy_gepa.demo.facility import facility\nprogram = facility().program",
        sub_scores=sub_scores,
    )


def sub_scores(gold: dspy.Example, prediction: Any) -> dict[str, float]:
    """Exact urgency, exact sentiment, and the share of categories decided rightly."""
    wanted = gold.analysis["categories"]
    wrong = _named(prediction, wanted) ^ {name for name, holds in wanted.items() if holds}
    return {
        "urgency": float(prediction.urgency == gold.analysis["urgency"]),
        "sentiment": float(prediction.sentiment == gold.analysis["sentiment"]),
        "categories": 1 - len(wrong) / len(wanted),
    }


def grade_analysis(
    gold: dspy.Example,
    prediction: Any,
    trace: Any = None,  # noqa: ARG001
    pred_name: str | None = None,
    pred_trace: Any = None,  # noqa: ARG001
) -> Graded:
    """The mean of the three sub-scores, and what was wrong; in one step if `pred_name` is one."""
    parts = sub_scores(gold, prediction)
    remarks = {
        "urgency": _remark("urgency", prediction.urgency, gold.analysis["urgency"]),
        "sentiment": _remark("sentiment", prediction.sentiment, gold.analysis["sentiment"]),
        "categories": _category_remark(prediction, gold.analysis["categories"]),
    }
    asked = pred_name.split(".")[0] if pred_name else None
    feedback = remarks[asked] if asked in remarks else " ".join(remarks.values())
    return Graded(sum(parts.values()) / len(parts), feedback)


def _remark(part: str, answer: str, wanted: str) -> str:
    if answer == wanted:
        return f"The {part} is right: {wanted}."
    return f"The {part} is {wanted}, not {answer}."


def _category_remark(prediction: Any, wanted: dict[str, bool]) -> str:
    named, right = _named(prediction, wanted), {name for name, holds in wanted.items() if holds}
    remarks = []
    if named - right:
        remarks.append(f"Wrongly included: {', '.join(sorted(named - right))}.")
    if right - named:
        remarks.append(f"Missed: {', '.join(sorted(right - named))}.")
    if named & right:
        remarks.append(f"Rightly included: {', '.join(sorted(named & right))}.")
    return " ".join(remarks) or "Rightly, no category was included."


def _named(prediction: Any, known: dict[str, bool]) -> set[str]:
    return set(re.findall(r"\w+", str(prediction.categories))) & set(known)


def _example(row: dict[str, Any]) -> dspy.Example:
    analysis = json.loads(row["answer"])
    example = dspy.Example(message=row["fields"]["input"], analysis=analysis)
    return example.with_inputs("message")


def rows_file(folder: Path | None, *, or_package: bool) -> Path:
    """The file of rows in a folder, else, if that may be looked into, in the package.

    Raises:
        MissingSource: it is in neither.
    """
    candidates = [folder / "facility" / "dataset.json", folder / "dataset.json"] if folder else []
    if or_package:
        spec = find_spec(_PACKAGE)  # reads folders; it does not run the package's code
        roots = spec.submodule_search_locations if spec else None
        candidates += [Path(root, _ROWS_IN_PACKAGE) for root in roots or []]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = ", ".join(map(str, candidates)) or "no folder was given"
    raise MissingSource(
        f"The facility-support e-mails were not found ({looked}). Install them with "
        "pip install --no-deps llama-prompt-ops==0.0.8, or give --data-dir (or DSPY_GEPA_DATA) a "
        "folder that holds facility/dataset.json."
    )
