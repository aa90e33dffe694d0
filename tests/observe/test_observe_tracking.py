"""Trackers, against a real MLflow store and real offline runs of Weights & Biases."""

import json
import logging
import sys
from functools import partial

import dspy
import label_task
import pytest
from scripted_engine import new_texts, scripted_lm

from dspy_gepa import GEPA
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import ReflectionRequest, RequestFailure
from dspy_gepa.errors import MissingExtra, SettingsError
from dspy_gepa.observe.observer import FanOut
from dspy_gepa.observe.telling import Telling
from dspy_gepa.observe.tracking import MlflowTracker, WandbTracker
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.store.redaction import Redactor
from dspy_gepa.story.story import Story
from dspy_gepa.testing.worlds import RuleWorld
from dspy_gepa.views.tables import rows_of

# What the trackers and their own dependencies warn of is theirs to mend.
pytestmark = pytest.mark.filterwarnings("default")

WORLD = RuleWorld(rules=14, names=("a", "b"), skill=0.5, seed=3)
SETTINGS = Settings(
    train=tuple(range(6)), validation=tuple(range(6, 12)), limits=Limits(metric_calls=120)
)
KEY = "local-" + "0123456789abcdef" * 3
SECRETS = Redactor({"REFLECTION_API_KEY": KEY})
NOTE = "mlflow.note.content"
COMPLAINT = "the customer's complaint"


def tracked(make, *, worker=WORLD, executor=SerialExecutor) -> Story:
    """The story of a run that a tracker followed to the end of the call."""
    telling = Telling()
    told = FanOut([telling, make(telling)])
    begun = start(SETTINGS, WORLD.student)
    with telling.whole():
        telling.begun_with(begun, None, SECRETS.hidden)
        told.begun(begun)
        run_loop(begun, executor(worker), [told])
    return telling.story


def dying(request):
    """A worker whose reflections break down."""
    if isinstance(request, ReflectionRequest):
        return RequestFailure(request.key, "the server is gone")
    return WORLD(request)


def refused(request):
    """A worker whose reflections fail with words that quote the key."""
    if isinstance(request, ReflectionRequest):
        return RequestFailure(request.key, f"401: the key {KEY} is unknown")
    return WORLD(request)


class Interrupted(SerialExecutor):
    """An executor that is left by an exception after some answers."""

    def __init__(self, worker):
        super().__init__(worker)
        self._left = 20

    def next_answer(self, *given, **named):
        self._left -= 1
        if self._left < 0:
            raise ZeroDivisionError
        return super().next_answer(*given, **named)


def leave(make):
    """Follow a run that is left by an exception."""
    with pytest.raises(ZeroDivisionError):
        tracked(make, executor=Interrupted)


def metric(gold, pred, trace=None):
    """One whose words quote the data."""
    score, words = label_task.metric(gold, pred)
    return score, f"{words}: {COMPLAINT}"


def compiled(**asked):
    """The optimizer after a whole call, whose data hold something that is nobody's business."""
    data = [
        dspy.Example(message=f"{each.message} {COMPLAINT}", code=each.code)
        for each in label_task.examples(16)
    ]
    data = [each.with_inputs("message") for each in data]
    given = {"max_metric_calls": 60, "num_threads": 1, "reflection_lm": label_task.reflection_lm()}
    optimizer = GEPA(metric, **{**given, **asked})
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(dspy.Predict("message -> code"), data[:6], data[6:12], heldout=data[12:])
    return optimizer


def cell(value):
    """A value of a story as a tracker's file has it; MLflow keeps ten digits of a number."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return pytest.approx(value, rel=0, abs=1e-8) if isinstance(value, float) else value


def cells(rows):
    """The rows of a story as a tracker's file has them."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [[cell(row.get(name)) for name in columns] for row in rows]


