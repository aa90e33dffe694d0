"""The report in the run directory: there however the run ended, without keys, and harmless."""

import logging

import dspy
import label_task
import pytest
from label_task import Counting
from scripted_engine import AuthError, scripted_lm

from dspy_gepa import GEPA
from dspy_gepa.errors import WorkerError
from dspy_gepa.observe.reporting import reported
from dspy_gepa.views.report import REPORT

KEY = "sk-live-0123456789abcdef0123456789"


def compiled(folder, metric=label_task.metric, reflection_lm=None, calls=60, **asked):
    optimizer = GEPA(
        metric,
        max_metric_calls=calls,
        num_threads=1,
        reflection_lm=reflection_lm or label_task.reflection_lm(),
        log_dir=str(folder),
        **asked,
    )
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(
            dspy.Predict("message -> code"), label_task.examples(8), label_task.examples(8)
        )
    return optimizer


def test_a_finished_run_has_a_report(tmp_path):
    """With the verdict in one sentence."""
    compiled(tmp_path / "run")
    page = (tmp_path / "run" / REPORT).read_text("utf-8")
    assert "right (as it was: 0 of" in page
    assert "bill means Q7" in page


def test_an_interrupted_run_has_a_report(tmp_path):
    """Ctrl-C: what was found until then."""
    counting = Counting(at=12, happens=label_task.interrupt)
    compiled(tmp_path / "run", counting)
    assert "12 metric calls" in (tmp_path / "run" / REPORT).read_text("utf-8")


def test_a_run_that_broke_down_has_a_report(tmp_path):
    """It says so, with the cause."""

    def refused(_prompt):
        raise AuthError("the key was refused")

    with pytest.raises(WorkerError):
        compiled(tmp_path / "run", reflection_lm=scripted_lm(refused))
    page = (tmp_path / "run" / REPORT).read_text("utf-8")
    assert "Broke down" in page
    assert "the key was refused" in page


def test_a_run_that_is_carried_on_has_a_new_report(tmp_path):
    """It tells of all that was done."""
    compiled(tmp_path / "run", calls=20)
    before = (tmp_path / "run" / REPORT).read_text("utf-8")
    compiled(tmp_path / "run", calls=60)
    assert (tmp_path / "run" / REPORT).read_text("utf-8") != before


def test_no_key_reaches_a_report(tmp_path, monkeypatch):
    """Also where the process knows it and texts have it in them, a program's own too."""
    monkeypatch.setenv("SERVICE_API_KEY", KEY)

    def metric(gold, pred, trace=None):
        return float(gold.code == pred.code), f"Ask with {KEY}"

    compiled(tmp_path / "run", metric)
    page = (tmp_path / "run" / REPORT).read_text("utf-8")
    assert KEY not in page
    assert "[secret:SERVICE_API_KEY]" in page


def test_a_report_that_cannot_be_made_is_said(tmp_path, caplog):
    """It never takes a run's result away: a line in the log says how to get one later."""

    def story():
        raise ValueError("no story")

    class Kept:
        def __enter__(self):
            return "open"

        def __exit__(self, *_error):
            return None

    with (
        caplog.at_level(logging.ERROR, "dspy"),
        reported(Kept(), tmp_path, story) as opened,
    ):
        assert opened == "open"
    assert "takes no report; dspy-gepa report makes one later" in caplog.text
