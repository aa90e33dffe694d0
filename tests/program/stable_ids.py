"""Names of parameters that are the same in every process, as tests in several processes need."""

from dspy_gepa.store.manifest import without_addresses


def stable_id(value):
    """What a value shows of itself, without where it lies in memory."""
    return without_addresses(repr(value))
