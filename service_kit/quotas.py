"""What subjects and tenants used today, and what they may: session seconds, tokens and cost per UTC day.

A relay adds what a live session has used at each renewal of its lease and at its end; the token service and the relay
look before a session begins. One hash per subject and per tenant, without a day in its name: the script knows the day
by Redis' clock and starts afresh on a new one, so that all processes agree on midnight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Final

from service_kit.redis_client import RedisClient, Script
from service_kit.revocation import Target
from service_kit.session_token import Quota

MICRO: Final = 1_000_000
"""Micro-dollars in a dollar: sums of money are whole numbers."""

_OPEN_DAY: Final = """
local day = math.floor(redis.call('TIME')[1] / 86400)
local kept_for_ms = 3600 * 1000
local names = {'milliseconds', 'tokens', 'micro_usd'}
"""

_ADD: Final = (
    _OPEN_DAY
    + """
-- KEYS[1]  what one holder used: its day (since 1970), the sums, and what of each live session is in them
-- ARGV     session id, 1 if it is over, then for each name what it has used so far, then what of that is known to be in
-- returns  the holder's sums of today
-- Adds the difference to what is in already, so that a repetition adds nothing, also after an answer that was lost.
-- Where that is not known here (a new day, or Redis lost it) it is what the session knows.
-- First a write that takes no room: after it Redis lets a script write on, so that a full memory makes nothing free.
redis.call('HDEL', KEYS[1], '')
if tonumber(redis.call('HGET', KEYS[1], 'day')) ~= day then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'day', day)
end
local known = {ARGV[6], ARGV[7], ARGV[8]}
local noted = redis.call('HGET', KEYS[1], ARGV[1])
if noted then
  known = {}
  for count in string.gmatch(noted, '%d+') do table.insert(known, count) end
end
local sums = {}
for i, name in ipairs(names) do
  sums[i] = redis.call('HINCRBY', KEYS[1], name, ARGV[2 + i] - known[i])
  if sums[i] < 0 then
    sums[i] = 0
    redis.call('HSET', KEYS[1], name, 0)
  end
end
if ARGV[2] == '1' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], table.concat({ARGV[3], ARGV[4], ARGV[5]}, ' '))
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', (day + 1) * 86400000 + kept_for_ms))
return sums
"""
)

_LOOK: Final = (
    _OPEN_DAY
    + """
-- KEYS[1]  as above
-- returns  the holder's sums of today
local kept = redis.call('HMGET', KEYS[1], 'day', unpack(names))
if tonumber(kept[1]) ~= day then return {0, 0, 0} end
return {tonumber(kept[2]), tonumber(kept[3]), tonumber(kept[4])}
"""
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used; whole numbers, so that sums are exact."""

    milliseconds: int = 0
    tokens: int = 0
    micro_usd: int = 0


NOTHING: Final = Usage()


def is_used_up(quota: Quota, used: Usage) -> bool:
    """Whether one of what the quota limits is used up."""
    return (
        (quota.seconds is not None and used.milliseconds >= quota.seconds * 1000)
        or (quota.tokens is not None and used.tokens >= quota.tokens)
        or (quota.micro_usd is not None and used.micro_usd >= quota.micro_usd)
    )


class Quotas:
    """The sums of one environment."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._redis = redis
        self._prefix = f"airlock:{environment}:used"
        self._add = Script(redis, _ADD)
        self._look = Script(redis, _LOOK)

    def key(self, holder: Target) -> str:
        """Where a subject's or tenant's sums lie."""
        return f"{self._prefix}:{holder.kind}:{holder.id}"

    async def used(self, holder: Target) -> Usage:
        """What the holder used today. Raises RedisUnavailable."""
        return Usage(*await self._look(self.key(holder)))

    async def add(
        self, known: Mapping[Target, Usage], session_id: str, so_far: Usage, *, is_over: bool
    ) -> dict[Target, Usage]:
        """Add what a session has used beyond what is added already; what its holders used today.

        ``known`` is, for each holder, what the last answered call had as ``so_far``. Raises RedisUnavailable; then it
        may be added or not, and the next call adds what is missing.
        """
        sums = await self._redis.ask_all(
            *(
                self._add.question(self.key(holder), session_id, int(is_over), *astuple(so_far), *astuple(before))
                for holder, before in known.items()
            )
        )
        return {holder: Usage(*each) for holder, each in zip(known, sums, strict=True)}
