"""What the tests of the tasks share: rows in a folder or on a hub, and programs that are run."""

import gzip
import inspect
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import dspy
import pytest
from dspy.utils import DummyLM

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from tasks import DataNotFound, MissingPackage, Source, load

from dspy_gepa.program.program import components_of


def kept(folder, name, rows):
    """The file of a task, written into a folder as people keep it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    is_lines = ".jsonl" in path.suffixes
    text = "\n".join(map(json.dumps, rows)) if is_lines else json.dumps(rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def from_folder(folder, name, files, seed=0):
    """The task over these files: the name of each to its rows."""
    for file, rows in files.items():
        kept(folder, file, rows)
    return load(name, Source(folder), seed)


def hub_of(monkeypatch, tables):
    """The package `datasets`, with a hub that has these tables, by name and split or files."""
    asked = []

    def load_dataset(name, config=None, *, split=None, **settings):
        asked.append({"name": name, "config": config, "split": split, **settings})
        if name not in tables:
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return tables[name]

    monkeypatch.delenv("DSPY_GEPA_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return asked


def run(task, example, *replies):
    """The program's prediction for an example; the simulated model gives these replies in turn."""
    lm = DummyLM(list(replies))
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        return task.program(**example.inputs()), lm


def judged(task, gold, **answer):
    """The score and the feedback for an answer."""
    verdict = task.metric(gold, dspy.Prediction(**answer))
    assert 0 <= verdict.score <= 1
    return verdict.score, verdict.feedback


UNREADABLE = (None, "", "   ", "???", 17, ["a", "list"], {"a": "dict"}, "\ud83d")
"""What a program may hand over in place of an answer."""


def checked_shape(task):
    """Assert what holds for every task: three splits, inputs, a metric of five arguments."""
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    assert task.origin.rows == {name: len(examples) for name, examples in splits.items()}
    assert all(splits.values())
    assert all(example.inputs().keys() for examples in splits.values() for example in examples)
    names = list(inspect.signature(task.metric).parameters)
    assert names == ["gold", "pred", "trace", "pred_name", "pred_trace"]
    assert components_of(task.program)
    gold = task.train[0]
    assert task.metric(gold, dspy.Prediction()).score <= 1, "a prediction without any field"


def error_of(name, monkeypatch, folder):
    """What is said where the rows of a task are neither in a folder nor on the hub."""
    monkeypatch.setenv("DSPY_GEPA_DATA", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "datasets", None)
    try:
        load(name)
    except MissingPackage as missing:
        pytest.skip(str(missing))
    except DataNotFound as error:
        return str(error)
    raise AssertionError("rows were found, of which nobody said where they are from")
