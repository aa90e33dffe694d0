"""Constraints on texts, as IFEval and IFBench check them, with the package `if-verifiable`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from task import needed

__all__ = ["Checked", "can_check", "check", "use_nltk_data"]

PACKAGE = "if-verifiable"
ONE_AT_A_TIME = Lock()
"""Checkers draw from the global random numbers, which are set before and put back after."""


class Checked(NamedTuple):
    """One constraint, in words, and whether a text keeps it."""

    words: str
    is_kept: bool


def use_nltk_data(folder: Path | None) -> None:
    """Let the checkers find the NLTK data that lie in a folder, beside where they always look."""
    path = str(folder / "nltk_en") if folder else ""
    places = needed("nltk", PACKAGE, "ifbench").data.path
    if path and path not in places and Path(path).is_dir():
        places.insert(0, path)


@cache
def checkers() -> dict[str, Any]:
    """The class of each kind of constraint."""
    needed("langdetect", PACKAGE, "ifbench").DetectorFactory.seed = 0
    registries = [
        needed(f"if_verifiable.{benchmark}.instructions_registry", PACKAGE, "ifbench")
        for benchmark in ("ifeval", "ifbench")
    ]
    return {
        kind: each for registry in registries for kind, each in registry.INSTRUCTION_DICT.items()
    }


def check(
    text: Any, prompt: str, kinds: Sequence[str], settings: Sequence[Mapping[str, Any]]
) -> list[Checked]:
    """Every constraint, and whether the text or one of its trimmed variants keeps it."""
    variants = trimmed(text) if isinstance(text, str) else []
    with ONE_AT_A_TIME:
        state = random.getstate()
        try:
            return [
                checked(variants, prompt, kind, each)
                for kind, each in zip(kinds, settings, strict=True)
            ]
        finally:
            random.setstate(state)


def checked(
    variants: Sequence[str], prompt: str, kind: str, settings: Mapping[str, Any]
) -> Checked:
    """One constraint, and whether one of the variants keeps it."""
    random.seed(0)
    checker = checkers()[kind](kind)
    words = checker.build_description(**settings)
    if "prompt" in (checker.get_instruction_args() or {}):
        words = checker.build_description(prompt=prompt)
    return Checked(" ".join(str(words).split()), any(follows(checker, each) for each in variants))


def follows(checker: Any, text: str) -> bool:
    """Whether a text keeps a constraint; one that the checker cannot take apart does not."""
    try:
        return bool(checker.check_following(text))
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, ZeroDivisionError):
        return False


def trimmed(text: str) -> list[str]:
    """The text, also without its first, last, or both lines, each also without asterisks.

    The benchmarks try these, so that a line of greeting or marks of emphasis do no harm.
    """
    lines = text.split("\n")
    cut = [text, "\n".join(lines[1:]), "\n".join(lines[:-1]), "\n".join(lines[1:-1])]
    variants = [cut[0], *(each.strip() for each in cut[1:])]
    return [
        each for each in [*variants, *(one.replace("*", "") for one in variants)] if each.strip()
    ]


def can_check(prompt: str, kinds: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is a checker for each of these constraints, and the data that it needs."""
    if not kinds or len(kinds) != len(settings) or any(kind not in checkers() for kind in kinds):
        return False
    try:
        check("Read this text. Read it again!", prompt, kinds, settings)
    except LookupError:  # NLTK's own error, with a page of text on how to download
        return False
    return True
