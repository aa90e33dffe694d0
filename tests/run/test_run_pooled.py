"""Rollouts in the processes of a pool: the same run, an exact count, and errors that say what."""

import logging
import os
import platform
import signal
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path

import cloudpickle
import pytest

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.events import RequestFailed
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import RequestFailure, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import RemoteError, SettingsError
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.parcel import Parcel, ParcelOutcome, carried_out, received, serialized, versions
from dspy_gepa.run.pooled import PooledExecutor, pool_of
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.conformance import check_executor
from dspy_gepa.testing.worlds import ChanceWorld

WORLD = ChanceWorld(names=("a", "b"))
REQUEST = RolloutRequest(WORLD.student, 1, traced=False)


class Recipe:
    """Makes what answers as a world does, and writes a line into a file at each beginning."""

    def __init__(self, world, folder=None, dies_on=None, *, dies_once=False):
        self.world, self.folder, self.dies_on, self.dies_once = world, folder, dies_on, dies_once

    def __call__(self):
        return self.carry_out

    def carry_out(self, request, _):
        if self.folder is not None:
            name = f"{os.getpid()}-{threading.get_ident()}"
            with (Path(self.folder) / name).open("a") as file:
                file.write(f"{request.example}\n")
        if request.example == self.dies_on and not self._has_died():
            os.kill(os.getpid(), signal.SIGKILL)
        return ParcelOutcome(self.world(request), self.world(request))

    def _has_died(self):
        if not self.dies_once:
            return False
        mark = Path(self.folder).with_suffix(".died")
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return True
        return False


def failed(_, text):
    return Rollout(score=0.0, failure=text, metric_calls=1)


def parcel(recipe, hear=lambda _: None):
    return Parcel(serialized(recipe, "the recipe"), lambda _: None, failed, hear)


def executor_over(pool, recipe, slots=3):
    return PooledExecutor(recipe.world, pool_of(pool), slots, parcel(recipe))


def really_begun(folder):
    return sum(len(file.read_text().splitlines()) for file in Path(folder).iterdir())


def world_settings(**limits):
    return Settings(
        train=tuple(range(6)), validation=tuple(range(4, 10)), limits=Limits(**limits), window=3
    )


def conforming(pool):
    """Makes executors over a pool for the conformance suite, whose witness is told of answers."""

    def make(worker):
        world = getattr(worker, "worker", worker)
        answers = getattr(worker, "answers", [])
        return PooledExecutor(worker, pool_of(pool), 3, parcel(Recipe(world), answers.append))

    return make


def test_a_spawned_pool_carries_out_what_one_thread_does(spawned):
    """The conformance suite holds over processes that know nothing of this one."""
    check_executor(conforming(spawned))


def test_a_dask_cluster_carries_out_what_one_thread_does(dask_client):
    """The conformance suite holds over a Dask client."""
    check_executor(conforming(dask_client))


@pytest.fixture(scope="module")
def ray():
    made = pytest.importorskip("ray", reason="needs the extra ray")
    made.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    # Its processes cannot import this module.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield made
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    made.shutdown()


def test_ray_carries_out_what_one_thread_does(ray):
    """The conformance suite holds over the cluster that ray.init has joined."""
    check_executor(conforming(ray))


def test_what_ray_loses_is_begun_again_and_counted(ray, tmp_path):
    """Every beginning is charged, and the run is that of one thread."""
    folder = tmp_path / "begun"
    folder.mkdir()
    settings = world_settings(proposals=12)
    expected = run_loop(start(settings, WORLD.student), SerialExecutor(WORLD)).state
    executor = executor_over(ray, Recipe(WORLD, folder, dies_on=5, dies_once=True), 4)
    found = run_loop(start(settings, WORLD.student), executor).state
    executor.close()
    assert found.members == expected.members
    assert found.lost.rollouts == found.tally.rollouts - expected.tally.rollouts == 1
    assert found.tally.rollouts == really_begun(folder)


def test_what_always_loses_its_process_with_ray_is_a_failure(ray, tmp_path):
    """The third time ends it."""
    folder = tmp_path / "begun"
    folder.mkdir()
    executor = executor_over(ray, Recipe(WORLD, folder, dies_on=1))
    answers = []
    for _ in range(3):
        executor.submit(REQUEST)
        answers.append(executor.next_answer())
    executor.close()
    assert [type(each) for each in answers] == [RequestFailure, RequestFailure, RolloutAnswer]
    assert "went away" in answers[-1].rollout.failure
    assert sum(each.rollouts for each in answers[:2]) + 1 == really_begun(folder)


