"""Ending sessions from outside: markers that outlast the moment, and orders that reach every relay at once.

A marker is written first and an order published in the same step (DESIGN: "Revocation"), so that a relay that hears no
order finds the marker. Two kinds: an *end* hits what was minted before it; a *block* hits everything until it runs out.
Ids are those that operators see: of the session or the token, or the pseudonym of a subject or tenant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from service_kit.redis_asking import Question
from service_kit.redis_client import RedisClient, Script
from service_kit.session_token import MAX_TOKEN_SECONDS
from service_kit.token_record import record_key

LONGEST_SESSION_SECONDS: Final = 3_600
END_SECONDS: Final = LONGEST_SESSION_SECONDS + MAX_TOKEN_SECONDS
"""How long an end is remembered: until nothing can be live any more that was minted before it."""

_END: Final = """
-- KEYS[1]  the end marker              ARGV  channel, its TTL in milliseconds, why, kind, id
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[1], now .. ' ' .. ARGV[3], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[1], table.concat({ARGV[3], ARGV[4], ARGV[5], now}, ' '))
"""

_BLOCK: Final = """
-- KEYS[1]  the block                   ARGV  channel, its TTL in milliseconds, kind, id, what operators call it
redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[1], table.concat({'blocked', ARGV[3], ARGV[4], '0'}, ' '))
"""

_INDEX: Final = """
-- KEYS[1]  what is blocked, as 'kind id', scored by when that ends (Redis' clock, milliseconds)
-- ARGV     kind and id, the block's TTL in milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], last[2])
"""

_REVOKE: Final = """
-- KEYS[1]  the token's record
-- returns  1 if there is one, which cannot be redeemed from now on, else 0
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'state', 'revoked')
return 1
"""


class Kind(StrEnum):
    """What can be ended; subjects and tenants can also be blocked."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - a word, not a secret
    SUBJECT = "subject"
    TENANT = "tenant"


_BLOCKABLE: Final = (Kind.SUBJECT, Kind.TENANT)


class Why(StrEnum):
    """Why it is ended."""

    REVOKED = "revoked"
    REPLAYED = "replayed"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Target:
    """Whom an order is for."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class Block:
    """Who may have nothing now, and until when (Unix seconds by Redis' clock); ``name`` is what operators call it."""

    target: Target
    name: str
    until: float


@dataclass(frozen=True, slots=True)
class Order:
    """What relays are told: end this target; ``before_ms`` (Redis' clock) spares what was minted later, 0 nobody."""

    why: Why
    target: Target
    before_ms: int


def read_order(message: bytes) -> Order:
    """An order as it was published. Raises ValueError."""
    why, kind, target_id, before_ms = message.decode().split(" ")
    return Order(Why(why), Target(Kind(kind), target_id), int(before_ms))


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything by which a session can be meant; ``minted_ms`` is its token's birth by Redis' clock."""

    session_id: str
    token_id: str
    subject: str
    tenant: str
    minted_ms: int

    def targets(self) -> Iterator[Target]:
        """Each way of meaning it."""
        yield Target(Kind.SESSION, self.session_id)
        yield Target(Kind.TOKEN, self.token_id)
        yield Target(Kind.SUBJECT, self.subject)
        yield Target(Kind.TENANT, self.tenant)

    def is_meant_by(self, order: Order) -> bool:
        """Whether the order is for this session."""
        spared = order.why is not Why.BLOCKED and self.minted_ms >= order.before_ms
        return not spared and order.target in self.targets()


def read_markers(identity: Identity, marks: Sequence[bytes | None]) -> Why | None:
    """Why the session must not be; ``marks`` answer the questions of :meth:`Revocations.questions`."""
    blocks = len(_BLOCKABLE)
    if any(marks[:blocks]):
        return Why.BLOCKED
    for mark in filter(None, marks[blocks:]):
        before_ms, _, why = mark.decode().partition(" ")
        if identity.minted_ms < int(before_ms):
            return Why(why)
    return None


def _blocked(member: bytes) -> Target:
    kind, target_id = member.decode().split(" ")
    return Target(Kind(kind), target_id)


class Revocations:
    """The markers and orders of one environment."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._redis = redis
        self._environment = environment
        self._end = Script(redis, _END)
        self._block = Script(redis, _BLOCK)
        self._index = Script(redis, _INDEX)
        self._revoke = Script(redis, _REVOKE)
        self.channel = f"airlock:{environment}:orders"
        self._blocks = f"airlock:{environment}:blocks"

    async def end(self, target: Target, why: Why = Why.REVOKED) -> None:
        """End everything of the target that was minted until now. Raises RedisUnavailable."""
        key = self._key("ended", target)
        await self._end(key, self.channel, END_SECONDS * 1000, why, target.kind, target.id)

    async def revoke_token(self, token_id: str) -> bool:
        """Make the token useless, and end the session it opened; whether it had a record. Raises RedisUnavailable."""
        had_record = await self._revoke(record_key(self._environment, token_id))
        await self.end(Target(Kind.TOKEN, token_id))
        return bool(had_record)

    async def block(self, target: Target, seconds: int, name: str = "?") -> None:
        """Refuse a subject or tenant for so long, and end what it has. Raises RedisUnavailable."""
        # Listed first, and listed until it would have ended: so no block is in force that operators do not see.
        await self._index(self._blocks, f"{target.kind} {target.id}", seconds * 1000)
        key = self._key("blocked", target)
        await self._block(key, self.channel, seconds * 1000, target.kind, target.id, name)

    async def unblock(self, target: Target) -> bool:
        """Whether there was a block to lift. Raises RedisUnavailable."""
        return bool(await self._redis.ask(lambda: self._redis.delete(self._key("blocked", target))))

    async def blocks(self) -> list[Block]:
        """Every block in force, the one that ends first, first. Raises RedisUnavailable."""
        found: list[Any] = await self._redis.ask(lambda: self._redis.zrange(self._blocks, 0, -1, withscores=True))
        targets = [_blocked(member) for member, _ in found]
        names = await self._redis.ask_all(*(self._get("blocked", target) for target in targets)) if targets else []
        ends = [until_ms / 1000 for _, until_ms in found]
        return [
            Block(target, name.decode(), until)
            for target, name, until in zip(targets, names, ends, strict=True)
            if name
        ]

    async def is_blocked(self, *targets: Target) -> bool:
        """Whether one of them may have no token now. Raises RedisUnavailable."""
        return any(await self._redis.ask_all(*self.questions_of_blocks(*targets)))

    def questions_of_blocks(self, *targets: Target) -> list[Question]:
        """What asks for that; an answer that is not empty says so."""
        return [self._get("blocked", target) for target in targets]

    async def find(self, identity: Identity) -> Why | None:
        """Why the session must not be, as far as the markers say. Raises RedisUnavailable."""
        return read_markers(identity, await self._redis.ask_all(*self.questions(identity)))

    def questions(self, identity: Identity) -> list[Question]:
        """What asks for the markers against a session; :func:`read_markers` reads the answers."""
        targets = tuple(identity.targets())
        blockable = [target for target in targets if target.kind in _BLOCKABLE]
        return [self._get("blocked", target) for target in blockable] + [self._get("ended", each) for each in targets]

    def _get(self, what: str, target: Target) -> Question:
        key = self._key(what, target)
        return Question(key, ("GET", key))

    def _key(self, what: str, target: Target) -> str:
        return f"airlock:{self._environment}:{what}:{target.kind}:{target.id}"
