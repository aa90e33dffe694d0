"""What model calls cost, in tokens and USD, as DSPy's own usage tracking reports it."""

from __future__ import annotations

import math
import operator
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, SupportsFloat, TypeAlias

import dspy
from dspy.utils.usage_tracker import UsageTracker

from dspy_gepa.core.budget import Usage
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.values.foreign import str_of
from dspy_gepa.values.media import without_base64

__all__ = ["MEASURED", "Meter", "Price", "Priced", "listed_price", "priced"]

MEASURED = ("total_tokens", "usd", "seconds")
"""What can be measured of a program's run on an example, beside what the metric says of it."""

Price: TypeAlias = Callable[[str, Mapping[str, Any]], "float | None"]
"""From a model's name and the usage that it reported for a call (`prompt_tokens`,
`completion_tokens` and so on) to USD, 0 or more; None if that is not known."""


class Priced(NamedTuple):
    """What a price function made of a call."""

    usd: float | None
    """None if the price is not known."""
    problem: str = ""
    """Why what it did cannot be used; empty if it can."""


def priced(price: Price, model: str, usage: Mapping[str, Any]) -> Priced:
    """What a call costs, by a function that may be the user's: what it returns is checked.

    With a value that is no amount (NaN, say), a limit in USD would never be reached.
    """
    usd = catching(lambda: price(model, usage))
    if isinstance(usd, Failed):
        kind = type(usd.error).__name__
        return Priced(None, f"The price function raised {kind}: {usd.error} (for {model}).")
    if usd is None:
        return Priced(None)
    amount = catching(lambda: _amount(usd))
    if isinstance(amount, Failed):
        shown = without_base64(str_of(usd))
        return Priced(
            None,
            f"The price function returned {shown:.80}, of type {type(usd).__name__} (for {model}), "
            "and an amount in USD is needed: a finite number from 0 on, or None where the price is "
            "not known.",
        )
    return Priced(amount)


def _amount(usd: object) -> float:
    # Text is refused although "1" would convert: it is a mistake more often than a number.
    if not isinstance(usd, SupportsFloat) or isinstance(usd, (bool, str, bytes)):
        raise TypeError
    if not 0 <= (amount := float(usd)) < math.inf:
        raise ValueError
    return amount


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
        price: What a call costs. None stands for litellm's table, which is read if litellm is
            loaded already, or if the price must be known.
        must_know_price: Whether calls of unknown price are to be noted.
        must_know_usage: Whether calls that report no tokens are to be noted; they are if the price
            must be known.
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
        self._must_know_usage = must_know_usage or must_know_price
        self._silent = ""
        self._priced: list[Priced] = []
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
        prices = self._prices()
        usd = [price.usd for price in prices if price.usd is not None]
        tokens = [_tokens(entry) or 0 for _, entry in self._entries()]
        return Usage(sum(tokens), sum(usd, 0.0), *self.tokens, len(prices) - len(usd))

    @property
    def tokens(self) -> tuple[int, int]:
        """Those of all prompts so far, and those of all replies."""
        entries = [entry for _, entry in self._entries()]
        prompted, completed = (
            sum(_count(entry.get(name) or 0) or 0 for entry in entries)
            for name in ("prompt_tokens", "completion_tokens")
        )
        return prompted, completed

    @property
    def unknown(self) -> str:
        """Why the cost of a call that must be known is not; empty if it is."""
        models = [model for model, _ in self._entries()]
        for model, price in zip(models, self._prices(), strict=False):
            if price.problem:
                return price.problem
            if price.usd is None and self._must_know_price:
                return _unknown(model)
        return _unknown(self._silent) if self._must_know_usage and self._silent else ""

    def _prices(self) -> list[Priced]:
        """The price of every call so far. Each is asked for once: the function is the user's."""
        for model, entry in self._entries()[len(self._priced) :]:
            self._priced.append(priced(self._price, model, entry))
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
        f"There is a limit in tokens or USD, and what calls of {model} cost is not known: they "
        "have no known price, or report no tokens. Give a function that knows the price as "
        "price=..., have the model report its usage, or set no such limit."
    )


def _tokens(entry: Mapping[str, Any]) -> int | None:
    """The tokens of a call; None if it reports none that could be counted."""
    if entry.get("total_tokens") is not None:
        return _count(entry["total_tokens"])
    parts = [_count(entry.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
    return None if None in parts else sum(filter(None, parts))


def _count(reported: object) -> int | None:
    """A number of tokens as a model's own class reports it; None for what is no such number."""
    if isinstance(reported, float) and reported.is_integer():
        reported = int(reported)
    try:
        count = operator.index(reported)  # type: ignore[arg-type]
    except TypeError:
        return None
    return count if count >= 0 else None
