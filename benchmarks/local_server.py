"""The local model for benchmarks: one that is started here, or one that is served already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dspy_gepa.demo.server import LocalModel, serve
from dspy_gepa.demo.weights import WEIGHTS

__all__ = ["serving"]


@contextmanager
def serving(name: str, threads: int | None, address: str | None) -> Iterator[LocalModel]:
    """The local model, for as long as the block lasts.

    Args:
        name: A key of `WEIGHTS`.
        threads: How many compute, if it is started here; None for all idle cores.
        address: The OpenAI-compatible address (`http://.../v1`) of a server that has the model
            already, such as one that answers several requests at once. None to start one.

    Raises:
        MissingExtra: the run-time or the weights are not installed.
        LocalModelError: the model cannot be started.
    """
    if address is not None:
        yield LocalModel(address, f"openai/{WEIGHTS[name].model}", threads or 1)
        return
    with serve(name, threads=threads) as local:
        yield local
