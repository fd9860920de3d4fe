"""Orders from outside: the relay hears them by a subscription, and finds what it missed by the markers.

Every session also looks for its markers itself: after the redemption, when it goes live and at each renewal of its
lease. So an order reaches it at once while Redis is well, and within one renewal otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Final, Protocol

import structlog

from service_kit.log import where
from service_kit.redis_asking import FAILURES
from service_kit.redis_client import RedisClient, RedisUnavailable
from service_kit.revocation import Identity, Revocations, Why, read_order

AGAIN_SECONDS: Final = 1.0
"""Between two tries to subscribe; the sessions' own looks cover the gap."""
QUIET_SECONDS: Final = 1.0
"""So long after the last word the server is asked for a sign of life, and has as long again to give it."""


class Revocable(Protocol):
    """What an order needs of a session."""

    @property
    def identity(self) -> Identity:
        """By what it can be meant."""

    def revoke(self, why: Why) -> None:
        """End it."""


@contextlib.asynccontextmanager
async def heard_orders(
    redis: RedisClient, revocations: Revocations, sessions: Iterable[Revocable]
) -> AsyncIterator[None]:
    """Carry out orders on these sessions for as long as the block runs; ``redis`` is for the subscription alone."""
    listening = asyncio.create_task(_listen(redis, revocations, sessions), name="orders")
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def _listen(redis: RedisClient, revocations: Revocations, sessions: Iterable[Revocable]) -> None:
    while True:
        try:
            async with await redis.subscription() as subscription:
                await subscription.subscribe(revocations.channel)
                _stop_if_cancelled()
                is_pinged = False
                while True:
                    message = await subscription.get_message(timeout=QUIET_SECONDS)
                    _stop_if_cancelled()
                    if message is None:
                        if is_pinged:  # a server that hangs keeps its connections
                            raise TimeoutError
                        await subscription.ping()
                        is_pinged = True
                        continue
                    is_pinged = False
                    if message["type"] == "subscribe":
                        await _catch_up(revocations, sessions)
                    elif message["type"] == "message":
                        _carry_out(message["data"], sessions)
        except (*FAILURES, RedisUnavailable) as error:
            _stop_if_cancelled()
            structlog.get_logger().warning("redis.down", error=type(error).__name__)
        await asyncio.sleep(AGAIN_SECONDS)


def _stop_if_cancelled() -> None:
    """redis-py 8 on Python 3.11 swallows a cancellation now and then."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _carry_out(message: bytes, sessions: Iterable[Revocable]) -> None:
    try:
        order = read_order(message)
    except ValueError:  # of a later version, or not ours
        structlog.get_logger().warning("order.unknown")
        return
    for session in tuple(sessions):
        if session.identity.is_meant_by(order):
            _end(session, order.why)


async def _catch_up(revocations: Revocations, sessions: Iterable[Revocable]) -> None:
    """Look for the markers of every session: an order may have gone out while nobody listened."""
    for session in tuple(sessions):
        why = await revocations.find(session.identity)
        if why is not None:
            _end(session, why)


def _end(session: Revocable, why: Why) -> None:
    try:
        session.revoke(why)
    except Exception as error:  # noqa: BLE001 - a bug in one session must not make the relay deaf for the others
        structlog.get_logger().error("internal_error", error=type(error).__name__, at=where(error))
