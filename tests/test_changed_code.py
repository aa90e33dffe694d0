"""A run directory that holds scores of a metric or a program that has changed since."""

import importlib
import linecache
import logging
import os
import subprocess
import sys
from functools import partial

import dspy
import label_task
import pytest

from dspy_gepa import GEPA, optimize_anything
from dspy_gepa.assembly.source import source_digests

METRIC = """
import dspy

def metric(gold, pred, trace=None):
    return float(pred.code == gold.code)

class Judge:
    def __call__(self, gold, pred, trace=None):
        return metric(gold, pred)

    def judged(self, gold, pred, trace=None):
        return metric(gold, pred)

class Labels(dspy.Module):
    def __init__(self):
        super().__init__()
        self.code = dspy.Predict("message -> code")

    def forward(self, message):
        return self.code(message=message)

def length(text):
    return len(text) / 100
"""


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads a module with this source, in place of the one before."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(source):
        (tmp_path / "labels_of_today.py").write_text(source)
        sys.modules.pop("labels_of_today", None)
        importlib.invalidate_caches()
        linecache.checkcache()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return importlib.import_module("labels_of_today")

    return load


def warned(caplog):
    """What was said of changed source."""
    return [each.getMessage() for each in caplog.records if "source" in each.getMessage()]


def compiled(module, folder, metric, **settings):
    with dspy.context(lm=label_task.task_lm()):
        return GEPA(
            metric,
            reflection_lm=label_task.reflection_lm(),
            max_metric_calls=60,
            num_threads=1,
            log_dir=str(folder),
            **settings,
        ).compile(
            module.Labels(), trainset=label_task.examples(8), valset=label_task.examples(16)[8:]
        )


@pytest.mark.parametrize("change", ["metric", "program", None])
def test_it_is_said_that_stored_scores_are_of_another_source(tmp_path, loaded, caplog, change):
    """Each time that the directory is used; it is used all the same, and nothing is said where the
    source is the same or stands elsewhere in its file."""
    module = loaded(METRIC)
    compiled(module, tmp_path / "run", module.metric)
    changed = {
        "metric": METRIC.replace("pred.code == gold.code", "pred.code != gold.code"),
        "program": METRIC.replace("self.code(message=message)", "self.code(message=message + '')"),
        None: "# A comment.\n\n" + METRIC,
    }[change]
    with caplog.at_level(logging.WARNING, logger="dspy.teleprompt.dspy_gepa"):
        for again in (1, 2):
            module = loaded(changed)
            compiled(module, tmp_path / "run", module.metric)
            found = warned(caplog)
            assert len(found) == (again if change else 0)
            assert all(f"source of the {change}" in each for each in found)
            assert all("log_dir" in each for each in found)


def test_an_evaluator_of_a_text_is_told_of_too(tmp_path, loaded, caplog):
    """By the same sentence."""
    for source in (METRIC, METRIC.replace("/ 100", "/ 50")):
        optimize_anything(
            "text",
            evaluator=loaded(source).length,
            max_evals=3,
            log_dir=tmp_path / "run",
            reflection_lm=label_task.reflection_lm(),
        )
    assert "source of the evaluator" in " ".join(warned(caplog))


def test_what_an_objects_class_inherits_counts_too(loaded):
    """The code that is called may stand there alone."""
    heirs = "\n\nclass Heir(Judge):\n    pass\n\nclass Program(Labels):\n    pass\n"
    old = loaded(METRIC + heirs)
    before = source_digests({"metric": old.Heir(), "program": old.Program()})
    changed = METRIC.replace("return metric(gold, pred)", "return 1 - metric(gold, pred)")
    new = loaded(
        changed.replace("self.code(message=message)", "self.code(message=message + '')") + heirs
    )
    after = source_digests({"metric": new.Heir(), "program": new.Program()})
    assert before.keys() == after.keys() == {"metric", "program"}
    assert before["metric"] != after["metric"]
    assert before["program"] != after["program"]


def test_what_runs_has_a_source_whatever_its_form(loaded):
    """A function, a method, an object that is called, what is bound beforehand. Of DSPy's own
    classes nothing is kept, and of what has no source neither."""
    module = loaded(METRIC)
    judge = module.Judge()
    forms = {
        "function": module.metric,
        "object": judge,
        "method": judge.judged,
        "bound": partial(module.metric, trace=None),
        "program": module.Labels(),
    }
    first = source_digests(forms)
    assert first.pop("bound (in what it was made with)")
    assert first.keys() == forms.keys()
    assert first["function"] == first["bound"]
    assert len(set(first.values())) == 4
    made = {}
    exec("def metric(gold, pred): return 1.0", made)
    others = {"DSPy": dspy.Predict("a -> b"), "exec": made["metric"], "built in": len}
    assert source_digests(others) == {}


