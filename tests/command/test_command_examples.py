"""Data sets that a config names: what is in them arrives as it is."""

import csv
import json

import pytest

from dspy_gepa.command.config_file import read_config
from dspy_gepa.command.examples import as_examples


def read(folder, name, inputs):
    """The fields of the examples of this set, and what their inputs are."""
    (folder / "c.json").write_text(json.dumps({"inputs": inputs}))
    examples = as_examples(read_config(folder / "c.json", folder), "trainset", name)
    assert all(set(each.inputs().keys()) == set(inputs) for each in examples)
    return [dict(each.items()) for each in examples]


@pytest.mark.parametrize("field", ["base", "self", "kwargs", "items", "question", ""])
def test_a_field_may_have_any_name(tmp_path, field):
    """Also that of an argument or of a method of DSPy's examples."""
    (tmp_path / "a.csv").write_text(f"{field},answer\n7,yes\n")
    assert read(tmp_path, "a.csv", [field]) == [{field: "7", "answer": "yes"}]


@pytest.mark.parametrize(
    ("written", "cells"),
    [
        ("a,b\n1,2\n", ("1", "2")),
        ("a,b\r1,2\r", ("1", "2")),
        ("\ufeffa,b\n1,2", ("1", "2")),
        ("a,b\n\n1,2\n\n", ("1", "2")),
        ('a,b\n"1\n, ""x""",2\n', ('1\n, "x"', "2")),
        ("a,b\n1,\n", ("1", "")),
        ("a,b\n 1 ,2\n", (" 1 ", "2")),
        ("a,b\n1\u2028,2\n", ("1\u2028", "2")),
        (f"a,b\n{'x' * 200_000},2\n", ("x" * 200_000, "2")),
    ],
)
def test_cells_of_a_table(tmp_path, written, cells):
    """Whatever ends its lines, with a mark at its beginning, and however long a cell is."""
    limit = csv.field_size_limit()
    (tmp_path / "a.csv").write_text(written, "utf-8", newline="")
    assert read(tmp_path, "a.csv", ["a"]) == [dict(zip("ab", cells, strict=True))]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    "made",
    [
        "[*ROWS]",
        "tuple(ROWS)",
        "iter(ROWS)",
        "lambda: [*ROWS]",
        "dict(enumerate(ROWS)).values()",
        "numpy.array(ROWS, dtype=object)",
        "type('Places', (), {'__getitem__': lambda self, place: ROWS[place]})()",
        "type('Rows', (), {'__iter__': lambda self: iter(ROWS)})",
    ],
)
def test_rows_that_code_makes(tmp_path, made):
    """A list, a tuple, a generator, another kind of data set, or a function that returns one."""
    # Under a name of its own: a module stays in the process.
    name = f"{tmp_path.name}.py"
    (tmp_path / name).write_text(f"import numpy\n\nROWS = [{{'a': 1, 'b': 2}}]\nfound = {made}\n")
    assert read(tmp_path, f"{name}:found", ["a"]) == [{"a": 1, "b": 2}]
