"""What cannot be sent to another process is named by the way that leads to it."""

import collections
import functools
import threading
from dataclasses import dataclass, field

import pytest

from dspy_gepa.errors import SettingsError
from dspy_gepa.run.parcel import serialized

LOCK = threading.Lock()


def defined(source, name="made", **variables):
    """What a script or a notebook defines, which is sent by value."""
    namespace = {"__name__": "__main__", "LOCK": LOCK, **variables}
    exec(source, namespace)
    return namespace[name]


class Slotted:
    """With no `__dict__`."""

    __slots__ = ("empty", "lock")

    def __init__(self):
        self.lock = LOCK


@dataclass(frozen=True, slots=True)
class Frozen:
    """Likewise, and with an order."""

    number: int = 1
    lock: object = field(default=LOCK)


class Plain:
    """Attributes as they are given."""

    def __init__(self, **given):
        vars(self).update(given)

    def method(self):
        """Bound, it takes the object along."""


def circular():
    """Holds itself before what cannot be sent."""
    plain = Plain()
    vars(plain).update(me=plain, lock=LOCK)
    return plain


class Unspeakable(Plain):
    """Has no words for itself."""

    def __repr__(self):
        raise ZeroDivisionError


class Stateful(Plain):
    """Leaves one attribute out."""

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key != "left_out"}


class Filled(Plain):
    """Is no dictionary and is filled like one when it is made anew."""

    def __reduce__(self):
        return (Filled, (), None, None, iter(vars(self).items()))

    def __setitem__(self, name, value):
        vars(self)[name] = value


class Wrong:
    """Does not say from what it is made anew."""

    def __reduce__(self):
        return (Plain, None)


class Reduced(Plain):
    """Is made anew from its arguments."""

    def __reduce__(self):
        return (Plain, (), {"connection": self.connection})


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (defined("def made(): return LOCK"), " (the global variable LOCK)"),
        (defined("def made(): return [LOCK for _ in ()]"), " (the global variable LOCK)"),
        (defined("def made(): return lambda: LOCK"), " (the global variable LOCK)"),
        (
            defined("def made(): return OTHER()", OTHER=defined("def made(): return LOCK")),
            " (the global variable OTHER) (the global variable LOCK)",
        ),
        (defined("def made(a, b=1, lock=LOCK): ..."), " (the default of its argument lock)"),
        (defined("def made(*, lock=LOCK): ..."), " (the default of its argument lock)"),
        (defined("class made:\n def run(self, lock=LOCK): ..."), ".run (the default of its arg"),
        (defined("class made:\n lock = LOCK"), ".lock"),
        (
            defined("class made:\n @staticmethod\n def run(): return LOCK"),
            ".run (the global variable LOCK)",
        ),
        (
            defined("class made:\n @property\n def run(self): return LOCK"),
            ".run.fget (the global variable LOCK)",
        ),
        (Slotted(), ".lock"),
        ([Frozen()], "[0]"),
        (Plain(tools=[Plain(), Slotted()]), ".tools[1].lock"),
        (Plain(index={"a": {"b": LOCK}}), ".index['a']['b']"),
        ([LOCK, [LOCK]], "[0] ("),
        (circular(), ".lock ("),
        (Plain(lock=LOCK).method, ".__self__.lock"),
        ({LOCK}, " (its item "),
        (collections.deque([1, LOCK]), "[1]"),
        (collections.defaultdict(list, a=[LOCK]), "['a'][0]"),
        (collections.OrderedDict(a=LOCK), "['a']"),
        ({Unspeakable(lock=LOCK)}, " (its item <Unspeakable instance at "),
        ({"a": {Plain(lock=LOCK): 1}}, "['a'] (its key <"),
        ({Unspeakable(lock=LOCK): 1}, " (its key <Unspeakable instance at "),
        ({"a\n" * 99: LOCK}, "['a"),
        ({"k" * 50: LOCK}, f"['{'k' * 50}']"),
        (defined("class Base:\n lock = LOCK\nclass made(Base): ..."), " (its base Base).lock"),
        (defined("class Own:\n lock = LOCK\nmade = Own()"), " (its class).lock"),
        (
            defined("class Own(type):\n lock = LOCK\nclass made(metaclass=Own): ..."),
            " (its class).lock",
        ),
        (functools.partial(print, 1, LOCK), ".args[1]"),
        (functools.partial(print, sep=LOCK), ".keywords['sep']"),
        (Stateful(left_out=LOCK, inner=Plain(lock=LOCK)), ".inner.lock"),
        (Reduced(lock=LOCK, connection=LOCK), ".connection"),
        (Filled(number=1, lock=LOCK), "['lock']"),
    ],
)
def test_what_cannot_be_sent_is_named(value, place):
    """In functions, their defaults and globals, classes and those above them, slots, and what holds
    items; keys and items that cannot be shown included."""
    with pytest.raises(SettingsError, match="cannot be sent") as caught:
        serialized(value, "The program")
    assert str(caught.value).startswith(f"The program{place}")
    assert "_thread.lock" in str(caught.value).partition(" cannot be sent")[0]


@pytest.mark.parametrize(
    "value",
    [
        defined("def made(): return LOCK.locked", LOCK=3),
        Stateful(left_out=LOCK),
        Plain(function=len, kind=Slotted),
        collections.deque([1]),
    ],
)
def test_what_can_be_sent_is_sent(value):
    """Also if something in reach of it, that is left behind, cannot."""
    assert serialized(value, "The program")


def test_what_says_wrongly_how_it_is_made_is_named():
    """As what cannot be sent is: the mistake is the class's, and not that of who reads it."""
    with pytest.raises(SettingsError, match=r"^The program\.part \([\w.]*Wrong\) cannot be sent"):
        serialized(Plain(part=Wrong()), "The program")
