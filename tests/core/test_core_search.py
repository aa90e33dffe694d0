"""The four verbs: what is asked for, what follows from an answer, what changes."""

from dataclasses import replace

import pytest

from dspy_gepa.core.budget import Limits, Tally, Usage
from dspy_gepa.core.events import Advanced, Committed, Ended, Issued, Reflected, RolledOut
from dspy_gepa.core.proposal import EvaluatingParent, Mutation, Reflecting, Settled, Validating
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.sampling import EpochSampler
from dspy_gepa.core.search import decide, evolve, requests, start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.core.work import (
    Evidence,
    ReflectionAnswer,
    ReflectionRequest,
    RequestFailure,
    RolloutRequest,
    Stop,
)
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(names=("a", "b"))
SETTINGS = Settings(
    train=(0, 1, 2),
    validation=(2, 3),
    limits=Limits(metric_calls=100),
    sampler=EpochSampler(2),
    window=2,
)


def told(state, said):
    """The state after everything that follows from what was said."""
    for event in decide(state, said):
        state = evolve(state, event)
    return state


def answered(state, *, times=1):
    """The state after so many rounds in which all outstanding work is answered."""
    for _ in range(times):
        for request in requests(state):
            state = told(state, WORLD(request))
    return state


def begun(settings=SETTINGS):
    """A run whose seed is validated, and whose first proposals run their parents."""
    state = told(start(settings, WORLD.student), None)
    while not state.members:
        state = told(state, WORLD(requests(state)[-1]))
    return state


def test_a_run_starts_with_the_seed_and_a_proposal_from_it():
    """One rollout of the seed comes first; when it is answered, the rest of the first proposal's
    minibatch and then the seed's validation are outstanding, traced where they may teach."""
    state = start(SETTINGS, WORLD.student)
    (issued,) = decide(state, None)
    assert isinstance(issued, Issued)
    assert (issued.ticket, issued.origin.parent, issued.origin.visible_proposals) == (1, 0, 0)
    state = told(state, None)
    one, other = issued.origin.drawn_examples
    assert requests(state) == (RolloutRequest(WORLD.student, one, traced=True),)
    state = told(state, WORLD(requests(state)[0]))
    outstanding = dict.fromkeys((other, 2, 3))
    outstanding.pop(one, None)
    assert requests(state) == tuple(
        RolloutRequest(WORLD.student, example, traced=example in SETTINGS.train)
        for example in outstanding
    )
    assert decide(state, None) == ()


def test_the_window_is_filled_before_the_next_commit():
    """As soon as there is a member, as many proposals are begun as the window allows."""
    state, events = told(start(replace(SETTINGS, window=3), WORLD.student), None), ()
    while not state.members:
        assert [proposal.ticket for proposal in state.live] == [0, 1]
        last = WORLD(requests(state)[-1])
        state, events = told(state, last), decide(state, last)
    assert [type(event) for event in events] == [RolledOut, Advanced, Committed, Issued, Issued]
    assert [proposal.ticket for proposal in state.live] == [1, 2, 3]
    assert decide(state, None) == ()


def test_each_key_is_asked_for_once():
    """Work that two proposals need is outstanding once, and not at all once it is known."""
    state = begun()
    keys = [request.key for request in requests(state)]
    wanted = {key for proposal in state.live for e in proposal.evaluations for key in e.keys}
    assert sorted(keys) == sorted(wanted - set(state.known))


def test_a_reflection_is_shown_the_minibatch():
    """A reflection request has the parent's rollouts in the minibatch's order."""
    state = answered(begun())
    reflection = next(r for r in requests(state) if isinstance(r, ReflectionRequest))
    proposal = state.live[0]
    assert isinstance(proposal.phase, Reflecting)
    evaluation = proposal.phase.evaluation
    evidence = tuple(map(Evidence, evaluation.examples, state.rollouts(evaluation)))
    components = proposal.phase.components
    assert reflection == ReflectionRequest(1, WORLD.student, components, evidence)


def test_deciding_changes_nothing():
    """The state that was decided on is the state that it was."""
    state = begun()
    before = replace(state)
    for request in requests(state):
        decide(state, WORLD(request))
    assert state == before


def test_a_repeated_answer_decides_nothing():
    """An answer that was heard before has no consequence, at any time."""
    state = start(SETTINGS, WORLD.student)
    heard = []
    for _ in range(6):
        for request in requests(state):
            heard.append(WORLD(request))
            state = told(state, heard[-1])
            assert [decide(state, answer) for answer in heard] == [()] * len(heard)


def test_an_answer_nobody_waits_for_decides_nothing():
    """A reflection of a proposal that is over, not begun or in another phase is not heard."""
    state = begun()
    assert [decide(state, ReflectionAnswer(ticket)) for ticket in (0, 1, 2, 99)] == [()] * 4


def test_a_stop_ends_the_run_and_keeps_what_is_in_flight():
    """After a stop nothing is asked for or begun, and answers that still come are counted."""
    state = begun()
    outstanding = requests(state)
    assert decide(state, Stop("enough")) == (Ended("enough"),)
    state = told(state, Stop("enough"))
    assert (state.ending, state.is_broken, requests(state)) == ("enough", False, ())
    before = state.tally
    for request in outstanding:
        state = told(state, WORLD(request))
        assert requests(state) == ()
    assert state.tally == before + Tally(len(outstanding), len(outstanding))
    assert [proposal.ticket for proposal in state.live] == [1, 2]
    assert decide(state, Stop("again")) == ()


