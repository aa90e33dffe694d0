"""What model calls cost, in tokens and USD, as DSPy's own usage tracking reports it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import dspy
from dspy.utils.usage_tracker import UsageTracker

from dspy_gepa.core.budget import Usage
from dspy_gepa.program.calls.boundary import Raised, settled

__all__ = ["MEASURED", "Meter", "Price", "listed_price"]

MEASURED = ("total_tokens", "usd", "seconds")
"""What can be measured of a program's run on an example, beside what the metric says of it."""

Price: TypeAlias = Callable[[str, Mapping[str, Any]], "float | None"]
"""From a model's name and the usage that it reported for a call (`prompt_tokens`,
`completion_tokens` and so on) to USD; None where that is not known."""


def listed_price(model: str, usage: Mapping[str, Any]) -> float | None:
    """What a call cost by litellm's price table; None for a model that is not in it."""
    import litellm  # noqa: PLC0415 - takes seconds, and many programs never need it

    # Asked about an unknown model, litellm prints to the screen.
    if not {model, model.partition("/")[2]} & litellm.model_cost.keys():
        return None
    named = {name: value for name, value in usage.items() if value is not None}
    try:
        reported = litellm.Usage(**named)
        return float(sum(litellm.cost_per_token(model=model, usage_object=reported)))
    except (TypeError, ValueError, litellm.exceptions.APIError):
        return None


def _price_if_loaded(model: str, usage: Mapping[str, Any]) -> float | None:
    """The listed price, where litellm carried out the call or was imported anyway."""
    return listed_price(model, usage) if "litellm" in sys.modules else None


class Meter(UsageTracker):  # type: ignore[misc]  # DSPy is untyped here
    """Adds up what the calls inside cost, in whatever thread of DSPy's they are made.

    Calls that are answered from DSPy's cache cost nothing and are not seen here.

    Args:
        price: What a call costs; by litellm's table where it is None.
        must_know_price: Whether calls of unknown price are to be noted.
        must_know_usage: Whether calls that report no tokens are to be noted.
    """

    def __init__(
        self,
        price: Price | None = None,
        *,
        must_know_price: bool = False,
        must_know_usage: bool = False,
    ) -> None:
        super().__init__()
        self._price = price or (listed_price if must_know_price else _price_if_loaded)
        self._must_know_price = must_know_price
        self._must_know_usage = must_know_usage
        self._silent = ""
        self._priced: list[float | Raised | None] = []
        self._lock = threading.Lock()
        self._in_order: list[tuple[str, dict[str, Any]]] = []

    @contextmanager
    def around(self) -> Iterator[None]:
        """Add up what is called inside; a usage tracker of the caller's sees it as well."""
        outer = dspy.settings.usage_tracker
        try:
            with dspy.context(usage_tracker=self):
                yield
        finally:
            if outer is not None:
                for model, entry in self._entries():
                    outer.add_usage(model, entry)

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Note one call."""
        with self._lock:
            super().add_usage(lm, usage_entry)
            if not _tokens(usage_entry):
                self._silent = lm

    @property
    def usage(self) -> Usage:
        """What all calls so far cost; those without a known price nothing."""
        usd = [price for price in self._prices() if isinstance(price, (int, float))]
        return Usage(sum(_tokens(entry) for _, entry in self._entries()), sum(usd, 0.0))

    @property
    def unknown(self) -> str:
        """Why the cost of a call that must be known is not; empty where it is."""
        models = [model for model, _ in self._entries()]
        for model, price in zip(models, self._prices(), strict=False):
            if isinstance(price, Raised):
                kind = type(price.error).__name__
                return f"The price function raised {kind}: {price.error} (for {model})."
            if price is None and self._must_know_price:
                return _unknown(model)
        return _unknown(self._silent) if self._must_know_usage and self._silent else ""

    def _prices(self) -> list[float | Raised | None]:
        """The price of every call so far. Each is asked for once: the function is the user's."""
        for model, entry in self._entries()[len(self._priced) :]:
            self._priced.append(settled(partial(self._price, model, entry)))
        return self._priced

    def _entries(self) -> list[tuple[str, dict[str, Any]]]:
        # Read from the tracker's own record, into which inner trackers put theirs at their end.
        with self._lock:
            for model, entries in self.usage_data.items():
                seen = sum(known == model for known, _ in self._in_order)
                self._in_order += [(model, entry) for entry in entries[seen:]]
            return list(self._in_order)

    def __deepcopy__(self, memo: dict[int, Any]) -> Meter:
        # dspy.Parallel gives each of its threads a copy of the tracker; all count here.
        return self


def _unknown(model: str) -> str:
    return (
        f"There is a limit in tokens or USD, and what calls of {model} cost is not known. Give a "
        "function to GEPA(price=...) that knows it, or set no such limit."
    )


def _tokens(entry: Mapping[str, Any]) -> int:
    if (total := entry.get("total_tokens")) is not None:
        return int(total)
    return int((entry.get("prompt_tokens") or 0) + (entry.get("completion_tokens") or 0))