MADE = """
import functools
import dspy

def plainly(inner):
    def outer(gold, pred, trace=None):
        return inner(gold, pred) / 2
    return outer

def wrapping(inner):
    @functools.wraps(inner)
    def outer(gold, pred, trace=None):
        return inner(gold, pred) / 3
    return outer

def scored(gold, pred):
    return float(pred.code == gold.code)

decorated, wrapped = plainly(scored), wrapping(scored)

def above(threshold, names=("a", "b")):
    def metric(gold, pred, trace=None):
        return float(len(pred.code) > threshold and pred.code in names)
    return metric

closed, bound = above(0.5), functools.partial(scored, pred="x")
nested = plainly(above(3))

def first():
    class Judge:
        def __call__(self, gold, pred, trace=None):
            return 1.0
    return Judge

class Judge:
    def __call__(self, gold, pred, trace=None):
        return 2.0

class Other:
    class Judge:
        level = 7
        def __call__(self, gold, pred, trace=None):
            return 4.0

def program(size):
    class Program(dspy.Module):
        def forward(self, message):
            return message * size
    return Program()

Judges = [Judge]

class Judge:
    def __call__(self, gold, pred, trace=None):
        return 3.0

made = program(5)
early, late = Judges[0](), Judge()
inner, other = first()(), Other.Judge()
"""
FUNCTIONS, OBJECTS = ("decorated", "wrapped", "closed", "bound", "nested"), ("early", "late")
NAMES = (*FUNCTIONS, *OBJECTS, "inner", "other", "made")
CHANGES = {
    "what a decorator wraps": ("pred.code == gold.code", "pred.code != gold.code"),
    "a decorator without wraps": ("inner(gold, pred) / 2", "inner(gold, pred) / 4"),
    "a decorator with wraps": ("inner(gold, pred) / 3", "inner(gold, pred) / 5"),
    "a number": ("above(0.5)", "above(0.6)"),
    "a tuple": ('("a", "b")', '("a", "c")'),
    "what is bound": ('pred="x"', 'pred="y"'),
    "a value within what is wrapped": ("above(3)", "above(4)"),
    "a value of a program": ("program(5)", "program(6)"),
    "the first of one name": ("return 2.0", "return 2.5"),
    "the second of one name": ("return 3.0", "return 3.5"),
    "one in a function": ("return 1.0", "return 1.5"),
    "one in a class": ("return 4.0", "return 4.5"),
    "a comment": ("import functools", "# once more\nimport functools"),
}
NOTICED = {
    "what a decorator wraps": {"decorated", "wrapped", "bound"},
    "a decorator without wraps": {"decorated", "nested"},
    "a decorator with wraps": {"wrapped"},
    "a number": {"closed"},
    "a tuple": {"closed", "nested"},
    "what is bound": {"bound"},
    "a value within what is wrapped": {"nested"},
    "a value of a program": {"made"},
    "the first of one name": {"early"},
    "the second of one name": {"late"},
    "one in a function": {"inner"},
    "one in a class": {"other"},
    "a comment": set(),
}


@pytest.mark.parametrize("change", NOTICED)
def test_what_code_was_made_with_counts_and_nothing_else(loaded, change):
    """Decorators, closed values, classes that share a name in one file."""

    def digests(source):
        module = loaded(source)
        return {name: source_digests({"it": getattr(module, name)}) for name in NAMES}

    before, after = digests(MADE), digests(MADE.replace(*CHANGES[change], 1))
    assert all(before.values())
    changed = {name for name in NAMES if before[name] != after[name]}
    assert changed == NOTICED[change]


COUNTING = """
from dspy_gepa.assembly.source import source_digests

def counting():
    calls, seen, names = 0, [], frozenset({"a", "b", "c", "d"})

    def metric(gold, pred, trace=None):
        nonlocal calls
        calls += 1
        seen.append(pred)
        return float(pred in {"a", "b", "c", "d"} or pred in names)

    return metric

metric = counting()
before = source_digests({"metric": metric})
metric("a", "b")
assert source_digests({"metric": metric}) == before, "it counts"
print(sorted(before.items()))
"""


def test_the_same_code_is_the_same_in_any_process(tmp_path):
    """Whatever the hash seed, and whatever a metric has counted and collected since."""
    path = tmp_path / "counting.py"
    path.write_text(COUNTING)
    said = {
        subprocess.run(
            [sys.executable, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
