"""`mlflow.dspy.autolog()` logs this optimizer as it logs DSPy's own.

Autologging patches classes for good, so everything happens in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# What MLflow and its own dependencies warn of is theirs to mend.
pytestmark = pytest.mark.filterwarnings("default")

TESTS = Path(__file__).parent

SCRIPT = """
import json
import sys
from collections import Counter
from pathlib import Path

import dspy
import mlflow
from dspy.teleprompt import BetterTogether, LabeledFewShot
from swap_task import examples, gepa, task_lm

mlflow.set_tracking_uri(f"sqlite:///{Path('runs.db').absolute()}")
experiment = mlflow.create_experiment("trials", artifact_location=Path("files").absolute().as_uri())
mlflow.set_experiment("trials")
mlflow.dspy.autolog(log_compiles=True, log_evals=True, log_traces_from_compile=True)
dspy.configure(lm=task_lm())
client = mlflow.MlflowClient()


def exact(gold, pred, trace=None):
    return float(gold.answer == pred.answer)


class Exact:
    "A metric without a name."

    def __call__(self, gold, pred, trace=None):
        return exact(gold, pred)


def runs(parent=None):
    found = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    return [each for each in found if each.data.tags.get("mlflow.parentRunId") == parent]


def artifacts(run):
    return sorted(each.path for each in client.list_artifacts(run.info.run_id))


def spans():
    found = mlflow.search_traces(locations=[experiment], return_type="list", max_results=500)
    states = {str(each.info.state) for each in found}
    return Counter(span.name for each in found for span in each.data.spans), states


out = {}
data = {"trainset": examples(8), "valset": examples(4)}
evaluate = dspy.Evaluate(devset=examples(4), metric=exact, num_threads=2)
student = dspy.ChainOfThought("question -> answer")
out["before"] = evaluate(student).score
before, _ = spans()
optimizer = gepa(exact, num_threads=4, use_mlflow=False)
improved = optimizer.compile(student, **data)
after, out["states"] = spans()
out["states"] = sorted(out["states"])
out["spans"] = dict(after - before)
out["tally"] = [optimizer.result.tally.rollouts, optimizer.result.tally.reflection_calls]
out["after"] = evaluate(improved).score
out["single"] = [[artifacts(each), dict(each.data.metrics)] for each in runs()]

known = {each.info.run_id for each in runs()}
gepa(Exact(), num_threads=2).compile(student, **data)
dspy.Evaluate(devset=examples(4), metric=Exact())(student)
out["nameless"] = len(runs()) - len(known)

known = {each.info.run_id for each in runs()}
student.set_lm(task_lm())
chain = BetterTogether(metric=exact, p=LabeledFewShot(k=1), g=gepa(exact, use_mlflow=True))
chain.compile(student, strategy="p -> g", **data)
(parent,) = [each for each in runs() if each.info.run_id not in known]
out["chain"] = [parent.data.params.get("strategy"), parent.info.status, artifacts(parent)]
out["metrics"] = sorted({name for each in runs(parent.info.run_id) for name in each.data.metrics})
out["nested"] = [each.info.run_name for each in runs(parent.info.run_id)]
out["running"] = mlflow.active_run() is not None
out["params"] = {
    name: str(value)
    for name, value in gepa(exact, wandb_api_key="no-secret").get_params().items()
}
Path("out.json").write_text(json.dumps(out))
"""


@pytest.fixture(scope="module")
def logged(tracker, tmp_path_factory):
    """What MLflow holds after evaluations, a compile, and a chain of optimizers."""
    tracker("mlflow")
    folder = tmp_path_factory.mktemp("autolog")
    places = [TESTS, TESTS / "program", TESTS.parent, os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, places)),
            "DO_NOT_TRACK": "true",
            "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text())


def test_a_compile_is_a_run_with_program_and_data(logged):
    """Between the two evaluations' runs stands one with the improved program and both sets."""
    assert logged["single"] == [
        [["model.json", "result_table.json"], {"eval": 0.0}],
        [["best_model.json", "trainset.json", "valset.json"], {}],
        [["model.json", "result_table.json"], {"eval": 100.0}],
    ]


def test_evaluations_before_and_after_see_the_improvement(logged):
    """dspy.Evaluate runs what compile returned, with autologging on."""
    assert (logged["before"], logged["after"]) == (0.0, 100.0)


def test_every_call_within_a_compile_is_a_whole_trace(logged):
    """From all threads: a span for each rollout, each model call and each reflection."""
    rollouts, reflections = logged["tally"]
    assert logged["spans"] == {
        "ChainOfThought.forward": rollouts,
        "Predict.forward": rollouts,
        "ChatAdapter.format": rollouts,
        "ChatAdapter.parse": rollouts,
        "_AsItIs.format": reflections,
        "_AsItIs.parse": reflections,
        "LM.__call__": rollouts + reflections,
    }
    assert logged["states"] == ["OK"]


def test_a_metric_without_a_name_disturbs_nothing(logged):
    """MLflow reads `metric.__name__`; an object that has none is optimized all the same."""
    assert logged["nameless"] == 2


def test_a_chain_is_one_run_with_its_evaluations_nested(logged):
    """Compile within compile is logged once; the chain's evaluations are runs below it."""
    strategy, status, files = logged["chain"]
    assert (strategy, status) == ("p -> g", "FINISHED")
    assert {"best_model.json", "trainset.json", "valset.json"} <= set(files)
    assert [each for each in logged["nested"] if each.startswith("eval_full")]
    assert not logged["running"]


def test_our_own_tracking_goes_into_the_run_that_is_active(logged):
    """use_mlflow=True beside autologging: our run is below the one that MLflow opened."""
    assert [name for name in logged["metrics"] if name.startswith("gepa/")]


def test_settings_are_readable_and_hold_no_key(logged):
    """Autologging asks `get_params`; under DSPy's own names, without the key."""
    assert "reflection_minibatch_size" in logged["params"]
    assert logged["params"]["max_metric_calls"] == "80"
    assert "metric_fn" in logged["params"]
    assert "no-secret" not in str(logged["params"])
