"""What one session adds to the quotas of its subject and tenant, and whether they are used up."""

from __future__ import annotations

import asyncio
from typing import Final

from relay.meter import Meter
from service_kit.errors import Refusal
from service_kit.quotas import MICRO, NOTHING, Quotas, Usage, is_used_up
from service_kit.redis_client import RedisUnavailable
from service_kit.revocation import Identity, Kind, Target
from service_kit.session_token import Claims, Quota

RETRY_AFTER_SECONDS: Final = 2


def usage_of(meter: Meter, live_seconds: float) -> Usage:
    """A session's usage in the quotas' units. A response in flight counts by estimate, as it does for the budget."""
    return Usage(
        milliseconds=int(live_seconds * 1000),
        tokens=meter.tokens_so_far.total,
        micro_usd=round((meter.cost_usd or 0.0) * MICRO),
    )


class Spending:
    """One session's part in the sums of its two holders."""

    def __init__(self, quotas: Quotas, identity: Identity, claims: Claims) -> None:
        self._quotas = quotas
        self._session_id = identity.session_id
        self._limits: tuple[tuple[Target, Quota], ...] = (
            (Target(Kind.SUBJECT, identity.subject), claims.subject_quota),
            (Target(Kind.TENANT, identity.tenant), claims.tenant_quota),
        )
        self._known = dict.fromkeys((holder for holder, _ in self._limits), NOTHING)
        self._one_at_a_time = asyncio.Lock()
        self._is_over = False  # the last addition comes last

    async def check(self) -> None:
        """Look whether there is anything left for the session. Raises Refusal."""
        try:
            for holder, quota in self._limits:
                if quota.is_set and is_used_up(quota, await self._quotas.used(holder)):
                    raise Refusal("quota_exhausted")
        except RedisUnavailable as error:
            raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS) from error

    async def add(self, so_far: Usage, *, is_over: bool = False) -> bool:
        """Add what is new in ``so_far``; whether a quota is used up. Raises RedisUnavailable."""
        async with self._one_at_a_time:
            if self._is_over:
                return False
            self._is_over = is_over
            used = await self._quotas.add(self._known, self._session_id, so_far, is_over=is_over)
            self._known = dict.fromkeys(self._known, so_far)
        return any(is_used_up(quota, used[holder]) for holder, quota in self._limits)
