"""How often the metric is asked about single components."""

import pytest
from test_core_choices import STUDENT, Task

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.rollout import Remark, Rollout, Step, Trace
from dspy_gepa.core.sampling import EpochSampler
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import RemarkAnswer, RemarkRequest, RolloutAnswer, RolloutRequest
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.orders import OrderedExecutor, newest_first, shuffled
from dspy_gepa.testing.witness import outcome

TRACE = Trace(steps=tuple(Step(name, {}, {}) for name in STUDENT))


def asked(remark, *, score=0.5, executor=SerialExecutor, **settings):
    """The final state, and what the metric was asked of components in order, with its answers.

    It says "It is wrong." of the whole, and of a component what a function of the request says.
    """
    questions = []

    def worker(request):
        if isinstance(request, RolloutRequest):
            return RolloutAnswer(request.key, Rollout(score, feedback="It is wrong.", trace=TRACE))
        if isinstance(request, RemarkRequest):
            questions.append((request.component, request.key.example, remark(request)))
            return RemarkAnswer(request.key, remark(request))
        return Task(rewrite=lambda ticket, texts, name: f"{texts[name]} {ticket}")(request)

    given = {
        "limits": Limits(metric_calls=10_000, proposals=60),
        "train": tuple(range(60)),
        "validation": (100, 101),
        "sampler": EpochSampler(3),
        "use_merge": False,
        "skip_perfect_score": False,
        "feedback_calls": 2,
        "asked_about": tuple(STUDENT),
        "components": lambda view: view.called,
    }
    begun = start(Settings(**(given | settings)), STUDENT)
    return run_loop(begun, executor(worker)).state, questions


def of(component, questions):
    """The answers on one component."""
    return [remark for name, _, remark in questions if name == component]


NOTHING_OF_ITS_OWN = {
    "the same words": lambda _: Remark("It is wrong."),
    "the same words, spaced": lambda _: Remark(" It is wrong.\n"),
    "no words": lambda _: Remark(""),
    "blanks": lambda _: Remark(" \n"),
    "another score without words": lambda _: Remark("", score=0.1),
}


@pytest.mark.parametrize("name", NOTHING_OF_ITS_OWN)
def test_a_metric_that_tells_no_components_apart_is_asked_ever_more_rarely(name):
    """And never not at all: of 60 examples about 20 are asked about, also late ones."""
    _, questions = asked(NOTHING_OF_ITS_OWN[name], selection=lambda view, _: 0)
    assert 10 < len(of("a", questions)) < 30
    assert {example for _, example, _ in questions[-6:]}.isdisjoint(
        example for _, example, _ in questions[:6]
    )


OF_ITS_OWN = {
    "words": lambda r: Remark(f"{r.component} is wrong."),
    "an attachment": lambda _: Remark("", attachments={"page": "image"}),
    "words on one in four": lambda r: Remark("It is wrong." if r.key.example % 4 else "Here."),
}


@pytest.mark.parametrize("name", OF_ITS_OWN)
def test_a_metric_that_tells_them_apart_is_asked_almost_always(name):
    """Where one remark in four is of the component alone, the calls are worth it."""
    _, questions = asked(OF_ITS_OWN[name], selection=lambda view, _: 0)
    assert len(of("a", questions)) > 45


def test_what_is_said_on_one_example_in_twenty_is_seen():
    """Though the first ones say nothing, and once seen it is asked about in every candidate."""

    def remark(request):
        return Remark("Here." if request.key.example % 20 == 7 else "It is wrong.")

    found = []
    for seed in range(10):
        _, questions = asked(remark, seed=seed, limits=Limits(metric_calls=10**5, proposals=120))
        found += [any(each.text == "Here." for each in of("a", questions))]
    assert sum(found) >= 7


def test_each_component_is_judged_for_itself():
    """One that the metric says nothing of does not take the questions of another."""

    def remark(request):
        return Remark("It is wrong." if request.component == "a" else f"{request.key.example}")

    _, questions = asked(remark, feedback_calls=1, selection=lambda view, _: 0)
    assert len(of("a", questions)) + len(of("b", questions)) == 60
    assert len(of("b", questions)) > 30


def test_what_could_not_be_asked_says_nothing():
    """An answer without a call of the metric is no evidence that it tells nothing apart."""
    _, questions = asked(lambda _: Remark("", metric_calls=0), selection=lambda view, _: 0)
    assert len(of("a", questions)) == 60


def test_the_questions_do_not_depend_on_the_order_of_answers():
    """Nor on what other proposals were told meanwhile."""
    states = []
    for order in (None, newest_first, shuffled(3)):
        executor = (
            SerialExecutor
            if order is None
            else lambda task, order=order: OrderedExecutor(task, order)
        )
        state, _ = asked(NOTHING_OF_ITS_OWN["no words"], executor=executor, window=4)
        states.append(outcome(state))
    assert states[0] == states[1] == states[2]
