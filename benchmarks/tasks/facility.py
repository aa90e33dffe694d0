"""Facility-support e-mails: urgency, sentiment and categories, in three steps.

Program, rows and metric are those of the demo; see `dspy_gepa.demo.facility`.
"""

from __future__ import annotations

from typing import Any

import dspy

from dspy_gepa.demo.errors import MissingSource
from dspy_gepa.demo.facility import facility_over, grade_analysis, rows_file
from dspy_gepa.demo.task import DemoTask
from tasks import DataNotFound, Source, Task, cut, graded, stepwise_metric, task_of

__all__ = ["grade", "task"]

SIZES = (66, 66, 68)
FIELDS = ("urgency", "sentiment", "categories")


def task(source: Source, seed: int = 0) -> Task:
    """66, 66 and 68 e-mails, split as in DSPy's tutorial."""
    del seed
    demo, place = found(source)
    return task_of(
        "Facility support analyzer",
        demo.program,
        cut([example for split in demo.splits for example in split], SIZES),
        grade,
        source=place,
        licence="MIT",
        published=SIZES,
    )


def found(source: Source) -> tuple[DemoTask, str]:
    """The demo's task, and where its rows are: in a folder, else in the package of them."""
    folder = source.folder
    try:
        file = rows_file(folder, or_package=True)
    except MissingSource as error:
        raise DataNotFound(str(error)) from error
    place = "the package llama-prompt-ops"
    if folder is not None and file.is_relative_to(folder):
        place = f"the folder's {file.relative_to(folder)}"
    return facility_over(file), place


@stepwise_metric
def grade(gold: dspy.Example, pred: Any, step: str) -> dspy.Prediction:
    """The mean of exact urgency, exact sentiment and the share of right categories."""
    answers = dspy.Prediction(**{field: getattr(pred, field, None) for field in FIELDS})
    return graded(*grade_analysis(gold, answers, pred_name=step))
