"""Trackers, against a real MLflow store and real offline runs of Weights & Biases."""

import json
import logging
import sys

import pytest

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import ReflectionRequest, RequestFailure
from dspy_gepa.errors import MissingExtra, SettingsError
from dspy_gepa.observe.tracking import MlflowTracker, WandbTracker
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(rules=14, names=("a", "b"), skill=0.5, seed=3)
SETTINGS = Settings(
    train=tuple(range(6)), validation=tuple(range(6, 12)), limits=Limits(metric_calls=120)
)
KEY = "local-" + "0123456789abcdef" * 3


def tracked(tracker, *, worker=WORLD, close=True):
    """The last state of a run that the tracker followed."""
    finish = run_loop(start(SETTINGS, WORLD.student), SerialExecutor(worker), [tracker])
    if close:
        tracker.close()
    return finish.state


def dying(request):
    """A worker whose reflections break down."""
    if isinstance(request, ReflectionRequest):
        return RequestFailure(request.key, "the server is gone")
    return WORLD(request)


class Interrupted(SerialExecutor):
    """An executor that is left by an exception after some answers."""

    def __init__(self, answers):
        super().__init__(WORLD)
        self._answers = answers

    def next_answer(self):
        self._answers -= 1
        if self._answers < 0:
            raise ZeroDivisionError
        return super().next_answer()


def leave(tracker):
    """Follow a run that is left by an exception."""
    with pytest.raises(ZeroDivisionError):
        run_loop(start(SETTINGS, WORLD.student), Interrupted(20), [tracker])
    tracker.close()


@pytest.mark.parametrize(
    ("tracker", "package"), [(MlflowTracker, "mlflow"), (WandbTracker, "wandb")]
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, tracker, package):
    """At construction, before anything is spent."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtra, match=rf'{package} is not installed.*"dspy_gepa\[{package}\]"'
    ):
        tracker()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A database of MLflow's: making its tables takes seconds, so there is one for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "true")
        mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
        folder = tmp_path_factory.mktemp("mlflow")
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'runs.db'}")
        mlflow.create_experiment("trials", artifact_location=(folder / "files").as_uri())
        yield mlflow
        mlflow.set_tracking_uri(before)


@pytest.fixture
def mlflow(store):
    """MLflow with an experiment that has no runs yet, and no active one."""
    experiment = store.set_experiment("trials")
    for each in store.search_runs([experiment.experiment_id], output_format="list"):
        store.delete_run(each.info.run_id)
    yield store
    while store.active_run() is not None:
        store.end_run()


def runs_of(mlflow):
    experiment = mlflow.get_experiment_by_name("trials").experiment_id
    return mlflow.search_runs([experiment], output_format="list")


def artifact(mlflow, run_id, name):
    return json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/{name}"))


def test_mlflow_gets_settings_numbers_and_texts(mlflow):
    """One finished run with parameters, a step for every proposal, and tables of what was found."""
    state = tracked(MlflowTracker(experiment_name="trials"))
    (found,) = runs_of(mlflow)
    run_id = found.info.run_id
    assert mlflow.active_run() is None
    assert found.info.status == "FINISHED"
    parameters = found.data.params
    assert parameters["gepa/max_metric_calls"] == "120"
    assert parameters["gepa/train_examples"] == parameters["gepa/validation_examples"] == "6"
    assert (parameters["gepa/selection"], parameters["gepa/gate"]) == (
        "pareto",
        "strict_improvement",
    )
    best = state.members[state.best]
    assert found.data.metrics == {
        "gepa/best_score": pytest.approx(best.scores.mean()),
        "gepa/member_score": pytest.approx(state.members[-1].scores.mean()),
        "gepa/metric_calls": state.tally.metric_calls,
        "gepa/rollouts": state.tally.rollouts,
        "gepa/reflection_calls": state.tally.reflection_calls,
        "gepa/members": len(state.members),
        **{
            f"gepa/proposals_{kind}": sum(s.verdict.kind == kind for s in state.history[1:])
            for kind in ("accepted", "rejected", "skipped", "failed")
        },
    }
    steps = mlflow.MlflowClient().get_metric_history(run_id, "gepa/metric_calls")
    assert [step.step for step in steps] == list(range(len(state.history)))
    candidates = artifact(mlflow, run_id, "gepa/candidates.json")
    assert candidates["columns"][-2:] == ["text.a", "text.b"]
    assert [row[-2:] for row in candidates["data"]] == [
        [member.candidate["a"], member.candidate["b"]] for member in state.members
    ]
    proposals = artifact(mlflow, run_id, "gepa/proposals.json")
    assert [row[3] for row in proposals["data"]] == [s.verdict.kind for s in state.history]
    assert artifact(mlflow, run_id, "gepa/best_candidate.json") == dict(best.candidate)


def test_an_active_mlflow_run_is_used_and_left_open(mlflow):
    """The user's parameters stay as they are, and two compiles in one run do no harm."""
    with mlflow.start_run() as own:
        mlflow.log_param("seed", "mine")
        tracker = MlflowTracker(tracking_uri="file:///nowhere", experiment_name="other")
        tracked(tracker)
        tracked(tracker)
        assert mlflow.active_run().info.run_id == own.info.run_id
    (found,) = runs_of(mlflow)
    assert found.info.status == "FINISHED"
    assert (found.data.params["seed"], found.data.params["gepa/seed"]) == ("mine", "0")


