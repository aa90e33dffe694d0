"""Nothing that we do is deprecated, in Python or in DSPy.

A warning is ours where Python attributes it to a file of ours, and also where the innermost frame
that is no library's is ours: a library that warns with a small stack level names itself.
"""

import inspect
import sysconfig
import warnings
from contextlib import contextmanager
from pathlib import Path

import dspy
import label_task
import pytest
from dspy.teleprompt.gepa.instruction_proposal import MultiModalInstructionProposer
from scripted_engine import answer, scripted_lm
from warm_python import FORGET

import dspy_gepa
from dspy_gepa import GEPA

PACKAGE = Path(dspy_gepa.__file__).resolve().parent
LIBRARIES = {
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
}
DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning)


def is_ours(file):
    return PACKAGE in Path(file).resolve().parents


def is_a_library(file):
    return file.startswith("<") or not LIBRARIES.isdisjoint(Path(file).resolve().parents)


def culprit(frame):
    """The file of the innermost frame that is ours or a user's; the outermost one if none is."""
    file = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if is_ours(file) or not is_a_library(file):
            return file
        frame = frame.f_back
    return file


@contextmanager
def noted():
    """The deprecations of ours that are shown inside, in whatever thread."""
    found = []

    def note(message, category, filename, lineno, *rest, **more):
        # Called by `warnings.warn` itself, so the stack is that of the one who warns.
        caller = culprit(inspect.currentframe().f_back)
        if issubclass(category, DEPRECATIONS) and (is_ours(filename) or is_ours(caller)):
            found.append(f"{message} ({filename}:{lineno}, from {caller})")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield found


class Program(dspy.Module):
    """Two predictors, one of them behind a module of DSPy's, and a way to run asynchronously."""

    def __init__(self):
        super().__init__()
        self.think = dspy.ChainOfThought("message -> hint")
        self.answer = dspy.Predict("message, hint -> code")

    def forward(self, message):
        return self.answer(message=message, hint=self.think(message=message).hint)


class Waiting(Program):
    """The same without a `forward`."""

    forward = None

    async def aforward(self, message):
        hint = (await self.think.acall(message=message)).hint
        return await self.answer.acall(message=message, hint=hint)


def reply(prompt):
    """Right where a topic's rule stands in the prompt, under every field name of the program."""
    message = prompt.rsplit("[[ ## message ## ]]", 1)[1]
    topic = next(topic for topic in label_task.CODES if topic in message)
    rule = f"{topic} means {label_task.CODES[topic]}"
    code = label_task.CODES[topic] if rule in prompt else "unknown"
    return answer(reasoning="so", hint="none", code=code)


def per_component(gold, pred, trace=None, pred_name=None, pred_trace=None):
    score, feedback = label_task.metric(gold, pred)
    return dspy.Prediction(score=score, feedback=feedback)


def proposing():
    return scripted_lm(answer(improved_instruction="bill means Q7; lock means K2"))


@pytest.mark.parametrize(
    ("student", "metric", "settings"),
    [
        (Program, label_task.metric, {"track_stats": True, "track_best_outputs": True}),
        (Program, per_component, {"num_threads": 3, "component_selector": "all"}),
        (Waiting, label_task.metric, {"num_threads": 2}),
        (Program, label_task.metric, {"num_candidates": 4, "max_labeled_demos": 2}),
        (
            Program,
            label_task.metric,
            {"instruction_proposer": MultiModalInstructionProposer(), "reflection_lm": proposing()},
        ),
    ],
    ids=["statistics", "threads", "async", "demonstrations", "proposer"],
)
def test_a_run_does_nothing_deprecated(student, metric, settings, tmp_path):
    """From the constructor to the saved program, with a run directory, on models of today."""
    budget = {} if "num_candidates" in settings else {"max_metric_calls": 60}
    given = {"reflection_lm": label_task.reflection_lm(), **budget, **settings}
    train, val = label_task.examples(8), label_task.examples(4)
    with noted() as found, dspy.context(lm=scripted_lm(reply)):
        optimizer = GEPA(metric, log_dir=str(tmp_path / "run"), **given)
        improved = optimizer.compile(student(), trainset=train, valset=val)
        improved.save(tmp_path / "program.json")
    assert optimizer.result.tally.rollouts
    assert found == []


IMPORTS = f"""
import pkgutil
from test_deprecations import noted
{FORGET}
with noted() as found:
    import dspy_gepa

    for module in pkgutil.walk_packages(dspy_gepa.__path__, "dspy_gepa."):
        if not module.name.endswith("__main__"):
            __import__(module.name)
print(found)
"""


def test_importing_does_nothing_deprecated(warm_python):
    """Every module of the package, each for the first time."""
    done = warm_python.run(IMPORTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_source_is_what_python_expects(path):
    """No escape or literal that a later Python refuses; cached bytecode hides such warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(path.read_text(encoding="utf-8"), str(path), "exec")


WARN = "import warnings\ndef old(): warnings.warn('old', {category}, stacklevel={level})"


@pytest.mark.parametrize("category", ["DeprecationWarning", "PendingDeprecationWarning"])
@pytest.mark.parametrize("level", [1, 2, 3, 9])
@pytest.mark.parametrize("caller", ["ours", "user's"])
def test_what_we_cause_is_told_from_what_a_user_causes(category, level, caller):
    """Whatever a library passes as stack level, the one who called it is found."""
    library = str(Path(sysconfig.get_path("purelib")) / "some_library.py")
    file = str(PACKAGE / "room.py") if caller == "ours" else __file__
    names = {}
    exec(compile(WARN.format(category=category, level=level), library, "exec"), names)
    exec(compile("def call(): old()", file, "exec"), names)
    with noted() as found:
        names["call"]()
    assert len(found) == (caller == "ours")
