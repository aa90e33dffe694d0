"""Everything that is compared, by name: ours, DSPy's optimizers, and packages beside DSPy.

An optimizer is a function from a `Contest` to a program. What it needs beside this package is
looked for before it starts; what is missing is told in its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import dspy
from report import OURS, REFERENCE
from search_efficiency import quiet

from rivals import capo, of_dspy, textual_gradients, traced
from rivals.contest import Contest, Missing, Unsuited

__all__ = ["AS_GIVEN", "OPTIMIZERS", "Optimizer"]

AS_GIVEN = "as given"


@dataclass(frozen=True)
class Optimizer:
    """One row of the table."""

    compile: Callable[[Contest], dspy.Module]
    needs: str = ""
    """A module that must be importable, if there is one."""
    package: str = ""
    """What brings it."""
    reflects: bool = True
    """Whether it asks the reflection model."""
    components: int | None = None
    """The number of predictors of the programs that it can work on; None for any."""

    def check(self, components: int) -> None:
        """Look for what it needs.

        Raises:
            Missing: it cannot work here.
            Unsuited: it cannot work on this task.
        """
        if self.components not in (None, components):
            raise Unsuited(f"it works on one component, and this program has {components}")
        try:
            if self.needs:
                # Here, so that its import does not count as the optimizer's time.
                with quiet():
                    import_module(self.needs)
        except ImportError as error:
            raise Missing(
                f"pip install '{self.package}', or the extra 'rivals' ({error})"
            ) from error


OPTIMIZERS = {
    AS_GIVEN: Optimizer(Contest.student, reflects=False),
    OURS: Optimizer(of_dspy.ours),
    f"{OURS} paper": Optimizer(partial(of_dspy.ours, search="paper")),
    f"{OURS} demos": Optimizer(
        partial(of_dspy.ours, max_bootstrapped_demos=4, max_labeled_demos=6)
    ),
    REFERENCE: Optimizer(of_dspy.reference),
    "MIPROv2": Optimizer(partial(of_dspy.mipro, demos=0), "optuna", "optuna"),
    "MIPROv2 demos": Optimizer(partial(of_dspy.mipro, demos=4), "optuna", "optuna"),
    "COPRO": Optimizer(of_dspy.copro),
    "SIMBA": Optimizer(of_dspy.simba),
    "BootstrapRS": Optimizer(of_dspy.bootstrap, reflects=False),
    "TextGrad": Optimizer(textual_gradients.compiled, "textgrad", "textgrad"),
    "Trace": Optimizer(traced.compiled, "opto.optimizers", "trace-opt"),
    "CAPO": Optimizer(
        capo.compiled, "promptolution.optimizers.capo", "promptolution", components=1
    ),
}
"""By the names of the command line, in the order of the table."""
