"""Programs that hold `dspy.Flex` modules, sources for them, and where their code is run.

Where nothing is said against it, code runs in a process of its own without a sandbox, which needs
nothing but Python; DSPy has that from 3.4 on.
"""

from __future__ import annotations

import dspy
import pytest
from scripted_engine import answer

from dspy_gepa.program.components.flex import CODE_MODULES

if not CODE_MODULES:
    pytest.skip("this DSPy has no dspy.Flex", allow_module_level=True)

try:
    from dspy.primitives import LocalInterpreter
except ImportError:
    LocalInterpreter = None

__all__ = [
    "BASELINE",
    "BROKEN",
    "CRASHING",
    "EXAMPLES",
    "SHOUTING",
    "Both",
    "echo",
    "flex",
    "runs_code",
    "source",
]

runs_code = pytest.mark.skipif(
    LocalInterpreter is None, reason="code runs without Deno from DSPy 3.4 on"
)

EXAMPLES = [
    dspy.Example(question=each, answer=each.upper()).with_inputs("question") for each in "abcdef"
]


def source(*body: str) -> str:
    """A module whose `forward` consists of these lines, with a predictor at hand."""
    lines = "\n".join(f"        {line}" for line in body)
    return f"""class Code(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question):
{lines}
"""


SHOUTING = source("return dspy.Prediction(answer=question.upper())")
CRASHING = source("return dspy.Prediction(answer=1 / 0)")
BROKEN = "class Code(dspy.Module:\n    pass"
BASELINE = source("return dspy.Prediction(answer=self.ask(question=question).answer)")


def flex(text: str = BASELINE, **settings) -> dspy.Module:
    """A module of code with this source."""
    if LocalInterpreter is not None:
        settings = {"interpreter_factory": LocalInterpreter, **settings}
    made = dspy.Flex("question -> answer", **settings)
    made._bind_code(text)
    return made


class Both(dspy.Module):
    """Drafts by an instruction, and answers by code that asks a predictor of the same signature."""

    def __init__(self, text: str = BASELINE):
        super().__init__()
        self.code = flex(text)
        self.draft = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.code(question=self.draft(question=question).answer)


def echo(prompt: str) -> str:
    """The last question in the prompt."""
    return answer(answer=prompt.rpartition("[[ ## question ## ]]\n")[2].splitlines()[0])
