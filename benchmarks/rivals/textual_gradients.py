"""TextGrad on a DSPy program, set up as in its own tutorial on prompts.

Each instruction is a variable; the run of the program and the metric are functions of text. A step
takes three training examples, one backward pass over the sum of their losses, and one update.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy
from answers import reply_text

from rivals.components import asked_text, roles_of, stepped, texts_of
from rivals.contest import Contest, Rollout

__all__ = ["compiled"]

# TextGrad makes a folder for its log when it is imported, by default in the current one.
os.environ.setdefault("TEXTGRAD_LOG_DIR", str(Path(tempfile.gettempdir(), "textgrad-logs")))


def compiled(contest: Contest) -> dspy.Module:
    """Steps of textual gradient descent; see `stepped`."""
    import textgrad  # noqa: PLC0415 - an optional package

    engine = _engine(contest.reflection_lm)

    def propose(program: dspy.Module, batch: Sequence[dspy.Example]) -> Mapping[str, str] | None:
        # New variables at each step: feedback on earlier texts must not stay.
        roles = roles_of(program)
        variables = {
            name: textgrad.Variable(text, role_description=roles[name])
            for name, text in texts_of(program).items()
        }
        losses = [_loss(contest, program, example, list(variables.values())) for example in batch]
        textgrad.sum(losses).backward(engine)
        try:
            textgrad.TGD(parameters=list(variables.values()), engine=engine).step()
        except IndexError:  # a reply without TextGrad's marks
            return None
        return {name: variable.value for name, variable in variables.items()}

    return stepped(contest, propose)


def _loss(
    contest: Contest, program: dspy.Module, example: dspy.Example, variables: Sequence[Any]
) -> Any:
    """What the metric says of a run of the program, as a graph that begins at the instructions."""
    from textgrad import Variable  # noqa: PLC0415
    from textgrad.autograd import StringBasedFunction  # noqa: PLC0415

    ran: Rollout = contest.rollout(program, example)
    run = StringBasedFunction(
        lambda **_: ran.answer, "Runs the program with its instructions on the input."
    )
    judge = StringBasedFunction(
        lambda **_: f"Score {ran.score:.3g} of 1. {ran.feedback}",
        "Scores the answer of the program and says what is wrong with it.",
    )
    # As parameters of a function, which names of predictors cannot all be.
    instructions = {f"instruction_{place}": each for place, each in enumerate(variables)}
    shown = Variable(
        asked_text(example), requires_grad=False, role_description="the input of the program"
    )
    answer = run.forward({"input": shown, **instructions}, "the answer of the program")
    return judge.forward({"answer": answer}, "the judgement of the answer")


def _engine(lm: Any) -> Any:
    """The reflection LM, as TextGrad asks one."""
    from textgrad.engine import EngineLM  # noqa: PLC0415

    class Engine(EngineLM):  # type: ignore[misc]  # TextGrad is untyped here
        model_string = "the reflection model"

        def generate(self, prompt: Any, system_prompt: str | None = None, **settings: Any) -> str:
            del settings
            system = {"role": "system", "content": system_prompt or self.system_prompt}
            return reply_text(lm(messages=[system, {"role": "user", "content": prompt}])[0])

        def __call__(self, prompt: Any, system_prompt: str | None = None, **settings: Any) -> str:
            return self.generate(prompt, system_prompt, **settings)

    return Engine()