def test_mlflow_has_a_run_for_each_compile(mlflow):
    """One tracker follows one run after the other, each ended by itself."""
    tracker = MlflowTracker(experiment_name="trials")
    tracked(tracker, close=False)
    assert mlflow.active_run() is None
    tracked(tracker, close=False)
    assert [each.info.status for each in runs_of(mlflow)] == ["FINISHED", "FINISHED"]


def test_what_breaks_a_run_fails_it_in_mlflow(mlflow):
    """A run that broke, and one that was left by an exception."""
    tracked(MlflowTracker(experiment_name="trials"), worker=dying)
    leave(MlflowTracker(experiment_name="trials"))
    assert [each.info.status for each in runs_of(mlflow)] == ["FAILED", "FAILED"]
    assert mlflow.active_run() is None


def test_a_run_on_top_of_ours_is_not_ended(mlflow):
    """Only what the tracker began is ended by it."""
    tracker = MlflowTracker(experiment_name="trials")
    with pytest.raises(ZeroDivisionError):
        run_loop(start(SETTINGS, WORLD.student), Interrupted(20), [tracker])
    nested = mlflow.start_run(nested=True)
    tracker.close()
    assert mlflow.active_run().info.run_id == nested.info.run_id
    statuses = {each.info.run_id: each.info.status for each in runs_of(mlflow)}
    assert statuses.pop(nested.info.run_id) == "RUNNING"
    assert list(statuses.values()) == ["FAILED"]


def test_a_tracker_that_is_refused_at_the_end_says_so(mlflow, monkeypatch, caplog):
    """The outcome could not be written, the run is ended, and nothing is raised."""

    def refuse(*args, **kwargs):
        raise mlflow.exceptions.MlflowException("the disk is full")

    monkeypatch.setattr(mlflow, "log_table", refuse)
    with caplog.at_level(logging.WARNING, logger="dspy.teleprompt.dspy_gepa"):
        tracked(MlflowTracker(experiment_name="trials"))
    assert caplog.messages == ["MlflowTracker could not close its run: the disk is full"]
    assert [each.info.status for each in runs_of(mlflow)] == ["FINISHED"]


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """Weights & Biases without a network, all of its files in one folder."""
    for name in ("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb = pytest.importorskip("wandb", reason="needs the extra wandb")
    yield wandb
    if wandb.run is not None:
        wandb.finish()
    wandb.teardown()


@pytest.fixture
def finished(wandb, monkeypatch):
    """The runs that were finished, with their exit codes."""
    codes = []
    finish = wandb.Run.finish

    def noted(self, exit_code=None, **more):
        codes.append((self.id, exit_code))
        return finish(self, exit_code=exit_code, **more)

    monkeypatch.setattr(wandb.Run, "finish", noted)
    return codes


def files_under(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_wandb_gets_settings_numbers_and_texts(wandb, tmp_path):
    """In a run of the user's, which is left open, and under names of our own."""
    with wandb.init(project="trials", config={"seed": "mine"}, id="own") as own:
        state = tracked(WandbTracker(wandb_init_kwargs={"project": "other"}))
        assert wandb.run is own
        assert (own.config["seed"], own.config["gepa/seed"]) == ("mine", 0)
        summary = own.summary
        best = state.members[state.best]
        assert summary["gepa/best_score"] == pytest.approx(best.scores.mean())
        assert summary["gepa/metric_calls"] == state.tally.metric_calls
        assert summary["gepa/proposal"] == len(state.history) - 1
        assert summary["gepa/verdict"] == state.history[-1].verdict.kind
        assert dict(summary["gepa/best_candidate"]) == dict(best.candidate)
    tables = {
        path.name.split("_")[0]: json.loads(path.read_text("utf-8"))
        for path in tmp_path.rglob("*.table.json")
    }
    assert [row[-2:] for row in tables["candidates"]["data"]] == [
        [member.candidate["a"], member.candidate["b"]] for member in state.members
    ]
    assert len(tables["proposals"]["data"]) == len(state.history)


def test_wandb_has_a_run_for_each_compile(wandb, finished):
    """Begun as the user says, and ended once, with what came of it."""
    tracker = WandbTracker(wandb_init_kwargs={"project": "trials", "tags": ["mine"]})
    tracked(tracker, close=False)
    assert wandb.run is None
    tracked(tracker, worker=dying)
    leave(tracker)
    assert [code for _, code in finished] == [0, 1, 1]
    assert len({run_id for run_id, _ in finished}) == 3


def test_the_wandb_key_is_kept_nowhere(wandb, tmp_path, caplog, capfd):
    """Not in the tracker, not in a file, and not in what is logged or printed."""
    with caplog.at_level(logging.DEBUG):
        tracker = WandbTracker(wandb_api_key=KEY)
        tracked(tracker)
    assert KEY not in repr(vars(tracker))
    assert KEY not in caplog.text + "".join(capfd.readouterr())
    files = files_under(tmp_path)
    assert files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_wandb_key_that_cannot_be_one_is_refused_unseen(wandb):
    """The message says what is wrong and not what was given."""
    with pytest.raises(SettingsError, match="API key must have") as caught:
        WandbTracker(wandb_api_key="abcdef")
    assert "abcdef" not in str(caught.value)
