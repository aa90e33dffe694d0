"""Better instructions for DSPy programs: reflective prompt evolution with a Pareto frontier."""

from dspy_gepa.anything import optimize_anything
from dspy_gepa.artifact.output import log
from dspy_gepa.compat.install import install, uninstall
from dspy_gepa.core.components import ComponentView
from dspy_gepa.core.selection import PoolView
from dspy_gepa.gepa import GEPA
from dspy_gepa.improvement.result import AnythingResult
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.observe.observer import Observer
from dspy_gepa.reflect.predicates import (
    copies_no_examples,
    keeps_placeholders,
    names_output_fields,
)
from dspy_gepa.result import RunResult
from dspy_gepa.saved_run import SavedRun, load_run
from dspy_gepa.specialists.module import Specialists

__all__ = [
    "GEPA",
    "AnythingResult",
    "ComponentView",
    "Feedback",
    "Observer",
    "PoolView",
    "RunResult",
    "SavedRun",
    "Specialists",
    "copies_no_examples",
    "install",
    "keeps_placeholders",
    "load_run",
    "log",
    "names_output_fields",
    "optimize_anything",
    "uninstall",
]
