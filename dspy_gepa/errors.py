"""The exceptions that a run raises on purpose; those of the demo are in `demo/errors.py`.

GEPAError
+-- SettingsError (ValueError, AssertionError)   an argument is wrong; before any model call
|   +-- WrongType (TypeError)
+-- MetricError (ValueError)          a metric returned something that is no score
+-- WorkerError (RuntimeError)        the run stopped: a model, program or metric cannot be used
+-- RemoteError (RuntimeError)        stands for an error in a process of an executor
+-- ReflectionError (RuntimeError)    the run stopped: no reflection ever gave a usable text
+-- JournalError (OSError)            a run directory cannot be used: no room, no right, in use
|   +-- JournalCorrupt (ValueError)      what is stored in it is damaged; names file or line
|   +-- JournalMismatch (ValueError)     it belongs to another run; lists the differences
+-- MissingExtra (ImportError)        an optional dependency is not installed
"""

import re

__all__ = [
    "GEPAError",
    "JournalCorrupt",
    "JournalError",
    "JournalMismatch",
    "MetricError",
    "MissingExtra",
    "ReflectionError",
    "RemoteError",
    "SettingsError",
    "WorkerError",
    "WrongType",
    "kinds_of",
    "readable",
]


_UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tabs and line ends, signs that turn the direction of a text, and lone
surrogates, which no terminal can be sent."""


def readable(text: str) -> str:
    """The text as a terminal or a log may have it: what cannot be shown there is spelled out."""
    lines = text.replace("\r\n", "\n")
    return _UNREADABLE.sub(lambda match: ascii(match[0])[1:-1], lines)


class GEPAError(Exception):
    """The root of the tree: catch it to catch everything of ours.

    Its words may quote a server or a program. As it is printed there are no control characters in
    them; its arguments have them as they were.
    """

    def __str__(self) -> str:
        return readable(super().__str__())


class SettingsError(GEPAError, ValueError, AssertionError):
    """An argument is wrong; a run raises it before any model call.

    Says what was given, what is allowed and what to do. Callers of MIPROv2 catch a ValueError
    here and callers of dspy.GEPA an AssertionError: it is both.
    """


class WrongType(SettingsError, TypeError):
    """An argument has a type that cannot be used."""


class MetricError(GEPAError, ValueError):
    """A metric returned something that is no score, or an aggregate metric cannot be used.

    Names the metric, and the example if there is one.
    """

    program: object = None
    """The best program that was found until then; None if none was validated."""


class WorkerError(GEPAError, RuntimeError):
    """Work cannot go on: a model, its key, its server, the program or the metric is unusable.

    `__cause__` holds the error that says why, if there was one.
    `program` is the best program that was found until then; None if none was validated.
    """

    def __init__(self, message: str, *, program: object = None) -> None:
        super().__init__(message)
        self.program = program


class RemoteError(GEPAError, RuntimeError):
    """Stands for an error that was raised in a process of an executor and cannot be sent as it is.

    `kinds` are the full names of its class and of the classes above that.
    """

    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> "RemoteError":
        """One that stands for this error."""
        kinds = kinds_of(error)
        made = cls(f"{kinds[0]}: {error}")
        made.kinds = kinds
        return made


def kinds_of(error: object) -> tuple[str, ...]:
    """The full names of an error's class and of those above it, wherever it was raised."""
    if isinstance(error, RemoteError):
        return error.kinds
    return tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)


class ReflectionError(GEPAError, RuntimeError):
    """Reflections were paid for and none gave a usable text, so there is no result to return.

    `program` is the program as it was given; None if it was not validated. `__cause__` is what
    a proposer or a rule raised, where that is why.
    """

    def __init__(self, message: str, *, program: object = None) -> None:
        super().__init__(message)
        self.program = program


class JournalError(GEPAError, OSError):
    """A run directory cannot be written or read. Says which, why and what to do."""


class JournalCorrupt(JournalError, ValueError):
    """What is stored was changed by something else than us. Nothing is changed by this.

    Names the file that is damaged, and the line of it if it is the journal or the examples.
    """


class JournalMismatch(JournalError, ValueError):
    """The directory holds another run than the one that is asked for. Lists the differences."""


class MissingExtra(GEPAError, ImportError):
    """An optional dependency is missing. Names the extra that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed, and this needs it. "
            f'Install the extra that brings it: pip install "dspy_gepa[{extra}]"',
            name=package,
        )