@pytest.mark.parametrize(
    ("tracker", "package"), [(MlflowTracker, "mlflow"), (WandbTracker, "wandb")]
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, tracker, package):
    """At construction, before anything is spent."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtra, match=rf'{package} is not installed.*"dspy_gepa\[{package}\]"'
    ):
        tracker(Telling())


@pytest.fixture(scope="module")
def store(tracker, tmp_path_factory):
    """A database of MLflow's: making its tables takes seconds, so there is one for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "true")
        mlflow = tracker("mlflow")
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
    """One finished run with parameters, a step for every proposal, and the story's tables."""
    story = tracked(partial(MlflowTracker, experiment_name="trials"))
    (found,) = runs_of(mlflow)
    run_id = found.info.run_id
    assert mlflow.active_run() is None
    assert found.info.status == "FINISHED"
    parameters = found.data.params
    assert parameters["gepa/max_metric_calls"] == "120"
    assert parameters["gepa/training_examples"] == parameters["gepa/validation_examples"] == "6"
    assert (parameters["gepa/selection"], parameters["gepa/gate"]) == (
        "pareto",
        "strict_improvement",
    )
    metrics, last = found.data.metrics, story.curve[-1]
    assert metrics["gepa/best_estimate"] == pytest.approx(last.best_estimate)
    assert metrics["gepa/metric_calls"] == story.total.metric_calls
    assert metrics["gepa/reflection_calls"] == story.total.reflection_calls
    assert metrics["gepa/members"] == len(story.members)
    verdicts = [each.verdict for each in story.proposals[1:]]
    for kind in ("accepted", "rejected", "skipped", "failed"):
        assert metrics[f"gepa/proposals_{kind}"] == verdicts.count(kind)
    steps = mlflow.MlflowClient().get_metric_history(run_id, "gepa/metric_calls")
    assert [step.step for step in steps] == list(range(len(story.proposals)))
    for name, rows in rows_of(story)._asdict().items():
        if name != "scores":
            table = artifact(mlflow, run_id, f"gepa/{name}.json")
            assert table["data"] == cells(rows)
    returned = story.members[story.returned]
    assert artifact(mlflow, run_id, "gepa/returned.json") == dict(returned.texts)


def test_a_run_is_nested_in_the_active_one(mlflow):
    """The user's run stays as it is and open; two calls in it are two runs below it."""
    make = partial(MlflowTracker, tracking_uri="file:///nowhere", experiment_name="other")
    with mlflow.start_run() as own:
        mlflow.log_param("seed", "mine")
        tracked(make)
        tracked(make)
        assert mlflow.active_run().info.run_id == own.info.run_id
    (around, *nested) = sorted(
        runs_of(mlflow), key=lambda each: each.info.run_id != own.info.run_id
    )
    assert (around.info.status, around.data.params) == ("FINISHED", {"seed": "mine"})
    assert [each.data.tags["mlflow.parentRunId"] for each in nested] == [own.info.run_id] * 2
    assert {each.info.status for each in nested} == {"FINISHED"}


def test_a_nested_run_is_in_the_experiment_of_the_one_around_it(mlflow):
    """Also where another experiment is the usual one by now."""
    with mlflow.start_run():
        mlflow.set_experiment("others")
        tracked(MlflowTracker)
    assert len(runs_of(mlflow)) == 2
    mlflow.set_experiment("trials")


def test_what_breaks_a_run_fails_it_in_mlflow(mlflow):
    """A run that broke, and one that was left by an exception."""
    make = partial(MlflowTracker, experiment_name="trials")
    tracked(make, worker=dying)
    leave(make)
    assert [each.info.status for each in runs_of(mlflow)] == ["FAILED", "FAILED"]
    assert mlflow.active_run() is None


def test_a_run_on_top_of_ours_is_not_ended(mlflow):
    """Only what the tracker began is ended by it."""

    telling = Telling()
    tracker = MlflowTracker(telling, experiment_name="trials")
    begun = start(SETTINGS, WORLD.student)
    with telling.whole():
        telling.begun_with(begun, None, SECRETS.hidden)
        tracker.begun(begun)
        on_top = mlflow.start_run(nested=True)
    assert mlflow.active_run().info.run_id == on_top.info.run_id
    statuses = {each.info.run_id: each.info.status for each in runs_of(mlflow)}
    assert statuses.pop(on_top.info.run_id) == "RUNNING"
    assert list(statuses.values()) == ["FINISHED"]


def refusing(*args, **kwargs):
    raise OSError("the disk is full")


def test_a_tracker_that_is_refused_at_the_end_says_so(mlflow, monkeypatch, caplog):
    """The outcome could not be written, the run is ended, and nothing is raised."""
    monkeypatch.setattr(mlflow, "log_table", refusing)
    with caplog.at_level(logging.ERROR, logger="dspy.teleprompt.dspy_gepa"):
        tracked(partial(MlflowTracker, experiment_name="trials"))
    assert caplog.messages == ["MlflowTracker could not write down the end"]
    assert "the disk is full" in caplog.text
    assert [each.info.status for each in runs_of(mlflow)] == ["FINISHED"]


