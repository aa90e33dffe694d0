"""One change of syntax in a source: where it can be made, what it makes, and how it is undone.

Every place is known by its kind and position, so that a list of changes holds no foreign code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Change", "changes_in", "function_at", "functions_in", "lines_in"]

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "+"),
}
_BOOLEAN: dict[type[ast.boolop], tuple[str, str]] = {ast.And: ("and", "or"), ast.Or: ("or", "and")}


@dataclass(frozen=True)
class Change:
    """One change that can be made in a source."""

    kind: str
    function: str
    """The function that it is in, with the classes and functions around it: `Cart.total`."""
    line: int
    end_line: int
    column: int
    """In bytes, as the syntax tree counts them."""
    start: int
    """Where it begins, in bytes."""
    right: str
    """What stands there."""
    wrong: str
    """What the change puts there."""

    def made(self, source: str) -> str:
        """The source with the change."""
        return self._replaced(source, self.right, self.wrong)

    def undone(self, source: str) -> str:
        """The source as it was before the change."""
        return self._replaced(source, self.wrong, self.right)

    def _replaced(self, source: str, old: str, new: str) -> str:
        whole, end = source.encode(), self.start + len(old.encode())
        if whole[self.start : end] != old.encode():
            raise ValueError(f"Line {self.line} does not hold {old!r} where the change would be.")
        return (whole[: self.start] + new.encode() + whole[end:]).decode()


def changes_in(source: str) -> list[Change]:
    """Every change that can be made inside a function, in the order of the text."""
    found = _Finder(source)
    found.visit(ast.parse(source))
    return sorted(found.changes, key=_position)


def _position(change: Change) -> tuple[int, str]:
    return change.start, change.kind


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.changes: list[Change] = []
        self._source = source.encode()
        lines = self._source.splitlines(keepends=True)
        self._begins = [sum(map(len, lines[:at])) for at in range(len(lines) + 1)]
        self._names: list[str] = []
        self._is_in_function = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Look at the body only: what stands in decorators and annotations is no behavior."""
        was_in, self._is_in_function = self._is_in_function, True
        self._inside(node.name, node.body)
        self._is_in_function = was_in

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Look at the body."""
        self._inside(node.name, node.body)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Nothing: positions inside of it differ between versions of Python."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Look at the value only."""
        if node.value is not None:
            self.visit(node.value)

    def generic_visit(self, node: ast.AST) -> None:
        """Note what can be changed here, and go on."""
        if self._is_in_function:
            for kind, start, end, wrong in self._possible(node):
                self._note(kind, start, end, wrong)
        super().generic_visit(node)

    def _inside(self, name: str, body: list[ast.stmt]) -> None:
        self._names.append(name)
        for statement in body:
            self.visit(statement)
        self._names.pop()

    def _possible(self, node: ast.AST) -> Iterator[tuple[str, int, int, str]]:
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            symbols = _COMPARISONS[type(node.ops[0])]
            yield from self._operator("comparison", node.left, node.comparators[0], symbols)
        elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            yield from self._operator(
                "arithmetic", node.left, node.right, _ARITHMETIC[type(node.op)]
            )
        elif isinstance(node, ast.BoolOp):
            yield from self._operator("boolean", *node.values[:2], _BOOLEAN[type(node.op)])
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            wrong = not node.value if isinstance(node.value, bool) else node.value + 1
            yield "constant", *self._span(node), repr(wrong)
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            start, end = self._span(node.test)
            yield "negated condition", start, end, f"not ({self._text(start, end)})"
        elif isinstance(node, ast.Call) and len(node.args) >= 2:
            yield from self._swapped(*node.args[:2])
        elif isinstance(node, ast.Return) and node.value is not None:
            yield "returned None", *self._span(node.value), "None"

    def _operator(
        self, kind: str, left: ast.expr, right: ast.expr, symbols: tuple[str, str]
    ) -> Iterator[tuple[str, int, int, str]]:
        """The operator between two operands, where nothing but space and brackets is beside it."""
        start, end = self._span(left)[1], self._span(right)[0]
        if match := re.fullmatch(rf"([\s)]*){_pattern(symbols[0])}[\s(]*", self._text(start, end)):
            begin = start + len(match[1].encode())
            yield kind, begin, begin + len(match[2].encode()), symbols[1]

    def _swapped(self, first: ast.expr, second: ast.expr) -> Iterator[tuple[str, int, int, str]]:
        if isinstance(first, ast.Starred) or isinstance(second, ast.Starred):
            return
        (start, first_end), (second_start, end) = self._span(first), self._span(second)
        between = self._text(first_end, second_start)
        if between.strip() == ",":
            wrong = self._text(second_start, end) + between + self._text(start, first_end)
            yield "swapped arguments", start, end, wrong

    def _note(self, kind: str, start: int, end: int, wrong: str) -> None:
        line = self._source.count(b"\n", 0, start) + 1
        self.changes.append(
            Change(
                kind=kind,
                function=".".join(self._names),
                line=line,
                end_line=line + self._source.count(b"\n", start, end),
                column=start - self._begins[line - 1],
                start=start,
                right=self._text(start, end),
                wrong=wrong,
            )
        )

    def _span(self, node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._begins[node.lineno - 1] + node.col_offset,
            self._begins[node.end_lineno - 1] + node.end_col_offset,
        )

    def _text(self, start: int, end: int) -> str:
        return self._source[start:end].decode()


def _pattern(symbol: str) -> str:
    return "(" + r"\s+".join(map(re.escape, symbol.split())) + ")"


def lines_in(source: str) -> list[str]:
    """The lines of a source, as Python counts them: a form feed, for one, ends none."""
    return source.removesuffix("\n").split("\n") if source else []


def functions_in(source: str) -> dict[str, tuple[int, int]]:
    """The functions of a source, by name, with their first and last line."""
    found: dict[str, tuple[int, int]] = {}

    def look(node: ast.AST, around: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = around
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{around}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
                    # Of a name that is given twice, the last one holds.
                    found[name] = (first, child.end_lineno or child.lineno)
            look(child, name)

    look(ast.parse(source), "")
    return found


def function_at(source: str, line: int) -> str:
    """The innermost function that holds a line; empty where none does."""
    try:
        functions = functions_in(source)
    except SyntaxError:
        return ""
    around = [
        (last - first, name) for name, (first, last) in functions.items() if first <= line <= last
    ]
    return min(around)[1] if around else ""
