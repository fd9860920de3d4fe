"""The slots of live sessions in Redis, per subject and per tenant: where they lie, and how many are taken.

Each is a sorted set, scored by when a session's lease runs out (Redis' clock, milliseconds); :mod:`relay.leases` takes,
renews and frees. An anonymous caller's subject is the pseudonym of its address, under the address limit.
"""

from __future__ import annotations

from typing import Final

from service_kit.redis_client import RedisClient, Script
from service_kit.revocation import Target

_COUNT: Final = """
-- KEYS[1]  one holder's live sessions
-- returns  how many of their leases have not run out
local time = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), '+inf')
"""


def slots_key(environment: str, holder: Target) -> str:
    """The Redis key of a subject's or tenant's slots."""
    return f"airlock:{environment}:lease:{holder.kind}:{holder.id}"


class LiveSlots:
    """Counts the live sessions of one environment."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._environment = environment
        self._count = Script(redis, _COUNT)

    async def taken(self, holder: Target) -> int:
        """How many live sessions a subject or tenant has. Raises RedisUnavailable."""
        return int(await self._count(slots_key(self._environment, holder)))
