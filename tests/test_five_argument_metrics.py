"""Metrics that can be asked about a predictor, the shape that dspy.GEPA demands.

The same run at any number of threads and after a resume, every question paid once, and the budget
kept whatever kills the process.
"""

import os
import random
import signal
import threading
import zlib

import dspy
import label_task
import pytest

from dspy_gepa import GEPA, load_run

THOROUGH = os.environ.get("DSPY_GEPA_TESTS") == "thorough"
SEEDS = range(24 if THOROUGH else 4)


class Asked:
    """A judge whose score differs from question to question, though not from run to run.

    It keeps what it was asked about a predictor: the example, the predictor and the texts. At one
    of its calls it presses Ctrl-C, if it is told to.
    """

    def __init__(self, moment=0):
        self.calls = 0
        self._moment = moment
        self.questions = []
        self._lock = threading.Lock()

    def __call__(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
        with self._lock:
            self.calls += 1
            if pred_name is not None:
                texts = tuple(step[0].signature.instructions for step in trace)
                self.questions.append((gold.message, pred_name, texts))
        if self.calls == self._moment:
            signal.raise_signal(signal.SIGINT)
        return judged(gold, pred, pred_name)


def judged(gold, pred, pred_name):
    """Right or wrong, with a noise of its own for each question, and the rule."""
    noise = zlib.crc32(f"{gold.message} {pred.code} {pred_name}".encode()) % 100 / 1000
    topic = next(topic for topic, code in label_task.CODES.items() if code == gold.code)
    words = f"{topic} means {gold.code}" if pred_name != "draft" else "Only a draft."
    return dspy.Prediction(score=0.9 * (gold.code == pred.code) + noise, feedback=words)


def compiled(metric, seed, *, train=4, **settings):
    """What a run comes to."""
    given = {"max_metric_calls": 90, "num_threads": 1, "auto": None, **settings}
    optimizer = GEPA(metric, reflection_lm=label_task.reflection_lm(), seed=seed, **given)
    data = label_task.examples(train), label_task.examples(8)
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(label_task.Pipeline(), trainset=data[0], valset=data[1])
    return optimizer.result


def outcome(result):
    return result.members, result.proposals, result.mean_scores, result.tally


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("window", [1, 4])
def test_threads_change_nothing_and_each_question_is_paid_once(seed, window):
    """One and 16 threads: one run, and the tally is the metric's own count. Of a run of a program
    on an example, the metric is asked about each predictor once."""
    found = []
    for num_threads in (1, 16):
        metric = Asked()
        result = compiled(metric, seed, window=window, num_threads=num_threads)
        found.append(outcome(result))
        assert result.tally.metric_calls == metric.calls <= 90
        assert len(metric.questions) == len(set(metric.questions)) > 0
    assert found[0] == found[1]


@pytest.mark.parametrize("window", [1, 4])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path, window):
    """Interrupted at any metric call, one for feedback included, and carried on: nothing is asked
    or paid a second time."""
    whole = Asked()
    expected = outcome(compiled(whole, 0, window=window))
    for moment in range(1, whole.calls, 3 if THOROUGH else 17):
        folder = str(tmp_path / f"{moment}")
        first, second = Asked(moment), Asked()
        compiled(first, 0, window=window, log_dir=folder)
        assert outcome(compiled(second, 0, window=window, log_dir=folder)) == expected
        assert first.calls + second.calls == whole.calls


def lived(folder, log, seed, calls, num_threads):
    """One life of a run in a process of its own, killed at so many metric calls; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    left = iter(range(calls - 1, -1, -1))

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        os.write(descriptor, f"{pred_name or '-'}\n".encode())
        if not next(left, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return judged(gold, pred, pred_name)

    try:
        compiled(metric, seed, window=4, num_threads=num_threads, log_dir=folder)
    except BaseException:  # noqa: BLE001 - the child must not go on as pytest
        os._exit(3)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are told apart by signals")
@pytest.mark.parametrize("num_threads", [1, 16])
@pytest.mark.parametrize("seed", SEEDS[:8] if THOROUGH else SEEDS[:1])
def test_the_budget_holds_however_often_a_run_is_killed(tmp_path, seed, num_threads):
    """After a dozen kills at metric calls of any kind, the calls that a file outside of the process
    counts are never more than the tally says, and that never more than the limit."""
    chance, log, folder = random.Random(seed), tmp_path / "calls", str(tmp_path / "run")
    ends = []
    for _ in range(12):
        ends.append(lived(folder, log, seed, chance.randint(2, 9), num_threads))
        real = log.read_text().split()
        assert len(real) <= 90
        if ends[-1] == 0:
            break
    else:
        ends.append(lived(folder, log, seed, 1000, num_threads))
    real = log.read_text().split()
    tally = load_run(folder).result.tally
    assert (ends[0], ends[-1]) == (-signal.SIGKILL, 0)
    assert len(real) <= tally.metric_calls <= 90
    # What 16 threads lose at each kill may have used up the budget before that was asked.
    assert num_threads > 1 or "final" in real


def test_a_metric_that_tells_no_predictors_apart_is_not_asked_for_long():
    """Where it says of a predictor what it says of the whole, it is asked ever more rarely."""
    asked = {"draft": 0, "final": 0}

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        if pred_name is not None:
            asked[pred_name] += 1
        topic = next(topic for topic, code in label_task.CODES.items() if code == gold.code)
        words = "Only a draft." if pred_name == "draft" else f"{topic} means {gold.code}"
        return dspy.Prediction(score=0.9 * (gold.code == pred.code), feedback=words)

    result = compiled(metric, 0, train=40, max_metric_calls=400, window=1, use_merge=False)
    reflections = [each for each in result.proposals if each.reflected_examples]
    assert len(reflections) > 6
    assert 10 < asked["final"] < 0.6 * asked["draft"], asked
