"""What a program answered, as it was kept, for who has no program."""

from __future__ import annotations

__all__ = ["fields_alone"]


def fields_alone(stored: object) -> object:
    """The answer without types, for who has no program."""
    match stored:
        case ("prediction", dict() as fields):
            return {name: kept[1] for name, kept in fields.items()}
        case ("other", (_, value)):
            return value
    return stored
