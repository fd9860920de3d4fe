"""Leases: permission to occupy a live-session slot, per tenant and per subject, shared by all relays.

A slot is an entry of a sorted set, scored by when it runs out; a crashed relay's slots free themselves. If Redis is
away, a live session goes on until its lease would have run out, then ends, so that the limits stay true.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import structlog

from service_kit.errors import Refusal
from service_kit.live_slots import slots_key
from service_kit.log import where
from service_kit.redis_asking import Question
from service_kit.redis_client import Pseudonyms, RedisClient, RedisUnavailable, Script
from service_kit.revocation import Kind, Target
from service_kit.session_token import Claims

LEASE_SECONDS: Final = 30
RENEW_SECONDS: Final = 10
TOGETHER_SECONDS: Final = 0.1
"""Renewals that fall into so much time go the same way to Redis: a way costs more than what is asked on it."""
RETRY_AFTER_SECONDS: Final = 10

_TAKE: Final = """
-- KEYS[1]  one holder's live sessions, scored by when their lease runs out (Redis' clock, milliseconds)
-- ARGV     session id, lease in milliseconds, most sessions allowed
-- returns  1 if the session holds a lease, 0 if there is no free slot
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

_RENEW: Final = """
-- KEYS[1]  as above                    ARGV  session id, lease in milliseconds
-- Adds the session even if its entry is gone: a live session counts, also after Redis lost everything.
-- First a write that frees: after it Redis lets a script write on, so that a full memory ends no live session.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_FREE: Final = """
-- KEYS[1]  as above                    ARGV  session id
redis.call('ZREM', KEYS[1], ARGV[1])
"""


def _nothing() -> tuple[()]:
    return ()


def _ignore(_answers: list[Any]) -> None:
    return


@dataclass(frozen=True, slots=True)
class SessionCeilings:
    """How many live sessions each kind of holder may have."""

    per_tenant: int
    per_subject: int
    per_address: int


@dataclass(frozen=True, slots=True)
class Slot:
    """One holder's set of live sessions, and how many fit."""

    key: str
    ceiling: int


