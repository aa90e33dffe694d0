"""MATH: the program is code, and answers are compared as mathematics."""

import dspy
import pytest

pytest.importorskip("math_verify", reason="needs the package math-verify of the extra tasks")
if not hasattr(dspy, "Flex"):
    pytest.skip("this DSPy has no dspy.Flex", allow_module_level=True)

from task_trials import UNREADABLE, checked_shape, from_folder, hub_of, judged, run
from tasks import load

from dspy_gepa.program.program import components_of

ROWS = [
    {"problem": f"Half of {n}?", "solution": rf"It is $\boxed{{\frac{{{n}}}{{2}}}}$.", "level": "1"}
    for n in (1, 3, 5)
]


@pytest.fixture
def task(tmp_path):
    """The task over three problems."""
    return from_folder(tmp_path, "math", {"math/algebra.jsonl": ROWS})


def test_the_answer_is_in_the_box(task):
    """The gold answer is what the solution's last box holds."""
    assert [split[0].answer for split in (task.train, task.validation, task.test)] == [
        r"\frac{1}{2}",
        r"\frac{3}{2}",
        r"\frac{5}{2}",
    ]


def test_the_source_is_the_component(task):
    """Our search rewrites the program's source, and nothing else."""
    components = components_of(task.program)
    assert len(components) == 1
    assert "class " in next(iter(components.values()))
    checked_shape(task)


def test_the_program_answers(task):
    """As given it asks one predictor; here its code runs without a sandbox, and without Deno."""
    primitives = pytest.importorskip("dspy.primitives")
    if not hasattr(primitives, "LocalInterpreter"):
        pytest.skip("code runs without Deno from DSPy 3.4 on")
    with dspy.context(interpreter_factory=primitives.LocalInterpreter):
        prediction, _ = run(task, task.train[0], {"answer": "0.5"})
    assert task.metric(task.train[0], prediction).score == 1


@pytest.mark.parametrize(
    "answer", ["0.5", "1/2", "$\\frac12$", "x = 1/2", "\\boxed{\\dfrac{1}{2}}"]
)
def test_right_answers_in_many_forms(task, answer):
    """Equal is equal, however it is written."""
    assert judged(task, task.train[0], answer=answer)[0] == 1


@pytest.mark.parametrize(
    "answer", ["2", "-1/2", "9^{9^{9^{9}}}", "10^{1000000}", "99999!", "x" * 9999]
)
def test_wrong_answers_and_those_without_end(task, answer):
    """The worked solution is told; what could not be computed in a lifetime is not computed."""
    score, feedback = judged(task, task.train[0], answer=answer)
    assert score == 0
    assert "A worked solution: It is" in feedback


@pytest.mark.parametrize("answer", UNREADABLE)
def test_unreadable_answers(task, answer):
    """No point, no crash, and the right answer is told."""
    score, feedback = judged(task, task.train[0], answer=answer)
    assert score == 0
    assert r"The right answer is \frac{1}{2}." in feedback


def test_the_same_task_from_the_hub(task, monkeypatch):
    """The hub's rows give the same task; rows without a box are left out."""
    rows = [*ROWS, {"problem": "?", "solution": "none"}]
    asked = hub_of(monkeypatch, {"DigitalLearningGmbH/MATH-lighteval": rows})
    assert load("math").origin.digest == task.origin.digest
    assert asked[0]["config"] == "algebra"
