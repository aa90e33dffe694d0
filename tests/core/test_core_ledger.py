"""Persistent lists and maps are values: every version stays what it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.ledger import PersistentList, PersistentMap

# Which version to add to (modulo how many there are), and what.
ADDITIONS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=25)


@given(st.lists(st.integers(), max_size=4), ADDITIONS)
def test_every_version_of_a_list_is_a_list_of_its_own(items, additions):
    """However versions branch, each has the items of the list that was built beside it."""
    versions, models = [PersistentList(items)], [list(items)]
    for version, item in additions:
        versions.append(versions[version % len(versions)].plus(item))
        models.append([*models[version % len(models)], item])
    for version, model in zip(versions, models, strict=True):
        assert list(version) == model
        assert len(version) == len(model)
        assert list(reversed(version)) == model[::-1]
        assert version == PersistentList(model)
        assert repr(version) == f"PersistentList({model})"


@given(st.lists(st.integers(), max_size=6), st.integers(0, 6), st.slices(6), st.integers(-8, 8))
def test_a_persistent_list_is_read_like_a_list(items, shown, part, position):
    """Positions, negative ones and slices mean what they mean in a list, for old versions too."""
    version, model = PersistentList(items[:shown]), items[:shown]
    for item in items[shown:]:
        version.plus(item)
    assert version[part] == model[part]
    if -len(model) <= position < len(model):
        assert version[position] == model[position]
    else:
        with pytest.raises(IndexError):
            version[position]


@given(ADDITIONS)
def test_every_version_of_a_map_is_a_mapping_of_its_own(additions):
    """However versions branch, each has its own entries in their order; the first value stays."""
    versions, models = [PersistentMap()], [{}]
    for value, (version, key) in enumerate(additions):
        versions.append(versions[version % len(versions)].plus(key, value))
        model = models[version % len(models)]
        models.append(model if key in model else {**model, key: value})
    for version, model in zip(versions, models, strict=True):
        assert list(version.items()) == list(model.items())
        assert len(version) == len(model)
        assert [key in version for key in range(7)] == [key in model for key in range(7)]
        assert [version.get(key) for key in range(7)] == [model.get(key) for key in range(7)]
        assert repr(version) == f"PersistentMap({model})"
        rebuilt = PersistentMap()
        for key, value in model.items():
            rebuilt = rebuilt.plus(key, value)
        assert version == rebuilt


def test_a_known_key_makes_no_new_version():
    """Adding a key that is in already gives the map itself."""
    known = PersistentMap().plus("a", 1)
    assert known.plus("a", 2) is known


def test_a_later_entry_is_no_entry_of_an_older_version():
    """An old version does not know what a newer one, in the same store, has."""
    old = PersistentMap().plus("a", 1)
    new = old.plus("b", 2)
    assert (new["b"], "b" in old) == (2, False)
    for absent in ("b", "c"):
        with pytest.raises(KeyError):
            old[absent]


@pytest.mark.parametrize("start", [PersistentList(), PersistentList([1, 2])])
def test_a_list_can_grow_while_it_is_read(start):
    """Reading a list shows its own items, whatever is added meanwhile."""
    longer = start.plus(3)
    assert [longer.plus(item) and item for item in longer] == [*start, 3]


def test_a_map_can_grow_while_it_is_read():
    """Reading a map shows its own entries, whatever is added meanwhile."""
    known = PersistentMap().plus("a", 1).plus("b", 2)
    grown = known
    read = []
    for key in known:
        read.append(key)
        grown = grown.plus(key + key, 3)
    assert (read, list(grown)) == (["a", "b"], ["a", "b", "aa", "bb"])


def test_equality_is_by_content():
    """Equal contents are equal collections; other types never are; none can be hashed."""
    assert PersistentList([1]) != PersistentList([2])
    assert PersistentList([1]) != [1]
    assert PersistentMap().plus(1, 2) == PersistentMap().plus(1, 2).plus(1, 3)
    assert PersistentMap().plus(1, 2) != PersistentMap().plus(1, 3)
    assert PersistentMap() != {}
    for collection in (PersistentList(), PersistentMap()):
        with pytest.raises(TypeError):
            hash(collection)