def test_what_a_cluster_loses_is_counted_and_the_run_is_the_same(dask_client, tmp_path):
    """A cluster begins the rollouts of a killed process again, and every beginning is charged."""
    folder = tmp_path / "begun"
    folder.mkdir()
    settings = world_settings(proposals=12)
    expected = run_loop(start(settings, WORLD.student), SerialExecutor(WORLD)).state
    executor = executor_over(dask_client, Recipe(WORLD, folder, dies_on=5, dies_once=True), 4)
    events = []
    found = run_loop(
        start(settings, WORLD.student), executor, [lambda e, _: events.append(e)]
    ).state
    executor.close()
    assert found.members == expected.members
    assert [each.verdict for each in found.history] == [each.verdict for each in expected.history]
    lost = [event for event in events if isinstance(event, RequestFailed)]
    assert lost
    assert all(event.is_of_process for event in lost)
    # A neighbor in the same process may be killed after it was announced and before it began.
    assert really_begun(folder) <= found.tally.rollouts < really_begun(folder) + 4
    assert found.lost.rollouts == found.tally.rollouts - expected.tally.rollouts >= 1


def test_a_rollout_that_always_loses_its_process_is_a_failure(dask_client, tmp_path):
    """One example that kills whoever runs it ends as a failed rollout, and its beginnings count."""
    folder = tmp_path / "begun"
    folder.mkdir()
    executor = executor_over(dask_client, Recipe(WORLD, folder, dies_on=1))
    executor.submit(REQUEST)
    lost = executor.next_answer()
    assert isinstance(lost, RequestFailure)
    assert lost.is_of_process
    assert not lost.is_lasting
    executor.submit(REQUEST)
    assert executor.in_flight == 1
    answer = executor.next_answer()
    executor.close()
    assert isinstance(answer, RolloutAnswer)
    assert "went away" in answer.rollout.failure
    assert lost.rollouts + 1 == really_begun(folder)
    assert executor.in_flight == 0


def test_a_pool_that_loses_a_process_ends_the_run_and_what_was_begun_counts(
    tmp_path, fresh_processes
):
    """A bare pool is none any more then: the run ends, and all that was in flight is charged."""
    folder = tmp_path / "begun"
    folder.mkdir()
    # Of one process: one that Python begins while another is lost is never told to end.
    with ProcessPoolExecutor(1, mp_context=fresh_processes) as pool:
        executor = executor_over(pool, Recipe(WORLD, folder, dies_on=5), 2)
        finish = run_loop(start(world_settings(proposals=5), WORLD.student), executor)
        executor.close()
    assert finish.state.is_broken
    assert "BrokenProcessPool" in str(finish.error)
    assert really_begun(folder) <= finish.state.tally.rollouts <= really_begun(folder) + 2


def test_a_pool_that_is_shut_down_is_said_before_anything_is_paid():
    """Nothing can be begun, and nothing is charged."""
    pool = ProcessPoolExecutor(1)
    pool.shutdown()
    executor = executor_over(pool, Recipe(WORLD))
    executor.submit(REQUEST)
    answer = executor.next_answer()
    assert isinstance(answer, RequestFailure)
    assert answer.is_lasting
    assert "after shutdown" in answer.cause
    assert answer.rollouts == answer.metric_calls == 0
    assert executor.in_flight == 0


def test_other_versions_over_there_are_refused_before_anything_is_read():
    """Both sides are named, and a recipe that could not be read is not touched."""
    here = {**versions(), "Python": "3.1"}
    with pytest.raises(SettingsError, match=r"Python 3\.1, .*same versions"):
        carried_out(here, b"not a pickle", b"")


class Given(Executor):
    """A pool whose tasks are these futures, whatever they are."""

    def __init__(self, make):
        self.make, self.futures = make, []

    def submit(self, *_):
        self.futures.append(self.make())
        return self.futures[-1]


class WorkerCrashedError(Exception):
    """As Ray calls it."""


def crashed():
    future = Future()
    future.set_exception(WorkerCrashedError())
    return future


def test_what_loses_its_process_alone_is_begun_again_twice():
    """As with Ray: each loss is charged, and the third is the failure of that rollout and of no
    other."""
    executor = executor_over(Given(crashed), Recipe(WORLD))
    answers = []
    for example in (1, 1, 1, 2):
        executor.submit(RolloutRequest(WORLD.student, example, traced=False))
        answers.append(executor.next_answer())
    kinds = [RequestFailure, RequestFailure, RolloutAnswer, RequestFailure]
    assert [type(each) for each in answers] == kinds
    assert "went away" in answers[2].rollout.failure
    lost = [answers[place] for place in (0, 1, 3)]
    assert [(each.rollouts, each.is_lasting) for each in lost] == [(1, False)] * 3