@pytest.mark.parametrize("name", ["start_run", "log_params", "log_metrics"])
def test_a_tracker_that_is_refused_before_stops_nothing(mlflow, monkeypatch, caplog, name):
    """It is said once, the search goes on to its end, and what was begun is ended."""
    monkeypatch.setattr(mlflow, name, refusing)
    with caplog.at_level(logging.ERROR, logger="dspy.teleprompt.dspy_gepa"):
        story = tracked(partial(MlflowTracker, experiment_name="trials"))
    assert story.total.metric_calls > 60
    assert [each.endswith("told no more in this run") for each in caplog.messages] == [True]
    assert {each.info.status for each in runs_of(mlflow)} <= {"FINISHED"}
    assert mlflow.active_run() is None


def test_a_server_that_is_gone_for_good_stops_nothing(mlflow, monkeypatch, caplog):
    """It is said once of what came on the way and once of the end, and no run stays active."""
    telling = Telling()
    tracker = MlflowTracker(telling, experiment_name="trials")

    def gone(event, state):
        for name in ("log_metrics", "log_table", "log_dict"):
            monkeypatch.setattr(mlflow, name, refusing)
        for name in ("set_tag", "set_terminated"):
            monkeypatch.setattr(mlflow.MlflowClient, name, refusing)

    begun = start(SETTINGS, WORLD.student)
    told = FanOut([telling, gone, tracker])
    with caplog.at_level(logging.ERROR), telling.whole():
        telling.begun_with(begun, None, SECRETS.hidden)
        told.begun(begun)
        run_loop(begun, SerialExecutor(WORLD), [told])
    assert telling.story.total.metric_calls > 60
    assert [each.split()[0] for each in caplog.messages] == ["observer", "MlflowTracker"]
    assert mlflow.active_run() is None


def test_a_whole_call_is_written_down_with_its_verdict(mlflow, tmp_path):
    """What came after the search too, and nothing of the user's data; carried on, the whole."""
    mlflow.set_experiment("trials")
    optimizer = compiled(use_mlflow=True, log_dir=str(tmp_path / "run"))
    (found,) = runs_of(mlflow)
    result = optimizer.result
    assert found.data.tags["mlflow.note.content"] == repr(result)
    assert str(result.verdict) in found.data.tags["mlflow.note.content"]
    spent = artifact(mlflow, found.info.run_id, "gepa/spending.json")
    calls = spent["columns"].index("metric_calls")
    assert sum(row[calls] for row in spent["data"]) == result.tally.metric_calls
    assert found.data.params["gepa/reflection model"]
    folder = tmp_path.parent / "mlflow0"
    files = files_under(folder)
    assert len(files) > 3
    assert [path for path in files if COMPLAINT.encode() in path.read_bytes()] == []
    assert COMPLAINT.encode() in (tmp_path / "run" / "events.jsonl").read_bytes()
    again = compiled(use_mlflow=True, log_dir=str(tmp_path / "run"), max_metric_calls=90)
    (second,) = [each for each in runs_of(mlflow) if each.info.run_id != found.info.run_id]
    assert second.data.metrics["gepa/metric_calls"] == again.result.state.tally.metric_calls
    history = mlflow.MlflowClient().get_metric_history(second.info.run_id, "gepa/best_estimate")
    assert history[0].step == 0


