"""A worker whose server is busy now and then, for tests of what setbacks cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from dspy_gepa.core.streams import stream
from dspy_gepa.core.work import Answer, ReflectionRequest, Request, RequestFailure, RequestKey
from dspy_gepa.run.worker import Worker

__all__ = ["Faltering"]


@dataclass(frozen=True)
class Faltering:
    """Answers as another worker does, some requests after a few setbacks.

    How many, and what metric calls each costs, is decided by chance once and for all for each key;
    no attempt costs more than carrying out the request could.
    """

    worker: Worker
    probability: float = 0.3
    seed: int = 0
    attempts: Counter[RequestKey] = field(default_factory=Counter)

    def __call__(self, request: Request) -> Answer:
        """The other worker's answer, or a setback that passes."""
        self.attempts[request.key] += 1
        random = stream(self.seed, "setbacks", str(request.key), self.attempts[request.key])
        if self.attempts[request.key] > 3 or random.random() >= self.probability:
            return self.worker(request)
        cost = random.randint(0, not isinstance(request, ReflectionRequest))
        return RequestFailure(request.key, "busy", is_lasting=False, metric_calls=cost)
