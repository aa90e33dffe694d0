"""Objectives beside the score, and a metric over the whole set: what a winner is judged by."""

import dspy
import label_task
import pytest
from label_task import TOLD, TRAIN, gepa, saying
from scripted_engine import scripted_lm

from dspy_gepa import GEPA, Feedback, load_run
from dspy_gepa.errors import MetricError, SettingsError, WorkerError

pytestmark = pytest.mark.usefixtures("label_task_configured")


def compiled(metric=label_task.metric, **settings):
    """The program that comes back, and the optimizer."""
    optimizer = gepa(metric, **{"max_metric_calls": 80, **settings})
    program = dspy.Predict("message -> code")
    return optimizer.compile(program, TRAIN, label_task.examples(8)), optimizer


def rollouts(optimizer):
    """All rollouts that were answered."""
    known = optimizer.result.state.known
    return [known[key] for key in known]


def test_tokens_and_seconds_of_a_rollout_are_measured_where_they_are_named():
    """Of the program's run alone: what the metric asks of models is not in it."""
    judge = scripted_lm("fine")

    def metric(gold, pred, trace=None):
        judge("Is it fine?")
        return label_task.metric(gold, pred)

    _, optimizer = compiled(metric, objectives=["total_tokens", "seconds"])
    assert {rollout.objectives["total_tokens"] for rollout in rollouts(optimizer)} == {2.0}
    assert all(rollout.objectives["seconds"] >= 0 for rollout in rollouts(optimizer))
    assert {rollout.usage.total_tokens for rollout in rollouts(optimizer)} == {4}


def test_what_a_failed_rollout_took_is_measured_too():
    """Else a text under which costly examples fail would look cheap."""

    class Fails(dspy.Module):
        def __init__(self):
            super().__init__()
            self.name = dspy.Predict("message -> code")

        def forward(self, message):
            self.name(message=message)
            raise ValueError("the answer is too long")

    def metric(gold, pred, trace=None):
        raise KeyError("code")

    settings = {"max_metric_calls": 20, "objectives": ["total_tokens"]}
    for program, judge in [(Fails(), label_task.metric), (dspy.Predict("message -> code"), metric)]:
        optimizer = GEPA(judge, reflection_lm=label_task.reflection_lm(), **settings)
        with pytest.raises(WorkerError, match="failed on each"):
            optimizer.compile(program, label_task.examples(12), label_task.examples(8))
        assert {rollout.objectives["total_tokens"] for rollout in rollouts(optimizer)} == {2.0}


def test_nothing_is_measured_where_nothing_is_named():
    """Then a rollout has the metric's own objectives."""
    _, optimizer = compiled()
    assert all(rollout.objectives == {} for rollout in rollouts(optimizer))


def test_an_objective_in_usd_needs_a_known_price():
    """An unknown one is refused before a call, and not counted as nothing."""
    with pytest.raises(SettingsError, match=r"objectives=usd was given, and the price of .* not"):
        compiled(objectives=["usd"])
    _, optimizer = compiled(objectives=["usd"], price=lambda model, usage: 0.25)
    assert {rollout.objectives["usd"] for rollout in rollouts(optimizer)} == {0.25}


def by_parts(gold, pred, trace=None):
    """A score, with the length of the instruction as an objective."""
    score, feedback = label_task.metric(gold, pred)
    return Feedback(score, feedback, objectives={"cost": 10.0 * score})


@pytest.mark.parametrize(("direction", "tops"), [("max", {1}), ("min", {0})])
def test_an_objective_has_a_direction(direction, tops):
    """Where less is better, the member with less holds the column."""
    settings = {
        "objectives": {"cost": direction},
        "frontier_type": "objective",
        "reflection_lm": saying(TOLD),
        "track_stats": True,
    }
    program, optimizer = compiled(by_parts, **settings)
    assert len(optimizer.result.members) == 2
    found = program.detailed_results
    assert found.per_objective_best_candidates == {"cost": tops}
    assert found.objective_pareto_front == {"cost": 10.0 if direction == "max" else 0.0}
    assert [means["cost"] for means in found.val_aggregate_subscores] == [0.0, 10.0]


