"""Minibatches of shuffled epochs."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.sampling import epoch_minibatch

EXAMPLES = st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True)
SIZES, SEEDS = st.integers(1, 8), st.integers(0, 999)


@given(EXAMPLES, SIZES, st.integers(0, 3), SEEDS)
def test_an_epoch_visits_every_example(examples, size, epoch, seed):
    """Over an epoch each example comes once, and only its last minibatch repeats some."""
    per_epoch = -(-len(examples) // min(size, len(examples)))
    draws = range(epoch * per_epoch, (epoch + 1) * per_epoch)
    batches = [epoch_minibatch(examples, size, draw, seed=seed) for draw in draws]
    whole = Counter(example for batch in batches[:-1] for example in batch)
    assert set(whole.values()) <= {1}
    total = whole + Counter(batches[-1])
    assert sorted(total) == sorted(examples)
    assert set(total.values()) <= {1, 2}


@given(EXAMPLES, SIZES, st.integers(0, 100), SEEDS)
def test_every_minibatch_is_full_and_has_no_example_twice(examples, size, draw, seed):
    """A minibatch has the asked size, or the whole set where that is smaller."""
    batch = epoch_minibatch(examples, size, draw, seed=seed)
    assert len(batch) == len(set(batch)) == min(size, len(examples))
    assert set(batch) <= set(examples)


@given(EXAMPLES, SIZES, st.integers(0, 30), SEEDS)
def test_a_minibatch_is_a_function_of_its_arguments(examples, size, draw, seed):
    """The same draw gives the same minibatch; the list of examples is left as it was."""
    before = list(examples)
    batch = epoch_minibatch(examples, size, draw, seed=seed)
    assert epoch_minibatch(tuple(examples), size, draw, seed=seed) == batch
    assert examples == before


def test_epochs_and_seeds_are_shuffled_anew():
    """Every epoch has an order of its own, and so has every seed."""
    whole = range(50)
    orders = [epoch_minibatch(whole, 50, epoch, seed=0) for epoch in range(5)]
    orders += [epoch_minibatch(whole, 50, 0, seed=seed) for seed in range(1, 5)]
    assert len(set(orders)) == len(orders)
    assert list(whole) not in map(list, orders)