def test_a_key_that_a_server_quotes_is_not_sent_to_mlflow(mlflow, tmp_path):
    """A known one, in the words of an error."""
    story = tracked(partial(MlflowTracker, experiment_name="trials"), worker=refused)
    assert KEY in story.ending
    (found,) = runs_of(mlflow)
    assert "the key [secret:REFLECTION_API_KEY] is unknown" in found.data.tags[NOTE]
    folder = tmp_path.parent / "mlflow0"
    assert [path for path in files_under(folder) if KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("is_of_the_model", [True, False])
def test_a_key_in_a_text_is_not_sent_to_mlflow(
    mlflow, tmp_path, monkeypatch, is_of_the_model, is_kept
):
    """It is known from the model or from the environment, with a run directory and without."""

    def reply(prompt):
        rules = "; ".join(sorted(set(label_task.RULE.findall(prompt))))
        return new_texts(prompt, f"Give the code. {rules}. The key is {KEY}.")

    lm = scripted_lm(reply)
    if is_of_the_model:
        lm.kwargs["api_key"] = KEY
    else:
        monkeypatch.setenv("REFLECTION_API_KEY", KEY)
    log_dir = str(tmp_path / "run") if is_kept else None
    result = compiled(use_mlflow=True, log_dir=log_dir, reflection_lm=lm).result
    assert any(KEY in text for each in result.story.members for text in each.texts.values())
    files = files_under(tmp_path.parent / "mlflow0")
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert [path for path in files if b"The key is [secret:" in path.read_bytes()] != []


@pytest.fixture
def wandb(tracker, tmp_path, monkeypatch):
    """Weights & Biases without a network, all of its files in one folder."""
    for name in ("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb = tracker("wandb")
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
        story = tracked(partial(WandbTracker, wandb_init_kwargs={"project": "other"}))
        assert wandb.run is own
        assert (own.config["seed"], own.config["gepa/seed"]) == ("mine", 0)
        summary = own.summary
        assert summary["gepa/best_estimate"] == pytest.approx(story.curve[-1].best_estimate)
        assert summary["gepa/metric_calls"] == story.total.metric_calls
        assert summary["gepa/proposal"] == len(story.proposals) - 1
        assert summary["gepa/headline"] == story.headline
        assert dict(summary["gepa/returned"]) == dict(story.members[story.returned].texts)
    tables = {
        path.name.split("_")[0]: json.loads(path.read_text("utf-8"))["data"]
        for path in tmp_path.rglob("*.table.json")
    }
    rows = rows_of(story)
    assert tables == {
        name: cells(getattr(rows, name)) for name in ("members", "proposals", "spending")
    }


def test_wandb_has_a_run_for_each_call(wandb, finished):
    """Begun as the user says, and ended once, with what came of it."""
    make = partial(WandbTracker, wandb_init_kwargs={"project": "trials", "tags": ["mine"]})
    tracked(make)
    assert wandb.run is None
    tracked(make, worker=dying)
    leave(make)
    assert [code for _, code in finished] == [0, 1, 1]
    assert len({run_id for run_id, _ in finished}) == 3


@pytest.mark.parametrize("method", ["init", "Run.define_metric", "Run.log", "Table", "Run.finish"])
def test_a_wandb_that_refuses_stops_nothing(wandb, finished, monkeypatch, caplog, method):
    """Nothing is raised, each problem is said once, and what was begun is ended."""
    owner, _, name = method.rpartition(".")
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(getattr(wandb, owner) if owner else wandb, name, refusing)
        story = tracked(WandbTracker)
    assert story.total.metric_calls > 60
    assert 1 <= len(caplog.messages) == len(set(caplog.messages)) <= 2
    assert "the disk is full" in caplog.text
    assert [code for _, code in finished] == ([] if method in ("init", "Run.finish") else [0])


def test_a_whole_call_is_written_down_by_wandb(wandb, tmp_path, finished):
    """With the verdict, and nothing of the user's data."""
    with wandb.init(project="trials") as own:
        result = compiled(use_wandb=True).result
        assert own.summary["gepa/summary"] == repr(result)
        assert own.config["gepa/training_examples"] == 6
    for path in files_under(tmp_path):
        assert COMPLAINT.encode() not in path.read_bytes()


def test_the_wandb_key_is_kept_nowhere(wandb, tmp_path, caplog, capfd):
    """Not in the tracker, not in a file, and not in what is logged or printed."""
    made = []

    def make(telling):
        made.append(WandbTracker(telling, wandb_api_key=KEY))
        return made[0]

    with caplog.at_level(logging.DEBUG):
        tracked(make)
    assert KEY not in repr(vars(made[0]))
    assert KEY not in caplog.text + "".join(capfd.readouterr())
    files = files_under(tmp_path)
    assert files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_key_that_a_server_quotes_is_not_sent_to_wandb(wandb, tmp_path):
    """A known one, in the words of an error."""
    story = tracked(WandbTracker, worker=refused)
    assert KEY in story.ending
    files = files_under(tmp_path)
    assert files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_wandb_key_that_cannot_be_one_is_refused_unseen(wandb):
    """The message says what is wrong and not what was given."""
    with pytest.raises(SettingsError, match="API key must have") as caught:
        WandbTracker(Telling(), wandb_api_key="abcdef")
    assert "abcdef" not in str(caught.value)
