"""Every exception that this package raises on purpose.

GEPAError
+-- SettingsError (ValueError)        an argument is wrong; raised before any model call
|   +-- EmptyTrainset (AssertionError)   also what callers of dspy.GEPA catch
|   +-- WrongType (TypeError)
+-- MetricError (ValueError)          a metric returned something that is no score
+-- WorkerError (RuntimeError)        the run stopped: a model or its server cannot be used
+-- ReflectionError (RuntimeError)    the run stopped: no reflection ever gave a usable text
+-- JournalError (OSError)            a run directory cannot be used: no room, no right, in use
|   +-- JournalCorrupt (ValueError)      what is stored in it is damaged; names the line
|   +-- JournalMismatch (ValueError)     it belongs to another run; lists the differences
+-- MissingExtra (ImportError)        an optional dependency is not installed
"""

__all__ = [
    "GEPAError",
    "JournalCorrupt",
    "JournalError",
    "JournalMismatch",
    "MetricError",
    "MissingExtra",
    "ReflectionError",
    "SettingsError",
    "WorkerError",
    "WrongType",
]


class GEPAError(Exception):
    """The root of the tree: catch it to catch everything of ours."""


class SettingsError(GEPAError, ValueError, AssertionError):
    """An argument is wrong; raised before any model call.

    Says what was given, what is allowed and what to do. Callers of MIPROv2 catch a ValueError
    here and callers of dspy.GEPA an AssertionError: it is both.
    """


class WrongType(SettingsError, TypeError):
    """An argument has a type that cannot be used."""


class MetricError(GEPAError, ValueError):
    """A metric returned something that is no score. Names the example and the metric."""


class WorkerError(GEPAError, RuntimeError):
    """Work cannot go on: a model, its key or its server is unusable. `__cause__` holds why.

    `program` is the best program that was found until then; None where none was validated.
    """

    def __init__(self, message: str, *, program: object = None) -> None:
        super().__init__(message)
        self.program = program


class ReflectionError(GEPAError, RuntimeError):
    """Reflections were paid for and none gave a usable text, so there is no result to return.

    `program` is the program as it was given; None where it was not validated. `__cause__` is what
    a proposer or a rule raised, where that is why.
    """

    def __init__(self, message: str, *, program: object = None) -> None:
        super().__init__(message)
        self.program = program


class JournalError(GEPAError, OSError):
    """A run directory cannot be written or read. Says which, why and what to do."""


class JournalCorrupt(JournalError, ValueError):
    """What is stored was changed by something else than us. Names the line; nothing is changed."""


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
