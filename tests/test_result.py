"""`GEPA.result` after a run that something cut short: what was found, and what it cost."""

import copy
import pickle
import threading

import dspy
import label_task
import pytest

from dspy_gepa import GEPA
from dspy_gepa.core.events import Committed
from dspy_gepa.errors import SettingsError

TRAIN, VALIDATION = label_task.examples(12), label_task.examples(8)


class Counting:
    """The metric, with its calls."""

    def __init__(self):
        self.calls = 0
        self._lock = threading.Lock()

    def __call__(self, gold, pred, trace=None):
        with self._lock:
            self.calls += 1
        return label_task.metric(gold, pred)


class Pressed(Counting):
    """Ctrl-C in two threads at once: the second is raised while what the first left is waited
    for."""

    def __init__(self):
        super().__init__()
        self._both = threading.Barrier(2)
        self._turn = threading.Lock()

    def __call__(self, gold, pred, trace=None):
        with self._turn:  # or two could be the sixth
            if self.calls < 6:
                return super().__call__(gold, pred, trace)
        self._both.wait(600)
        raise KeyboardInterrupt


class Failing:
    """What a user gives, with a mistake in it that shows late."""

    def __init__(self, *results):
        self.results = list(results)

    def __call__(self, *_given):
        return self.results.pop(0) if self.results else {}["missing"]


def cut_short(error, metric, **settings):
    """The result of a run that this error ended."""
    lm = label_task.reflection_lm()
    optimizer = GEPA(metric, max_metric_calls=200, reflection_lm=lm, **settings)
    with dspy.context(lm=label_task.task_lm()), pytest.raises(error):
        optimizer.compile(dspy.Predict("message -> code"), TRAIN, VALIDATION)
    return optimizer.result


@pytest.mark.parametrize("search", ["default", "paper"])
@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: {"candidate_selection_strategy": Failing(0)}, KeyError),
        (lambda: {"candidate_selection_strategy": Failing(0, 99)}, ValueError),
        (lambda: {"gate": Failing()}, KeyError),
        (lambda: {"component_selector": lambda _view: Failing()()}, KeyError),
        (lambda: {"gepa_kwargs": {"stop_callbacks": [Failing()]}}, KeyError),
    ],
    ids=["selection", "wrong id", "gate", "component selector", "stop callback"],
)
def test_it_tells_what_was_paid_until_a_users_function_failed(make, error, search):
    """Every call that was made is in it, the last one included."""
    metric = Counting()
    result = cut_short(error, metric, search=search, num_threads=1, **make())
    assert result.tally.metric_calls == metric.calls > 0
    assert result.stop_reason == ""


def test_it_tells_what_was_paid_until_the_second_ctrl_c():
    """What was answered before the first one counts."""
    metric = Pressed()
    result = cut_short(KeyboardInterrupt, metric, num_threads=2)
    assert result.tally.metric_calls == metric.calls == 6
    assert result.stop_reason == "interrupted from the keyboard"


def test_it_can_be_read_while_the_run_is_under_way():
    """An observer finds what it is told of in it."""
    seen = []

    def look(event, state):
        if isinstance(event, Committed):
            seen.append(optimizer.result.state is state)

    lm = label_task.reflection_lm()
    optimizer = GEPA(label_task.metric, max_metric_calls=60, reflection_lm=lm, observers=[look])
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(dspy.Predict("message -> code"), TRAIN, VALIDATION)
    assert seen
    assert all(seen)


def improved(**settings):
    """The result of a whole run, of which settings, models and metric are objects of this file."""
    lm, observers = label_task.reflection_lm(), [lambda event, state: None]
    settings = {"max_metric_calls": 60, "reflection_lm": lm, "observers": observers, **settings}
    optimizer = GEPA(lambda *given: label_task.metric(*given[:2]), **settings)
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(dspy.Predict("message -> code"), TRAIN, VALIDATION)
    return optimizer.result


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gate": lambda child, parents: sum(child) > sum(parents[0])},
        {"candidate_selection_strategy": lambda pool, random: 0, "search": "paper"},
        {"component_selector": lambda view: view.called, "instruction_proposer": None},
        {"track_stats": True, "track_best_outputs": True},
        {"constraints": ["at most 200 words"], "frozen": ()},
    ],
    ids=lambda settings: ", ".join(settings) or "as usual",
)
def test_a_result_goes_through_queues_and_caches(settings):
    """Whatever functions it was made with: all that can be read of it comes back."""
    result = improved(**settings)
    back = pickle.loads(pickle.dumps(result))
    for one in (back, copy.copy(result), copy.deepcopy(result)):
        assert repr(one) == repr(result)
        assert one.story == result.story
        assert (one.best, one.mean_scores, one.tally) == (
            result.best,
            result.mean_scores,
            result.tally,
        )
        assert one.members == result.members
    assert pickle.loads(pickle.dumps(back)).to_dict() == result.to_dict()


def test_what_was_pickled_says_that_it_has_no_examples():
    """Of which specialists are made; a copy still has them."""
    result = improved()
    student = dspy.Predict("message -> code")
    assert copy.deepcopy(result).specialists(student) is not None
    with pytest.raises(SettingsError, match="A result that was pickled leaves them behind"):
        pickle.loads(pickle.dumps(result)).specialists(student)
