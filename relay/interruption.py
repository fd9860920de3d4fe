"""Waiting for a step that something else may overtake."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """The other thing came first; raised where the step stood."""


async def unless(interruption: asyncio.Future[Any], step: Coroutine[Any, Any, T]) -> T:
    """The step's result; if the interruption comes first, the step is cancelled. Raises Interrupted."""
    task = asyncio.ensure_future(step)
    try:
        either: set[asyncio.Future[Any]] = {task, interruption}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Interrupted
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # seen: what failed on the way out changes nothing, and would be logged
