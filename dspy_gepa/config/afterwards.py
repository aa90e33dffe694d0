"""What follows the search: demonstrations, specialists, and what a verdict decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dspy_gepa.config.checks import allowed, set_checked, whole
from dspy_gepa.errors import SettingsError
from dspy_gepa.specialists.pool import check_chooser

__all__ = ["Afterwards"]


@dataclass(frozen=True, kw_only=True)
class Afterwards:
    """What is tried with the best candidate, and which program is returned.

    Raises:
        SettingsError: an argument is wrong.
    """

    max_bootstrapped_demos: int | None = None
    max_labeled_demos: int | None = None
    metric_threshold: float | None = None
    teacher_settings: Mapping[str, Any] | None = None
    specialists: int | None = None
    chooser: Any = "nearest"
    if_no_evidence: str = "best"

    def __post_init__(self) -> None:
        set_checked(
            self,
            max_bootstrapped_demos=whole("max_bootstrapped_demos", self.max_bootstrapped_demos, 0),
            max_labeled_demos=whole("max_labeled_demos", self.max_labeled_demos, 0),
            specialists=whole("specialists", self.specialists, 2),
        )
        check_chooser(self.chooser)
        allowed("if_no_evidence", self.if_no_evidence, ("best", "seed"))
        if self.specialists and (self.max_bootstrapped_demos or self.max_labeled_demos):
            raise SettingsError(
                "specialists and demonstrations cannot both be asked for: take one of them."
            )
