"""How the agent searches the code: a protocol, a search of our own, and WarpGrep as a service."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import dspy

from coding_agent.changes import lines_in

__all__ = ["PatternSearch", "Search", "SearchFailed", "WarpGrep"]

_MOST_HITS = 40
_MOST_CHARACTERS = 160
"""Of a line that is shown."""
_TURNS, _LISTED_LINES, _READ_LINES = 6, 200, 800
"""What the hosted search may take, as its vendor sets it."""


class SearchFailed(RuntimeError):
    """A service did not come to a result."""


class Search(Protocol):
    """Finds places in the code."""

    def search(self, root: Path, query: str) -> str:
        """What was found below a folder, in words for a language model."""
        ...


class Hit(NamedTuple):
    """A line that was found."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text[:_MOST_CHARACTERS]}"


@dataclass(frozen=True)
class PatternSearch:
    """Lines of Python files that a regular expression matches; what is none is taken literally."""

    most_hits: int = _MOST_HITS

    def search(self, root: Path, query: str) -> str:
        """File, number and text of each line."""
        if not query.strip():
            return "The query is empty. Give a name or a regular expression."
        hits = list(hits_of(root, query))
        if not hits:
            return f"No line matches {query!r}. Try one name, or a shorter regular expression."
        shown = [str(each) for each in hits[: self.most_hits]]
        if left_out := len(hits) - len(shown):
            shown.append(f"... and {left_out} more lines; a longer query finds fewer.")
        return "\n".join(shown)


def hits_of(root: Path, pattern: str, *, within: Path | None = None, glob: str = "") -> list[Hit]:
    """The lines below a folder, or of a file, that match."""
    try:
        expression = re.compile(pattern)
    except re.error:
        expression = re.compile(re.escape(pattern))
    return [
        Hit(str(path.relative_to(root)), number, line.strip())
        for path in _sources(root if within is None else within)
        if not glob or fnmatch.fnmatch(path.name, glob) or path.relative_to(root).match(glob)
        for number, line in enumerate(lines_in(path.read_text("utf-8", "replace")), 1)
        if expression.search(line)
    ]


def _sources(within: Path) -> Iterator[Path]:
    if within.is_file():
        yield within
    else:
        yield from sorted(within.rglob("*.py"))