def test_what_a_pool_has_not_begun_is_cancelled_at_the_end():
    """So that nothing is paid for that nobody waits for. A pool that does not say whether it has
    processes is not said to have none."""
    pool = Given(Future)
    executor = executor_over(pool, Recipe(WORLD))
    executor.submit(REQUEST)
    executor.close()
    assert [future.cancelled() for future in pool.futures] == [True]
    assert not pool_of(pool).is_idle


def holding(lock):
    return lambda: lock


class Holder:
    def __init__(self, held):
        self.parts = [{"inner": held}]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (Holder(threading.Lock()), r"recipe\.parts\[0\]\['inner'\] \(_thread\.lock\)"),
        (holding(threading.Lock()), r"recipe \(its variable lock\) \(_thread\.lock\)"),
        ({"a": (1, (each for each in ()))}, r"recipe\['a'\]\[1\] \(builtins\.generator\)"),
    ],
)
def test_what_cannot_travel_is_named_by_its_place(value, place):
    """The innermost attribute, item or variable that is at fault stands in the error."""
    with pytest.raises(SettingsError, match=f"^the {place}.*executor"):
        serialized(value, "the recipe")


class Untold(Exception):
    """Can be sent and not read, as errors of some SDKs."""

    def __init__(self, message, response):
        super().__init__(message)
        self.response = response


def there(carry_out):
    """What comes back from where this is carried out."""
    recipe = serialized(lambda: carry_out, "the recipe")
    return received(carried_out(versions(), recipe, serialized((REQUEST, None), "the task"))).answer


def without_a_server(request, _):
    return ParcelOutcome(
        RequestFailure(request.key, "no server", error=Untold("no server", threading.Lock()))
    )


def with_a_lock(request, _):
    held = {"lock": threading.Lock()}
    return ParcelOutcome(RolloutAnswer(request.key, Rollout(score=1.0, output=held)))


def test_a_patch_of_python_is_no_other_version(monkeypatch):
    """The next minor version is, and both sides are named with all that has to be equal."""
    recipe, task = serialized(lambda: without_a_server, "it"), serialized((REQUEST, None), "it")
    python = ["3", "11", "4"]
    monkeypatch.setattr(platform, "python_version_tuple", lambda: tuple(python))
    here = versions()
    python[2] = "9"
    assert received(carried_out(here, recipe, task)).answer.cause == "no server"
    python[1] = "12"
    there = r"runs Python 3\.12, dspy .+, dspy_gepa .+, and .* Python 3\.11, "
    with pytest.raises(SettingsError, match=there):
        carried_out(here, recipe, task)


def test_errors_that_cannot_be_read_travel_as_text_and_class():
    """Whoever reads the answer is told the class and the words, and does not break."""
    error = there(without_a_server).error
    assert isinstance(error, RemoteError)
    assert str(error).endswith("Untold: no server")
    assert error.kinds[1:3] == ("builtins.Exception", "builtins.BaseException")


def test_what_a_program_answered_and_cannot_travel_is_told_in_words():
    """As in a journal: the rollout arrives, with what its output says of itself."""
    rollout = there(with_a_lock).rollout
    assert rollout.score == 1.0
    assert "lock" in str(rollout.output)


def test_a_cluster_without_workers_is_said_and_goes_on_when_one_comes(caplog):
    """Nothing can be carried out, and nobody has to guess why."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = executor_over(client, Recipe(WORLD))
        executor.submit(REQUEST)

        class Grows(logging.Handler):
            def emit(self, record):
                if "no workers" in record.getMessage():
                    cluster.scale(1)

        logging.getLogger("dspy.teleprompt.dspy_gepa").addHandler(grows := Grows())
        answer = executor.next_answer()
        logging.getLogger("dspy.teleprompt.dspy_gepa").removeHandler(grows)
        executor.close()
    assert isinstance(answer, RolloutAnswer)
    assert "no workers: 1 rollouts wait" in caplog.text


class Waiting(Recipe):
    """Writes that it begins, and waits."""

    def carry_out(self, request, _):
        super().carry_out(request, _)
        threading.Event().wait(60)


@pytest.mark.parametrize("what", ["cluster", "client"])
def test_a_cluster_that_goes_away_is_an_end_and_what_had_begun_counts(what, tmp_path):
    """Whether somebody closes the cluster or the client, nothing waits for ever."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    )
    client = distributed.Client(cluster)
    executor = executor_over(client, Waiting(WORLD, tmp_path))
    executor.submit(REQUEST)
    while not really_begun(tmp_path):
        threading.Event().wait(0.05)
    {"cluster": cluster, "client": client}[what].close()
    answer = executor.next_answer()
    executor.close()
    cluster.close()
    assert isinstance(answer, RequestFailure)
    assert answer.is_lasting
    assert answer.rollouts == 1
    assert "went away" in answer.cause
