"""What can be wrong with the demo's surroundings. Every message says what to do about it.

GEPAError
+-- LocalModelError (RuntimeError)       the local model cannot be assembled, loaded or served
+-- ModelFailed (RuntimeError)           a model does not answer
+-- MissingSource (FileNotFoundError)    a task's examples are not on this machine
+-- NoOutput (OSError)                   the program cannot be saved where it was asked for
"""

from dspy_gepa.errors import GEPAError

__all__ = ["LocalModelError", "MissingSource", "ModelFailed", "NoOutput"]


class LocalModelError(GEPAError, RuntimeError):
    """The local model cannot be assembled, loaded or served."""


class ModelFailed(GEPAError, RuntimeError):
    """A model does not answer: its name, its key or its server is wrong."""


class MissingSource(GEPAError, FileNotFoundError):
    """A task's examples are not on this machine. Names every way to get them."""


class NoOutput(GEPAError, OSError):
    """The program cannot be saved where it was asked for."""
