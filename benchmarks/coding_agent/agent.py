"""The agent, as `dspy.ReAct` with tools, and as a fixed flow for small models.

Every rollout has a copy of the package of its own, made in `forward`, which the tools reach by a
context variable. What happened is in the prediction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import dspy

from coding_agent.applying import Apply, MergeApply, block
from coding_agent.changes import functions_in, lines_in
from coding_agent.packages import Bug, is_test
from coding_agent.searching import PatternSearch, Search
from coding_agent.suite import Timing
from coding_agent.workspace import WORKSPACE, Workspace, workspace_of

__all__ = ["FLOWS", "CodingAgent", "FixedFlow"]


def search_code(query: str) -> str:
    """Search the package for a name or regular expression."""
    return WORKSPACE.get().search_code(query)


def read_file(path: str, first_line: int = 1, last_line: int = 0) -> str:
    """Read lines of a file; by default from its beginning."""
    return WORKSPACE.get().read_file(path, first_line, last_line)


def edit_file(path: str, instruction: str, update: str) -> str:
    """Edit a file. `update` is a block: a line <<<<<<< SEARCH, the old lines, a line =======, the new lines, a line >>>>>>> REPLACE; or the changed lines between lines that say # ... existing code ... `instruction` says in one sentence what is changed."""  # noqa: E501 - a tool's description is one line in the prompt
    return WORKSPACE.get().edit_file(path, instruction, update)


def run_tests() -> str:
    """Run the tests of the package."""
    return WORKSPACE.get().run_tests()


class _LastThought(dspy.Module):  # type: ignore[misc]  # DSPy is untyped here
    """Stands in the place of the last call of ReAct: nobody judges the summary."""

    def forward(self, trajectory: str, **inputs: Any) -> dspy.Prediction:
        """The last thought, without asking a model."""
        del inputs
        thoughts = re.findall(r"\[\[ ## thought_\d+ ## \]\]\n(.*)", trajectory)
        return dspy.Prediction(summary=thoughts[-1] if thoughts else "")


class CodingAgent(dspy.Module):  # type: ignore[misc]  # DSPy is untyped here
    """Finds and mends a bug with tools.

    Args:
        search: Finds places in the code.
        apply: Puts edits into files.
        timing: What a run of the tests may take.
        most_steps: The most calls of tools.
    """

    def __init__(
        self,
        search: Search | None = None,
        apply: Apply | None = None,
        timing: Timing | None = None,
        most_steps: int = 8,
    ) -> None:
        super().__init__()
        self._equipment = (search or PatternSearch(), apply or MergeApply(), timing or Timing())
        task = dspy.Signature("issue -> summary", "Mend the fault that the issue tells of.")
        tools = [search_code, read_file, edit_file, run_tests]
        self.solve = dspy.ReAct(task, tools=tools, max_iters=most_steps)
        self.solve.extract = _LastThought()

    def forward(self, issue: str, bug: Mapping[str, Any]) -> dspy.Prediction:
        """What the agent did about the bug, and what became of the tests."""
        with workspace_of(Bug.of(bug), *self._equipment) as workspace:
            solved = self.solve(issue=issue)
            steps = sum(name.startswith("tool_name_") for name in solved.trajectory)
            return dspy.Prediction(summary=solved.summary, steps=steps, **workspace.account())


