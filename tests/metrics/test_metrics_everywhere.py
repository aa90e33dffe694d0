"""Every ready-made metric in every place that takes a metric."""

from __future__ import annotations

import dspy
import pydantic
import pytest
from scripted_engine import answer, scripted_lm

from dspy_gepa import GEPA
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.metrics import F1, Classification, ExactMatch, Judge, ValidAgainst, ValidJSON


class Number(pydantic.BaseModel):
    n: int


JUDGE = scripted_lm(answer(reason="Half of it.", score="5"))
METRICS = {
    "ExactMatch": ExactMatch(),
    "F1": F1(),
    "ValidJSON": ValidJSON(),
    "ValidAgainst": ValidAgainst(Number),
    "Classification": Classification(['{"n": 1}', "other"]),
    "Judge": Judge("It is right.", lm=JUDGE, repeats=2),
}
EXAMPLES = [
    dspy.Example(question=f"{number}?", answer='{"n": 1}').with_inputs("question")
    for number in range(3)
]


def reply(prompt):
    """An answer that is wrong, until the instruction is another."""
    asked = "Be right." in prompt
    return answer(answer='{"n": 1}' if asked else "{", new_instruction="Be right.")


@pytest.fixture
def program():
    """A program with one predictor."""
    return dspy.Predict("question -> answer")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_each_is_a_metric_for_dspys_evaluation(metric, program):
    """The scores are added up."""
    with dspy.context(lm=scripted_lm(reply)):
        found = dspy.Evaluate(devset=EXAMPLES, metric=metric, num_threads=1)(program)
    assert found.score == (50.0 if isinstance(metric, Judge) else 0.0)
    assert all(isinstance(scored, Feedback) for _, _, scored in found.results)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("optimizer", [dspy.GEPA, GEPA])
def test_each_is_a_metric_for_both_optimizers(optimizer, metric, program):
    """Scored once a rollout, and shown to the reflection with its feedback."""
    said = []

    def propose(candidate, reflective_dataset, components_to_update):
        said.extend(record["Feedback"] for record in reflective_dataset["self"])
        return {"self": "Be right."}

    given = {"max_metric_calls": 20, "num_threads": 1, "track_stats": True}
    with dspy.context(lm=scripted_lm(reply)):
        made = optimizer(metric, instruction_proposer=propose, reflection_lm=JUDGE, **given)
        best = made.compile(program, trainset=EXAMPLES, valset=EXAMPLES)
    assert set(said) == {metric(EXAMPLES[0], dspy.Prediction(answer="{")).feedback}
    if not isinstance(metric, Judge):
        assert best.signature.instructions == "Be right."
