"""What DSPy is told about models in one process, so that the same holds in another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.usage_tracker import UsageTracker

__all__ = ["Surroundings", "tracked"]

_SETTINGS = (
    "lm",
    "adapter",
    "rm",
    "interpreter_factory",
    "allow_tool_async_sync_conversion",
    "max_history_size",
    "disable_history",
    "provide_traceback",
    "track_usage",
    "warn_on_type_mismatch",
)
"""Of DSPy's settings those that say how a program runs; the others belong to one process."""


@dataclass(frozen=True)
class Surroundings:
    """DSPy's settings, and its switches of the cache, which are no settings."""

    settings: Mapping[str, Any]
    cache: Mapping[str, bool]

    @classmethod
    def here(cls) -> Surroundings:
        """Those of the caller."""
        settings = {name: dspy.settings[name] for name in _SETTINGS if name in dspy.settings}
        return cls(settings, _cache_switches())

    @contextmanager
    def entered(self) -> Iterator[UsageTracker]:
        """Let them hold inside; the tracker sees what is used there."""
        if _cache_switches() != self.cache:
            dspy.configure_cache(**self.cache)
        tracker = UsageTracker()
        with dspy.context(**self.settings, usage_tracker=tracker):
            yield tracker


def tracked(usage: Mapping[str, list[dict[str, Any]]] | None) -> None:
    """Have the caller's own usage tracker see what was used in another process."""
    tracker = dspy.settings.usage_tracker
    if tracker is not None:
        for model, entries in (usage or {}).items():
            for entry in entries:
                tracker.add_usage(model, entry)


def _cache_switches() -> dict[str, bool]:
    return {
        "enable_disk_cache": bool(dspy.cache.enable_disk_cache),
        "enable_memory_cache": bool(dspy.cache.enable_memory_cache),
    }
