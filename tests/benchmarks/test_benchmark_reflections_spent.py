"""What is said of where the search's cost goes is all that it spent."""

import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import reflections_spent
from families import by_ours, draw


def test_all_that_a_run_spends_is_told_by_its_kind():
    """Rollouts and ten times the reflections, and every reflection counts once."""
    gains, last = defaultdict(list), by_ours(draw(9), cost=200)[-1]
    spent, (_, returned, _) = reflections_spent.spent_in(draw(9), 200, gains)
    assert sum(spent.values()) == last.metric_calls + 10 * last.reflections
    assert returned == last.score
    of_sizes = [values for (kind, _), values in gains.items() if kind.startswith("size")]
    assert sum(map(len, of_sizes)) == last.reflections > 0


def test_the_tables_are_printed(capsys):
    """One for the proposals, one for the cost, one for what is returned."""
    reflections_spent.main(["--first", "9", "--draws", "2", "--cost", "150"])
    printed = capsys.readouterr().out
    assert all(each in printed for each in ("mean gain", "share of the cost", "without what harms"))
