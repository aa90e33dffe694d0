"""How code that is not asynchronous carries out something awaitable."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["run_to_end"]

ResultT = TypeVar("ResultT")


def run_to_end(begin: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """What the awaitable that `begin` returns comes to; it runs in a loop of its own."""

    async def waiting() -> ResultT:
        return await begin()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(waiting())
    # A notebook's thread runs a loop already, and a loop cannot be entered twice.
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(context.run, lambda: asyncio.run(waiting())).result()
