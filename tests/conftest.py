"""Hypothesis profiles of the whole suite.

fast       the default: few examples, the same in every run
thorough   many random examples; for nightly runs and after changes of the core:
           DSPY_GEPA_TESTS=thorough python -m pytest tests
"""

import importlib
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import HealthCheck, settings

# Whole runs are examples here; how long one takes says nothing about it on a shared machine.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("fast", max_examples=40, derandomize=True, database=None, **PATIENT)
settings.register_profile("thorough", max_examples=1000, database=None, print_blob=True, **PATIENT)
settings.load_profile(os.environ.get("DSPY_GEPA_TESTS", "fast"))


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard():
    """Also where a shell began the tests in the background, which has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def spawned():
    """A pool of two processes that know nothing of this one."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
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
