"""The `gepa` package's own selectors and stoppers serve here as they are."""

import dspy
import label_task
import pytest
from gepa.strategies.candidate_selector import (
    CurrentBestCandidateSelector,
    EpsilonGreedyCandidateSelector,
    ParetoCandidateSelector,
    TopKParetoCandidateSelector,
)
from gepa.strategies.component_selector import (
    AllReflectionComponentSelector,
    RoundRobinReflectionComponentSelector,
)
from gepa.utils.stop_condition import MaxCandidateProposalsStopper, MaxTrackedCandidatesStopper
from scripted_engine import scripted_lm

from dspy_gepa import GEPA

TRAIN, VALIDATION = label_task.examples(12), label_task.examples(8)
SEARCHES = pytest.mark.parametrize("search", ["default", "paper"])


def result(program=None, **settings):
    """How a run with these ends."""
    lm = label_task.reflection_lm()
    given = {"max_metric_calls": 200, "reflection_lm": lm, "num_threads": 1, **settings}
    optimizer = GEPA(label_task.metric, **given)
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(program or dspy.Predict("message -> code"), TRAIN, VALIDATION)
    return optimizer.result


@SEARCHES
@pytest.mark.parametrize(
    "make",
    [
        lambda: ParetoCandidateSelector(None),
        CurrentBestCandidateSelector,
        lambda: EpsilonGreedyCandidateSelector(0.5, None),
        lambda: TopKParetoCandidateSelector(2, None),
    ],
    ids=["pareto", "current best", "epsilon greedy", "top k"],
)
def test_candidate_selectors(make, search):
    """Each chooses parents, and the run finds what there is to find."""
    found = result(search=search, candidate_selection_strategy=make())
    assert found.mean_scores[found.best] == 1.0
    assert len(found.proposals) > 1


@SEARCHES
def test_the_component_selector_that_goes_round(search):
    """Each proposal along a lineage rewrites the next component."""
    ideas = iter(range(10**6))
    lm = scripted_lm(lambda _prompt: f"<new_text>Idea {next(ideas)}.</new_text>")
    selector = RoundRobinReflectionComponentSelector()
    settings = {"search": search, "reflection_lm": lm, "max_proposals": 4, "use_merge": False}
    found = result(label_task.Pipeline(), component_selector=selector, **settings)
    seed = found.members[0].candidate
    rewritten = [
        [name for name in seed if proposal.candidate[name] != seed[name]]
        for proposal in found.proposals
    ]
    assert rewritten == [["draft"], ["final"], ["draft"], ["final"]]


def test_the_component_selector_of_all():
    """Both components are rewritten."""
    found = result(label_task.Pipeline(), component_selector=AllReflectionComponentSelector())
    assert len(set(found.members[found.best].candidate.values())) == 1
    assert found.improved


@SEARCHES
@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_limit_in_proposals(most, search):
    """Just as many are made, whatever else was committed."""
    lm = label_task.saying("One.", "Two.", "Three.", "Four.", "Five.", "Six.")
    stopper = MaxCandidateProposalsStopper(most)
    kwargs = {"stop_callbacks": [stopper]}
    found = result(search=search, reflection_lm=lm, window=1, gepa_kwargs=kwargs)
    assert len(found.proposals) == most
    assert "MaxCandidateProposalsStopper" in found.stop_reason


def test_a_limit_in_members():
    """The seed is one of them."""
    kwargs = {"stop_callbacks": [MaxTrackedCandidatesStopper(2)]}
    assert len(result(window=1, gepa_kwargs=kwargs).members) == 2