def test_a_stop_lets_a_finished_proposal_be_committed():
    """A proposal whose last answer comes after the stop becomes a member all the same."""
    state = begun(replace(SETTINGS, window=1, use_merge=False))
    while len(requests(state)) != 1 or not isinstance(state.live[0].phase, Validating):
        state = told(state, WORLD(requests(state)[0]))
    (last,) = requests(state)
    members = len(state.members)
    state = told(told(state, Stop("enough")), WORLD(last))
    assert (len(state.members), state.live, state.ending) == (members + 1, (), "enough")


def test_a_lasting_setback_ends_the_run():
    """It says that the run is broken; the first one is the one that is kept, and what later ones
    cost still counts."""
    state = begun()
    key = requests(state)[0].key
    before = state.tally
    state = told(state, RequestFailure(key, "no such model", metric_calls=1, usage=Usage(10)))
    assert (state.ending, state.is_broken) == ("no such model", True)
    assert decide(state, Stop("enough")) == ()
    state = told(state, RequestFailure(key, "another", metric_calls=2))
    lost = Tally(metric_calls=3, total_tokens=10)
    assert (state.ending, state.lost, state.tally) == ("no such model", lost, before + lost)


def test_a_setback_after_a_stop_breaks_nothing():
    """A run that was to end anyway ends as it was to, with what it found."""
    state = told(begun(), Stop("enough"))
    state = told(state, RequestFailure(RolloutKey("x", 0), "no such model"))
    assert (state.ending, state.is_broken) == ("enough", False)


def test_a_late_setback_ends_nothing():
    """A request that was answered is not outstanding any more, whatever is said about it later."""
    state = told(start(SETTINGS, WORLD.student), None)
    request = requests(state)[0]
    state = told(state, WORLD(request))
    for is_lasting in (True, False):
        for _ in range(5):
            state = told(state, RequestFailure(request.key, "no such model", is_lasting))
    assert (state.ending, state.is_broken) == ("", False)


def test_setbacks_that_pass_end_a_run_only_in_a_row():
    """After so many vain attempts at one request with nothing answered in between; until then the
    request stays outstanding."""
    state = begun()
    request = requests(state)[0]
    passing = RequestFailure(request.key, "busy", is_lasting=False)
    for _ in range(state.settings.max_setbacks_in_a_row - 1):
        state = told(state, passing)
        assert request in requests(state)
    state = told(
        told(state, WORLD(request)), RequestFailure(requests(state)[-1].key, "busy", False)
    )
    assert not state.ending
    later = requests(state)[0]
    for _ in range(state.settings.max_setbacks_in_a_row):
        state = told(state, RequestFailure(later.key, "busy", is_lasting=False))
    assert (state.ending, state.is_broken) == ("busy (4 attempts in a row)", True)


def test_what_is_lost_is_never_spent_twice():
    """A metric call that came to nothing is part of the budget: where too little is left for the
    work under way, the run ends before the limit is exceeded."""
    state = told(start(replace(SETTINGS, limits=Limits(metric_calls=2)), WORLD.student), None)
    request = requests(state)[0]
    state = told(state, RequestFailure(request.key, "busy", is_lasting=False, metric_calls=1))
    assert (state.ending[:21], state.is_broken) == ("the budget is used up", False)


def test_an_ended_run_has_nothing_to_decide():
    """A run that ended by itself has no live proposal, wants nothing and stays as it is."""
    state = told(start(replace(SETTINGS, limits=Limits(metric_calls=30)), WORLD.student), None)
    while requests(state):
        state = answered(state)
    assert state.live == ()
    assert state.ending
    assert decide(state, None) == ()


def test_a_window_of_proposals_gets_different_minibatches():
    """Each proposal draws the next minibatch, whether earlier ones are live or over."""
    state = begun()
    mutations = [p.origin for p in state.live]
    assert [m.mutation_index for m in mutations] == [0, 1]
    state = answered(state, times=8)
    origins = [origin for origin in state.origins() if isinstance(origin, Mutation)]
    assert [origin.mutation_index for origin in reversed(origins)] == list(range(len(origins)))


def test_there_is_no_best_before_the_seed_is_scored():
    """A pool without members has no best."""
    state = start(SETTINGS, WORLD.student)
    assert state.scores.shape == (0, 2)
    with pytest.raises(ValueError, match="empty"):
        _ = state.best


def test_a_members_scores_cannot_be_changed():
    """The rows that members keep are read-only."""
    with pytest.raises(ValueError, match="read-only"):
        begun().members[0].scores[0] = 1.0


def test_a_state_is_a_value():
    """The same events on the same start give an equal state; one more event an unequal one."""
    events = []
    state = start(SETTINGS, WORLD.student)
    while len(events) < 30:
        for request in requests(state):
            new = decide(state, WORLD(request))
            events += new
            state = told(state, WORLD(request))
    again = start(SETTINGS, WORLD.student)
    for event in events:
        before, again = again, evolve(again, event)
        assert before != again
    assert again == state
    assert isinstance(again, RunState)


def test_phases_are_entered_in_order():
    """A mutation goes through its phases one after the other and is committed last."""
    state = start(replace(SETTINGS, window=1), WORLD.student)
    seen = []
    while not any(isinstance(event, Committed) and event.ticket == 1 for event in seen):
        new = decide(state, WORLD(requests(state)[0]))
        seen += new
        for event in new:
            state = evolve(state, event)
    one = [e for e in seen if getattr(e, "ticket", None) == 1]
    assert [type(event) for event in one[:2]] == [Issued, Advanced]
    assert isinstance(one[0].phase, EvaluatingParent)
    assert [type(event) for event in one[-2:]] == [Advanced, Committed]
    assert isinstance(one[-2].phase, Settled)
    assert sum(isinstance(event, Reflected) for event in seen) == 1
