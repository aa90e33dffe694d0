"""What the package promises by name."""

import dspy
from warm_python import FORGET

import dspy_gepa


def test_the_public_names_are_these():
    """A name more or less is a decision, not an accident."""
    assert dspy_gepa.__all__ == [
        "GEPA",
        "AnythingResult",
        "ComponentView",
        "Feedback",
        "Observer",
        "PoolView",
        "RunResult",
        "SavedRun",
        "Specialists",
        "copies_no_examples",
        "install",
        "keeps_placeholders",
        "load_run",
        "log",
        "names_output_fields",
        "optimize_anything",
        "uninstall",
    ]
    assert all(hasattr(dspy_gepa, name) for name in dspy_gepa.__all__)


def test_the_class_is_a_teleprompter_that_trackers_find():
    """mlflow patches direct subclasses only."""
    assert dspy_gepa.GEPA in dspy.teleprompt.Teleprompter.__subclasses__()


def test_importing_changes_nothing_and_installing_can_be_taken_back(warm_python):
    """`dspy.GEPA` is the built-in class before and after, and ours in between."""
    code = f"""{FORGET}
import dspy
built_in = dspy.GEPA
import dspy_gepa
assert dspy.GEPA is dspy.teleprompt.GEPA is built_in
dspy_gepa.install()
dspy_gepa.install()
assert dspy.GEPA is dspy.teleprompt.GEPA is dspy_gepa.GEPA
dspy_gepa.uninstall()
assert dspy.GEPA is dspy.teleprompt.GEPA is built_in
"""
    done = warm_python.run(code)
    assert done.returncode == 0, done.stderr
