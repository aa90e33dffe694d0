"""A built program loads where this package does not exist."""

from __future__ import annotations

import json
from pathlib import Path

import dspy
import pytest
from warm_python import ALONE

from dspy_gepa.program.program import build

DEFINITION = """
import dspy

class Answer(dspy.Signature):
    "Answer."
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()

class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.hops = [dspy.ChainOfThought(Answer), dspy.Predict(Answer)]
    def forward(self, question):
        return self.hops[1](question=question)
"""
LOAD_STATE = """
program = Program()
program.load(path)
"""
LOAD_WHOLE = """
import dspy
program = dspy.load(path, allow_pickle=True)
"""
TELL = """
import json
assert not [name for name in sys.modules if name.startswith("dspy_gepa.")]
print(json.dumps({name: p.signature.instructions for name, p in program.named_predictors()}))
"""
CANDIDATE = {"hops[0].predict": "Think:\n- twice", "hops[1]": "Say “ja”."}


def program() -> dspy.Module:
    names = {"__name__": "__main__"}
    exec(DEFINITION, names)
    return names["Program"]()


@pytest.fixture
def loaded(warm_python):
    """The instructions that a process without this package reads from a path."""

    def read(script: str, path: Path) -> dict[str, str]:
        code = f"{ALONE}\npath = {str(path)!r}\n{script}\n{TELL}"
        done = warm_python.run(code, folder=path.parent)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return read


@pytest.mark.parametrize("model", [None, "openai/some-model"])
def test_saved_state_loads_without_this_package(tmp_path, loaded, model):
    """`save("x.json")` here and `load` there give the candidate's texts, model or no model."""
    student = program()
    if model:
        student.set_lm(dspy.LM(model, api_key="secret"))
    build(student, CANDIDATE).save(tmp_path / "program.json")
    written = (tmp_path / "program.json").read_text()
    assert "dspy_gepa" not in written
    assert "secret" not in written
    assert loaded(DEFINITION + LOAD_STATE, tmp_path / "program.json") == CANDIDATE


def test_a_whole_program_loads_without_this_package(tmp_path, loaded):
    """`save(..., save_program=True)` takes nothing of ours along either."""
    build(dspy.ChainOfThought("question -> answer"), {"predict": "Say “ja”."}).save(
        tmp_path / "whole", save_program=True
    )
    assert loaded(LOAD_WHOLE, tmp_path / "whole") == {"predict": "Say “ja”."}
