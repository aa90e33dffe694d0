"""What a program answered, as a run directory keeps it, for a reader without the program."""

from __future__ import annotations

__all__ = ["fields_alone"]


def fields_alone(stored: object) -> object:
    """The values of an answer that `OutputForms.stored` returned, without their types."""
    match stored:
        case ("prediction", dict() as fields):
            return {name: kept[1] for name, kept in fields.items()}
        case ("other", (_, value)):
            return value
    return stored
