"""CAPO of promptolution on a DSPy program of one component.

It evolves the instruction together with few-shot examples in its text, and reads scores, no
feedback. Candidates race on blocks of the validation set; examples are taken from the training set.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import dspy
from answers import reply_text

from rivals.components import asked_text, texts_of, with_texts
from rivals.contest import Contest, OverLimit

__all__ = ["compiled"]

_POPULATION = 4
_CROSSOVERS = 2
_BLOCKS = 3
"""Into so many the validation set is cut."""


class _Judged(str):
    """What the program said, with its score; equal to the right answer's text where it is right."""

    __slots__ = ("score",)
    score: float


def compiled(contest: Contest) -> dspy.Module:
    """Generations until the metric refuses; then the best of the last population."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415 - promptolution brings it
    from promptolution.optimizers.capo import CAPO  # noqa: PLC0415
    from promptolution.tasks.reward_tasks import RewardTask  # noqa: PLC0415
    from promptolution.utils.prompt_creation import create_prompt_variation  # noqa: PLC0415

    random.seed(contest.seed)  # CAPO draws from the modules' own generators
    np.random.seed(contest.seed)  # noqa: NPY002
    (instruction,) = texts_of(contest.student()).values()
    task = RewardTask(
        pd.DataFrame(_rows(contest.task.validation)),
        lambda said: said.score,
        y_column="y",
        task_description=instruction,
        n_subsamples=max(1, len(contest.task.validation) // _BLOCKS),
        seed=contest.seed,
    )
    llm = _asker(contest.reflection_lm)
    variations = create_prompt_variation([instruction] * (_POPULATION - 1), llm)
    optimizer = CAPO(
        _predictor(contest, llm),
        task,
        llm,
        initial_prompts=[instruction, *variations],
        crossovers_per_iter=_CROSSOVERS,
        upper_shots=min(5, len(contest.task.train)),
        df_few_shots=pd.DataFrame(_rows(contest.task.train)),
    )
    try:
        optimizer.optimize(contest.budget)
    except OverLimit:
        if not optimizer.scores:
            raise
    return _instructed(contest, str(optimizer.prompts[0]))


def _rows(examples: Sequence[dspy.Example]) -> list[dict[str, str]]:
    return [{"x": asked_text(each), "y": _answer(each)} for each in examples]


def _answer(example: dspy.Example) -> str:
    return "\n".join(f"{name}: {value}" for name, value in example.labels().items())


def _instructed(contest: Contest, text: str) -> dspy.Module:
    (name,) = texts_of(contest.task.program)
    return with_texts(contest.student(), {name: text})


def _predictor(contest: Contest, llm: Any) -> Any:
    """Runs the program with a prompt as its instruction."""
    from promptolution.predictors.base_predictor import BasePredictor  # noqa: PLC0415

    examples = {asked_text(each): each for each in contest.both}

    class Predictor(BasePredictor):  # type: ignore[misc]  # promptolution is untyped here
        def predict(
            self, prompts: list[str], xs: list[str], system_prompts: Any = None
        ) -> tuple[list[str], list[str]]:
            del system_prompts
            said = [self._said(*each) for each in zip(prompts, xs, strict=True)]
            pairs = zip(xs, said, strict=True)
            return [each[0] for each in said], [f"{x}\n{answer}" for x, (_, answer) in pairs]

        def _said(self, prompt: str, x: str) -> tuple[_Judged, str]:
            ran = contest.rollout(_instructed(contest, prompt), examples[x])
            judged = _Judged(_answer(examples[x]) if ran.score >= 1 else ran.answer)
            judged.score = ran.score
            return judged, ran.answer

        def _extract_preds(self, preds: list[str]) -> list[str]:
            return preds

    return Predictor(llm)


def _asker(lm: Any) -> Any:
    """The reflection LM, as promptolution asks one."""
    from promptolution.llms.base_llm import BaseLLM  # noqa: PLC0415

    class Asker(BaseLLM):  # type: ignore[misc]  # promptolution is untyped here
        def _get_response(self, prompts: list[str], system_prompts: list[str]) -> list[str]:
            return [
                reply_text(
                    lm(
                        messages=[
                            {"role": "system", "content": system},
                            {"role": "user", "content": prompt},
                        ]
                    )[0]
                )
                for prompt, system in zip(prompts, system_prompts, strict=True)
            ]

    return Asker()