@pytest.mark.parametrize("objectives", [{"cost": "down"}, {"cost": "MAX"}])
def test_an_unknown_direction_is_refused(objectives):
    """With the directions that there are."""
    with pytest.raises(SettingsError, match="allowed: 'max', 'min'"):
        GEPA(label_task.metric, objectives=objectives)


def test_an_objective_that_nobody_scores_is_told(caplog):
    """It may be misspelt."""
    compiled(objectives={"brevty": "min"})
    assert "No validated rollout had the objectives brevty." in caplog.text


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("hybrid", {"frontier_type": "hybrid"}),
        ("objective", {"gepa_kwargs": {"frontier_type": "objective"}}),
    ],
)
def test_a_frontier_of_objectives_needs_some(kind, settings):
    """Where the metric scores none, the run stops when that is seen, and says so."""
    words = f"the frontier '{kind}' needs objectives.*objective_scores"
    with pytest.raises(WorkerError, match=words) as stopped:
        compiled(**settings)
    assert "Check the model" not in str(stopped.value)


def unknowns(pairs):
    """A score over a whole set that counts answers which the metric counts as wrong."""
    return sum(getattr(pred, "code", None) == "unknown" for _, pred in pairs)


def test_the_winner_is_chosen_by_the_aggregate_metric():
    """Here one that likes best what the metric likes least."""
    program, optimizer = compiled(aggregate_metric=unknowns, track_stats=True)
    result = optimizer.result
    assert len(result.members) > 1
    assert result.aggregates[0] == 8 == max(result.aggregates)
    assert (result.best, result.improved) == (0, False)
    assert program.signature.instructions == result.members[0].candidate["self"]
    assert program.detailed_results.best_idx == 0


def test_the_aggregate_metric_is_told_all_answers_also_after_a_run_was_carried_on(tmp_path):
    """With the fields of each, as the program gave them."""
    seen = []

    def noting(pairs):
        seen.append([(gold.code, pred.code) for gold, pred in pairs])
        return 0.0

    settings = {"aggregate_metric": noting, "log_dir": str(tmp_path)}
    compiled(**settings)
    first = list(seen)
    seen.clear()
    compiled(**settings)
    assert seen == first
    assert {len(pairs) for pairs in seen} == {8}


def aggregates(*said):
    """A metric that gives these in turn, the last one again and again, and raises at a key."""
    left = list(said)

    def aggregate(pairs):
        one = left.pop(0) if len(left) > 1 else left[0]
        return {}[one] if isinstance(one, str) else one

    return aggregate


USELESS = ["gone", float("nan"), float("-inf"), None, [1.0, 2.0]]


@pytest.mark.parametrize("said", USELESS, ids=str)
def test_a_broken_aggregate_metric_stops_a_run_at_its_beginning(said, tmp_path):
    """As soon as the program as it was is validated, which is all that is lost without a log_dir;
    with one, a mended metric carries on."""
    settings = {"log_dir": str(tmp_path), "num_threads": 1}
    with pytest.raises(MetricError, match=r"aggregate metric (raised|returned).*8 validation"):
        compiled(aggregate_metric=aggregates(said), **settings)
    seen = load_run(tmp_path).result
    assert not seen.proposals
    assert seen.tally.metric_calls <= 12 + 8  # the first minibatch and the validation set
    _, optimizer = compiled(aggregate_metric=aggregates(1.0, 0.0, 2.0), **settings)
    assert optimizer.result.aggregates[:2] == (0.0, 2.0)


@pytest.mark.parametrize("said", USELESS, ids=str)
def test_an_aggregate_metric_that_breaks_later_loses_nothing(said, caplog):
    """The run is paid for: the winner is chosen by the members' scores, and a warning says so."""
    _, optimizer = compiled(aggregate_metric=aggregates(1.0, said))
    assert optimizer.result.best > 0
    assert "The winner is chosen by its scores" in caplog.text