@dataclass(frozen=True)
class WarpGrep:
    """A hosted model that searches in turns of its own, by tools that are carried out here.

    It has its tools built in: they are not sent. Its tokens are counted like those of all models
    that DSPy asks. Nothing outside of the folder is read.
    """

    lm: dspy.BaseLM

    @classmethod
    def at(cls, api_base: str, api_key: str, model: str = "morph-warp-grep-v2.1") -> WarpGrep:
        """The service at this address."""
        settings = {"api_base": api_base, "api_key": api_key, "temperature": 0.0, "cache": False}
        return cls(dspy.LM(f"openai/{model}", **settings))

    def search(self, root: Path, query: str) -> str:
        """The lines that the service says are to the point.

        Raises:
            SearchFailed: it named none within its turns.
        """
        messages: list[dict[str, Any]] = [{"role": "user", "content": _question(root, query)}]
        for turn in range(1, _TURNS + 1):
            reply = self.lm(messages=messages)[0]
            calls = [_call(each) for each in _calls_of(reply)]
            if not calls:
                said = reply if isinstance(reply, str) else reply.get("text")
                raise SearchFailed(f"The search service called no tool but said: {said!r}.")
            for call in calls:
                if call["name"] == "finish":
                    return self._found(root, str(call["arguments"].get("files", "")))
            messages.append(_said(calls))
            messages += [
                {
                    "role": "tool",
                    "tool_call_id": each["id"],
                    "content": self._carried_out(root, each),
                }
                for each in calls
            ]
            left = _TURNS - turn
            messages.append({"role": "user", "content": f"You have {left} of {_TURNS} turns left."})
        raise SearchFailed(f"The search service named no place within {_TURNS} turns.")

    def _carried_out(self, root: Path, call: Mapping[str, Any]) -> str:
        arguments = call["arguments"]
        path = _inside(root, str(arguments.get("path", ".")))
        if path is None:
            return "There is no such path in the repository."
        if call["name"] == "read":
            return "\n".join(_lines(path, str(arguments.get("lines", "*")), _READ_LINES))
        if call["name"] == "grep_search":
            glob = str(arguments.get("glob") or "")
            hits = hits_of(root, str(arguments.get("pattern", "")), within=path, glob=glob)
            listed = [str(each) for each in hits]
        elif call["name"] == "list_directory":
            listed = [str(each) for each in _tree(path, 2)]
        elif call["name"] == "glob":
            pattern = str(arguments.get("pattern") or "*")
            listed = [str(each) for each in _tree(path, 99) if each.match(pattern)]
        else:
            return f"There is no tool {call['name']}."
        kept = listed[:_LISTED_LINES]
        if len(listed) > len(kept):
            kept.append(f"... {len(listed) - len(kept)} more lines")
        return "\n".join(kept) or "Nothing was found."

    def _found(self, root: Path, files: str) -> str:
        """The lines of a list such as `a.py:1-20,30-40` and `b.py:*`, one file a line."""
        parts = []
        for named in filter(str.strip, files.splitlines()):
            name, _, lines = named.strip().rpartition(":") if ":" in named else (named, "", "*")
            path = _inside(root, name)
            if path is None or not path.is_file():
                parts.append(f"{name}: there is no such file.")
            else:
                shown = _lines(path, lines, _READ_LINES)
                parts.append("\n".join([str(path.relative_to(root)), *shown]))
        return "\n\n".join(parts) or "Nothing was found."


def _question(root: Path, query: str) -> str:
    tree = "\n".join(map(str, [root, *_tree(root, 2)]))
    return (
        f"<repo_structure>\n{tree}\n</repo_structure>\n\n<search_string>\n{query}\n</search_string>"
    )


def _tree(folder: Path, depth: int) -> list[Path]:
    """What lies below a folder, to a depth."""
    at = len(folder.parts)
    return [each for each in sorted(folder.rglob("*")) if len(each.parts) - at <= depth]


def _inside(root: Path, named: str) -> Path | None:
    """A path that lies in the folder; None for any other."""
    path = (root / named).resolve()
    return path if path.exists() and path.is_relative_to(root.resolve()) else None


def _lines(path: Path, ranges: str, most: int) -> list[str]:
    """The lines of a file in these ranges, with their numbers."""
    if not path.is_file():
        return ["There is no such file."]
    lines = lines_in(path.read_text("utf-8", "replace"))
    wanted: list[int] = []
    for part in ranges.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal():
            end = int(last) if last.isdecimal() else int(first)
            wanted += range(max(int(first), 1), min(end, len(lines)) + 1)
        else:
            wanted += range(1, len(lines) + 1)
    return [f"{number}|{lines[number - 1]}" for number in wanted[:most]]


def _calls_of(reply: Any) -> list[Any]:
    return [] if isinstance(reply, str) else list(reply.get("tool_calls") or ())


def _call(given: Any) -> dict[str, Any]:
    """A tool call, which DSPy hands over as a dict or as an object, by version."""

    def get(value: Any, name: str) -> Any:
        return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)

    function = get(given, "function")
    try:
        arguments = json.loads(get(function, "arguments") or "{}")
    except json.JSONDecodeError:
        arguments = {}
    arguments = arguments if isinstance(arguments, dict) else {}
    return {"id": get(given, "id"), "name": get(function, "name"), "arguments": arguments}


def _said(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The service's own message, as it has to be sent back."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": each["id"],
                "type": "function",
                "function": {"name": each["name"], "arguments": json.dumps(each["arguments"])},
            }
            for each in calls
        ],
    }