class Leases:
    """Takes, renews and frees leases."""

    def __init__(self, redis: RedisClient, environment: str, pseudonyms: Pseudonyms, ceilings: SessionCeilings) -> None:
        self._redis = redis
        self._environment = environment
        self._pseudonyms = pseudonyms
        self._ceilings = ceilings
        self._take = Script(redis, _TAKE)
        self._renew = Script(redis, _RENEW)
        self._free = Script(redis, _FREE)
        self._freeing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Leave what Redis has not heard yet to run out."""
        for task in self._freeing:
            task.cancel()
        if self._freeing:
            await asyncio.wait(self._freeing)

    def slots(self, claims: Claims) -> tuple[Slot, Slot]:
        """What a session must hold, in the order it is taken: its tenant's, then its subject's.

        An anonymous caller's subject is the pseudonym of its address, under the address limit.
        """
        per_subject = self._ceilings.per_address if claims.anonymous else self._ceilings.per_subject
        tenant = Target(Kind.TENANT, self._pseudonyms.of(claims.tenant, ""))
        subject = Target(Kind.SUBJECT, self._pseudonyms.of(claims.tenant, claims.subject))
        return (
            Slot(slots_key(self._environment, tenant), claims.max_sessions_per_tenant or self._ceilings.per_tenant),
            Slot(slots_key(self._environment, subject), claims.max_sessions_per_subject or per_subject),
        )

    def hold(
        self,
        claims: Claims,
        session_id: str,
        renewed: Callable[[list[Any]], None] = _ignore,
        *,
        along: Callable[[], Sequence[Question]] = _nothing,
        beside: Callable[[], Sequence[Awaitable[None]]] = _nothing,
    ) -> Lease:
        """Hold both slots for as long as the block runs.

        What Redis is asked ``along`` is asked on the same way and first, when the slots are taken and each time they
        are renewed, about every 10 s; then ``renewed`` is called with the answers. What ``beside`` returns is awaited
        while they are renewed, so that what it asks at once goes the same way; that may fail.
        Its start raises Refusal: ``too_many_sessions``, or ``unavailable`` when Redis does not answer.
        """
        return Lease(self, self.slots(claims), session_id, renewed, along, beside)

    async def take_all(self, slots: tuple[Slot, ...], session_id: str, along: Sequence[Question]) -> list[Any]:
        """Take slots; the answers to what is asked along. Raises Refusal."""
        takes = [self._take.question(slot.key, session_id, LEASE_SECONDS * 1000, slot.ceiling) for slot in slots]
        try:
            answers = await self._redis.ask_all(*along, *takes)
        except RedisUnavailable as error:
            raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS) from error
        if not all(answers[len(along) :]):
            raise Refusal("too_many_sessions", retry_after=RETRY_AFTER_SECONDS)
        return answers[: len(along)]

    async def renew_all(self, slots: tuple[Slot, ...], session_id: str, along: Sequence[Question]) -> list[Any]:
        """Renew slots; the answers to what is asked along. Raises RedisUnavailable."""
        renewals = [self._renew.question(slot.key, session_id, LEASE_SECONDS * 1000) for slot in slots]
        answers = await self._redis.ask_all(*along, *renewals)
        return answers[: len(along)]

    async def free_all(self, slots: tuple[Slot, ...], session_id: str) -> None:
        """Freeing what was never taken does nothing; what Redis does not hear now it is told again."""
        if not await self._are_freed(slots, session_id):
            freeing = asyncio.create_task(self._free_later(slots, session_id), name="lease freeing")
            self._freeing.add(freeing)
            freeing.add_done_callback(self._freeing.discard)

    async def _are_freed(self, slots: tuple[Slot, ...], session_id: str) -> bool:
        """Whether Redis heard that the slots are free."""
        try:
            await self._redis.ask_all(*(self._free.question(slot.key, session_id) for slot in slots))
        except RedisUnavailable:
            return False
        return True

    async def _free_later(self, slots: tuple[Slot, ...], session_id: str) -> None:
        """Free them as soon as Redis is asked again, or until they have run out by themselves."""
        loop = asyncio.get_running_loop()
        runs_out = loop.time() + LEASE_SECONDS
        while loop.time() < runs_out:
            await asyncio.sleep(_jitter())
            if await self._are_freed(slots, session_id):
                return


def _jitter() -> float:
    """Sessions that started together, or failed together, must not ask together for ever."""
    return random.uniform(0.8, 1.0)  # noqa: S311 - no secret


class Lease:
    """Both slots of one session; use as ``async with``, which gives what completes when they are lost, and the answers.

    Between two renewals it is a timer and no task: there are as many as there are sessions.
    """

    __slots__ = (
        "_along",
        "_beside",
        "_is_over",
        "_leases",
        "_lost",
        "_renewed",
        "_renewing",
        "_runs_out",
        "_session_id",
        "_slots",
        "_timer",
    )

    def __init__(
        self,
        leases: Leases,
        slots: tuple[Slot, ...],
        session_id: str,
        renewed: Callable[[list[Any]], None],
        along: Callable[[], Sequence[Question]],
        beside: Callable[[], Sequence[Awaitable[None]]],
    ) -> None:
        self._leases = leases
        self._slots = slots
        self._session_id = session_id
        self._renewed = renewed
        self._along = along
        self._beside = beside
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._runs_out = 0.0
        self._is_over = False

    async def __aenter__(self) -> tuple[asyncio.Future[None], list[Any]]:
        try:
            answers = await self._leases.take_all(self._slots, self._session_id, self._along())
        except BaseException:
            await self._leases.free_all(self._slots, self._session_id)
            raise
        self._runs_out = asyncio.get_running_loop().time() + LEASE_SECONDS
        self._renew_in(RENEW_SECONDS * _jitter())
        return self._lost, answers

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            # Not cancelled: a renewal that Redis hears after the slots were freed would take them again.
            if self._renewing is not None:
                await asyncio.wait([self._renewing])
        finally:
            await self._leases.free_all(self._slots, self._session_id)

    def _renew_in(self, seconds: float) -> None:
        if self._is_over:
            return
        loop = asyncio.get_running_loop()
        together = math.ceil((loop.time() + seconds) / TOGETHER_SECONDS) * TOGETHER_SECONDS
        self._timer = loop.call_at(min(together, self._runs_out), self._begin_to_renew)

    def _begin_to_renew(self) -> None:
        self._renewing = asyncio.create_task(self._renew(), name="lease renewal")
        self._renewing.add_done_callback(self._note)

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        asking = self._leases.renew_all(self._slots, self._session_id, self._along())
        answers, *others = await asyncio.gather(asking, *self._beside(), return_exceptions=True)
        for error in (answers, *others):
            if isinstance(error, BaseException) and not isinstance(error, RedisUnavailable):
                raise error
        if not isinstance(answers, BaseException):
            self._runs_out = asked_at + LEASE_SECONDS
            self._renewed(answers)
            self._renew_in(RENEW_SECONDS * _jitter())
        elif loop.time() < self._runs_out:
            self._renew_in(_jitter())
        else:
            self._lose()

    def _note(self, renewing: asyncio.Task[None]) -> None:
        """Whatever stopped the renewal but its owner, the slots are lost."""
        self._renewing = None
        if not renewing.cancelled() and (error := renewing.exception()) is not None:
            structlog.get_logger().error("internal_error", error=type(error).__name__, at=where(error))
            self._lose()

    def _lose(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