class Locate(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Name the function that has the fault."""

    issue: str = dspy.InputField()
    test_output: str = dspy.InputField()
    functions: str = dspy.InputField(desc="those that may have it")
    attempts: str = dspy.InputField(desc="what was tried and did not help")
    function: str = dspy.OutputField(desc="one of the functions, as it is written there")


class Repair(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Correct the one line of the function that has the fault."""

    test_output: str = dspy.InputField()
    code: str = dspy.InputField()
    attempts: str = dspy.InputField(desc="what was tried and did not help")
    old_line: str = dspy.OutputField(desc="a line of the code, copied")
    new_line: str = dspy.OutputField(desc="the line in its place")


class FixedFlow(dspy.Module):  # type: ignore[misc]  # DSPy is untyped here
    """Locate, edit, test, at most three times: for models that cannot use tools.

    Args:
        search: Not used: what may have the fault is chosen by the names in the tests' output.
        apply: Puts edits into files.
        timing: What a run of the tests may take.
        most_steps: The most rounds.
    """

    def __init__(
        self,
        search: Search | None = None,
        apply: Apply | None = None,
        timing: Timing | None = None,
        most_steps: int = 3,
    ) -> None:
        super().__init__()
        self._equipment = (search or PatternSearch(), apply or MergeApply(), timing or Timing())
        self._rounds = most_steps
        self.locate = dspy.Predict(Locate)
        self.repair = dspy.Predict(Repair)

    def forward(self, issue: str, bug: Mapping[str, Any]) -> dspy.Prediction:
        """What was tried about the bug, and what became of the tests."""
        with workspace_of(Bug.of(bug), *self._equipment) as workspace:
            output = workspace.run_tests()
            attempts: list[str] = []
            steps = 0
            for _ in range(self._rounds):
                workspace.undo()
                tried = "\n".join(attempts) or "nothing yet"
                steps += self._tried(workspace, issue, output, tried, attempts)
                if attempts[-1] == _SOLVED:
                    break
            return dspy.Prediction(summary=attempts[-1], steps=steps, **workspace.account())

    def _tried(
        self, workspace: Workspace, issue: str, output: str, tried: str, attempts: list[str]
    ) -> int:
        """One round; says in `attempts` what came of it, and returns its model calls."""
        functions = _candidates(workspace, output)
        listed = "\n".join(functions)
        located = self.locate(issue=issue, test_output=output, functions=listed, attempts=tried)
        chosen = _named(str(located.function), functions)
        if chosen is None:
            attempts.append(f"There is no function {located.function!r} in the list.")
            return 1
        file, first, last = functions[chosen]
        workspace.read_file(file, first, last)
        lines = lines_in((workspace.root / file).read_text("utf-8"))[first - 1 : last]
        code = "\n".join(lines)
        fixed = self.repair(test_output=output, code=code, attempts=tried)
        what = f"In {chosen}, {str(fixed.old_line).strip()!r} became {fixed.new_line!r}"
        update = _line_update(code, str(fixed.old_line), str(fixed.new_line))
        answer = workspace.edit_file(file, what, update)
        if workspace.refused and answer.endswith(workspace.refused[-1]):
            attempts.append(f"{what}: {answer}")
            return 2
        verdict = workspace.run_tests()
        attempts.append(_SOLVED if verdict.startswith("All ") else f"{what}: {verdict[:400]}")
        return 2


_SOLVED = "All tests pass."
_MOST_CANDIDATES = 40


def _candidates(workspace: Workspace, output: str) -> dict[str, tuple[str, int, int]]:
    """The functions whose names are in the tests' output, with file and lines; all if none is."""
    found: dict[str, tuple[str, int, int]] = {}
    for path in sorted(workspace.root.rglob("*.py")):
        file = str(path.relative_to(workspace.root))
        if not is_test(file):
            for name, (first, last) in functions_in(path.read_text("utf-8")).items():
                found[f"{file}: {name}"] = (file, first, last)
    words = set(re.findall(r"[A-Za-z]+", output.lower().replace("_", " ")))
    whole = set(re.findall(r"\w+", output))

    def likeness(named: str) -> tuple[bool, int]:
        short = named.rpartition(": ")[2].rpartition(".")[2]
        parts = set(short.lower().strip("_").split("_"))
        return short not in whole, -len(parts & words)

    return dict(sorted(found.items(), key=lambda item: likeness(item[0]))[:_MOST_CANDIDATES])


def _named(answer: str, functions: Mapping[str, Any]) -> str | None:
    """The function that an answer names; None where that is not sure."""
    answer = answer.strip().strip("`\"'").removesuffix("()")
    if answer in functions:
        return answer
    same = [
        each
        for each in functions
        if answer in (each.rpartition(": ")[2], each.rpartition(": ")[2].rpartition(".")[2])
    ]
    return same[0] if same else None


def _line_update(code: str, old: str, new: str) -> str:
    """A block with the whole function: its lines may stand in others as well."""
    lines = lines_in(code)
    same = [at for at, line in enumerate(lines) if line.strip() == old.strip()]
    if len(same) != 1 or not old.strip():
        return block(old, new)
    at = same[0]
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    return block(code, "\n".join([*lines[:at], indent + new.strip(), *lines[at + 1 :]]))


FLOWS: dict[str, Any] = {"react": CodingAgent, "fixed": FixedFlow}
