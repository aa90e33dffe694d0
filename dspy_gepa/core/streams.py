"""Labelled chance: every random decision makes its own generator from the seed and its labels.

No generator is stored or handed on, so a decision depends on nothing but what it is called.
"""

from __future__ import annotations

import hashlib
import json
import random

__all__ = ["stream"]


def stream(seed: int, *labels: str | int) -> random.Random:
    """A fresh generator that depends on the seed and the labels only.

    The same in every process, on every platform and at any hash seed: our choice is Python's own
    Mersenne Twister, whose `random()` is stable over versions, seeded from a SHA-256.
    """
    written = json.dumps([seed, *labels])
    return random.Random(int.from_bytes(hashlib.sha256(written.encode()).digest(), "big"))
