"""How often tokens may be minted: per subject, tenant and address, over any 60 s, shared by all replicas.

Exact: a log of times per holder, by Redis' clock, judged and written in one step. A window that begins anew each minute
would let twice as many pass around its turn, and a bucket that refills nearly as many. Each holder is one key and each
script touches one, so that it works in a cluster; a step that is refused takes back the one before it.

The ``limits`` package (5.8) is as exact in a race, but its moving window goes by each replica's own clock, its other
two let more through around a window's turn, a hit cannot be taken back, and it does not ask under our deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from service_kit.errors import Refusal
from service_kit.redis_asking import Question
from service_kit.redis_client import RedisClient, Script
from token_service.backoff import REMEMBERED_SECONDS, retry_after_seconds

WINDOW_SECONDS: Final = 60

Scope = Literal["subject", "tenant", "address", "look"]
"""Whose log: ``look`` is the address again, for what is no mint."""

_FORGET: Final = (
    f"local window = {WINDOW_SECONDS * 1000}"
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = redis.call('LINDEX', KEYS[1], -1)
while oldest and tonumber(oldest) <= now - window do
  redis.call('RPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], -1)
end
"""
)

_TAKE: Final = (
    _FORGET
    + """
-- KEYS[1]  the times at which one holder minted, newest first (milliseconds)
-- ARGV     how many fit into a window
-- returns  the time that was noted, or '' if there is no room
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[1]) then return '' end
local noted = string.format('%.0f', now)
redis.call('LPUSH', KEYS[1], noted)
redis.call('PEXPIRE', KEYS[1], window)
return noted
"""
)

_TAKE_BACK: Final = """
-- KEYS[1]  as above                    ARGV  the time that was noted
redis.call('LREM', KEYS[1], 1, ARGV[1])
"""

_COUNT: Final = (
    _FORGET
    + """
-- KEYS[1]  as above
-- returns  how many are noted, and in how many milliseconds none of them is any more
local newest = redis.call('LINDEX', KEYS[1], 0)
if not newest then return {0, 0} end
return {redis.call('LLEN', KEYS[1]), tonumber(newest) + window - now}
"""
)

_BREACH: Final = """
-- KEYS[1]  how often one caller was refused    ARGV  for how many seconds that is remembered
-- returns  how often, with this time
local breaches = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return breaches
"""


class TooFast(Refusal):
    """``rate_limited``, and whose limit it was."""

    def __init__(self, scope: Scope, breaches: int) -> None:
        super().__init__("rate_limited", retry_after=retry_after_seconds(breaches))
        self.scope = scope


@dataclass(frozen=True, slots=True)
class Rate:
    """How many mints are counted now, and in how many seconds none of them is any more."""

    used: int
    resets_in_seconds: float


class MintRates:
    """The logs of one environment. Every method raises RedisUnavailable."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._redis = redis
        self._prefix = f"airlock:{environment}"
        self._take = Script(redis, _TAKE)
        self._take_back = Script(redis, _TAKE_BACK)
        self._count = Script(redis, _COUNT)
        self._breach = Script(redis, _BREACH)

    async def take(self, scope: Scope, name: str, limit: int) -> bytes:
        """Count one for a holder, by its pseudonym; what was noted. Raises TooFast."""
        noted: bytes = await self._take(self.key(scope, name), limit)
        if not noted:
            raise await self._too_fast(scope, scope, name)
        return noted

    async def take_both(
        self, subject: str, of_subject: int, tenant: str, of_tenant: int, *, along: Sequence[Question] = ()
    ) -> list[Any]:
        """Count one mint for a subject and for its tenant, or for neither. Raises TooFast.

        Returns the answers to what Redis is asked ``along``, on the way that counts the tenant's.
        """
        noted = await self.take("subject", subject, of_subject)
        of_tenant_noted, *answers = await self._take_along("tenant", tenant, of_tenant, along)
        if not of_tenant_noted:
            await self._take_back(self.key("subject", subject), noted)
            # Remembered of who asked: a tenant's other subjects did nothing.
            raise await self._too_fast("tenant", "subject", subject)
        return answers

    async def _take_along(self, scope: Scope, name: str, limit: int, along: Sequence[Question]) -> list[Any]:
        return await self._redis.ask_all(self._take.question(self.key(scope, name), limit), *along)

    async def rate(self, scope: Scope, name: str) -> Rate:
        """What is counted for a holder now."""
        used, resets_in_ms = await self._count(self.key(scope, name))
        return Rate(int(used), int(resets_in_ms) / 1000)

    async def take_tenant(self, tenant: str, limit: int, *, address: str, along: Sequence[Question] = ()) -> list[Any]:
        """Count one mint of an anonymous caller for its tenant; its address counted it before. Raises TooFast.

        Returns the answers to what Redis is asked ``along``.
        """
        noted, *answers = await self._take_along("tenant", tenant, limit, along)
        if not noted:
            raise await self._too_fast("tenant", "address", address)
        return answers

    def key(self, scope: Scope, name: str) -> str:
        """Where a holder's log lies."""
        return f"{self._prefix}:mints:{scope}:{name}"

    async def _too_fast(self, scope: Scope, asker: Scope, name: str) -> TooFast:
        return TooFast(scope, int(await self._breach(f"{self._prefix}:breaches:{asker}:{name}", REMEMBERED_SECONDS)))
