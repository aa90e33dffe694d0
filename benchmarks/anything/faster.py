"""A faster Python function with the same results.

The artifact is a module with `solve`. A wrong result is a failure and no score; the score is how
many times faster than the original it is, by the CPU time of runs that take turns, the best of
several. The profile says how often each line ran, which is what the model goes by.
"""

from __future__ import annotations

import ast
import hashlib
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["OBJECTIVE", "ORIGINAL", "REFERENCE", "evaluate", "model"]

OBJECTIVE = "Make solve(words) faster. It must return the very same result for every list of words."
ORIGINAL = """\
def limit_of(n):
    if n < 3:
        return n + 1
    return limit_of(n - 1) + limit_of(n - 2) + limit_of(n - 3)


def solve(words):
    seen = []
    total = 0
    for word in words:
        limit = limit_of(11)
        if word not in seen:
            seen.append(word)
            total += len(word) * 7 % limit
    return total
"""
REFERENCE = """\
def solve(words):
    limit = 927
    return sum(len(word) * 7 % limit for word in set(words))
"""
"""Written by hand."""
_ROUNDS = 3
_MODULE = re.compile(r"(?:^|\n)((?:import|from|@|def) .*?)(?=\n```|\n# |\Z)", re.DOTALL)
_HOT = re.compile(r"^ *(\d+) times: (.*)$", re.MULTILINE)


def evaluate(artifact: str) -> tuple[float, dict[str, str]]:
    """How many times faster than the original, and how often each of its lines ran."""
    solve, original = _solver(artifact), _solver(ORIGINAL)
    for seed in range(4):
        words = _words(seed, 60)
        wanted, found = original(list(words)), solve(list(words))
        if found != wanted:
            raise ValueError(f"solve({words[:4]}...) is {found!r} and must be {wanted!r}")
    words = _words(9, 60)
    times = {name: float("inf") for name in ("original", "artifact")}
    for _ in range(_ROUNDS):
        for name, each in (("original", original), ("artifact", solve)):
            times[name] = min(times[name], _seconds(each, words))
    return times["original"] / times["artifact"], {"Profile": _profile(artifact, words)}


def _solver(source: str) -> Callable[[list[str]], Any]:
    names: dict[str, Any] = {}
    exec(compile(source, "artifact", "exec"), names)  # noqa: S102 - run in a process of its own
    solver: Callable[[list[str]], Any] = names["solve"]
    return solver


def _words(seed: int, count: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices("abc", k=chance.randint(1, 5))) for _ in range(count)]


def _seconds(solve: Callable[[list[str]], Any], words: list[str]) -> float:
    """CPU time of one call, over as many as the clock can tell."""
    calls = 1
    while True:
        begun = time.process_time()
        for _ in range(calls):
            solve(words)
        taken = time.process_time() - begun
        if taken >= 0.002:
            return taken / calls
        calls *= 4


def _profile(source: str, words: list[str]) -> str:
    """The lines that ran most often."""
    counts = Counter[int]()

    def tracing(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != "artifact":
            return None
        if event == "line":
            counts[frame.f_lineno] += 1
        return tracing

    solve = _solver(source)
    sys.settrace(tracing)
    try:
        solve(words)
    finally:
        sys.settrace(None)
    lines = source.splitlines()
    return "\n".join(f"{n} times: {lines[k - 1].strip()}" for k, n in counts.most_common(6))


def model(seed: int, *, blind: bool = False) -> Callable[[str], str]:
    """An honest scripted model: it sees the prompt and knows rewrites that suit any function.

    It takes the rewrite that touches the line that is said to run most often; blind it takes any.
    """
    asked = Counter[str]()

    def answer(prompt: Any) -> str:
        prompt = prompt if isinstance(prompt, str) else str(prompt)
        asked[prompt] += 1
        drawn = hashlib.sha256(f"{seed} {asked[prompt]} {prompt}".encode()).hexdigest()
        chance = random.Random(drawn)
        found = _MODULE.search(prompt)
        source = found[1].strip() if found else ""
        hot = [] if blind else [line for _, line in _HOT.findall(prompt)]
        rewrites = [_memoized, _hoisted, _with_sets, _without_cases]
        chance.shuffle(rewrites)
        texts = [(rewrite(source), rewrite) for rewrite in rewrites]
        changed = [text for text, _ in texts if text and text != source]
        changed.sort(key=lambda text: -sum(line not in text for line in hot[:2]))
        return f"```python\n{changed[0] if changed else source}\n```"

    return answer


def _memoized(source: str) -> str:
    """A cache for functions that call themselves."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            called = [c.func.id for c in ast.walk(node) if _is_call(c)]
            if node.name in called:
                node.decorator_list.append(ast.parse("functools.lru_cache(None)").body[0].value)
    text = ast.unparse(tree)
    return (
        text
        if "import functools" in text or "lru_cache" not in text
        else f"import functools\n{text}"
    )


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def _hoisted(source: str) -> str:
    """What a loop assigns anew each time, before the loop, where nothing in it changes."""
    tree = ast.parse(source)
    for function in [n for n in tree.body if isinstance(n, ast.FunctionDef)]:
        for place, loop in enumerate(function.body):
            if not isinstance(loop, ast.For):
                continue
            stored = {n.id for n in ast.walk(loop) if _is_stored(n)}
            still = [
                s for s in loop.body if isinstance(s, ast.Assign) and not stored & _read(s.value)
            ]
            loop.body = [s for s in loop.body if s not in still] or [ast.Pass()]
            function.body[place:place] = still
            break
    return ast.unparse(tree)


def _is_stored(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _read(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _with_sets(source: str) -> str:
    """Sets for lists that are only appended to and looked through."""
    names = re.findall(r"^ *(\w+) = \[\]$", source, re.MULTILINE)
    for name in names:
        source = re.sub(rf"\b{name} = \[\]", f"{name} = set()", source)
        source = source.replace(f"{name}.append(", f"{name}.add(")
    return source


def _without_cases(source: str) -> str:
    """A condition less: mostly wrong, as a model's ideas may be."""
    tree = ast.parse(source)
    for function in [n for n in tree.body if isinstance(n, ast.FunctionDef)]:
        for loop in [n for n in ast.walk(function) if isinstance(n, ast.For)]:
            loop.body = [
                part for s in loop.body for part in (s.body if isinstance(s, ast.If) else [s])
            ]
    return ast.unparse(tree)
