"""``GET /v1/limits``: the caller's limits, and what is left of them. Looking takes nothing of what is left."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from aiohttp import hdrs, web

from service_kit.edge import ADDRESS_PSEUDONYM
from service_kit.errors import Refusal
from service_kit.live_slots import LiveSlots
from service_kit.quotas import MICRO, Quotas, Usage
from service_kit.redis_client import Pseudonyms, RedisUnavailable
from service_kit.revocation import Kind, Target
from service_kit.web import REQUEST_ID
from token_service.callers import Caller
from token_service.ceilings import Ceilings, ceilings_of
from token_service.mint_rates import MintRates, Rate, TooFast
from token_service.reception import Reception, unavailable


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """Answers for the caller itself: its subject, which for an anonymous caller is its address."""

    reception: Reception
    rates: MintRates
    quotas: Quotas
    slots: LiveSlots
    pseudonyms: Pseudonyms

    async def show(self, request: web.Request) -> web.Response:
        """What the caller may, and what it has used. Raises Refusal."""
        caller = None
        try:
            try:
                caller = await self.reception.identify(request)
                await self.reception.admit_anonymous(caller, "look")
                body = await self._look(caller)
            except Refusal as refusal:
                await self.reception.count_refused(refusal, caller, request)
                raise
            except RedisUnavailable as error:
                raise unavailable() from error
        except Refusal as refusal:
            structlog.get_logger().warning(
                "limits.denied",
                code=refusal.code,
                reason=refusal.scope if isinstance(refusal, TooFast) else None,
                request_id=request[REQUEST_ID],
                address=request[ADDRESS_PSEUDONYM],
                origin=request.headers.get(hdrs.ORIGIN),
                caller=caller.kind if caller else None,
            )
            raise
        return web.json_response(body)

    async def _look(self, caller: Caller) -> dict[str, object]:
        subject = Target(Kind.SUBJECT, self.pseudonyms.of(caller.tenant, caller.subject))
        if caller.kind == "anonymous":
            rate = await self.rates.rate("address", caller.subject)
        else:
            rate = await self.rates.rate("subject", subject.id)
        ceilings = ceilings_of(caller, self.reception.settings)
        return limits_body(ceilings, rate, await self.slots.taken(subject), await self.quotas.used(subject))


def limits_body(ceilings: Ceilings, rate: Rate, active: int, used: Usage) -> dict[str, object]:
    """The answer; a quota without a limit has null there."""
    quota = ceilings.subject_quota
    usd = None if quota.micro_usd is None else quota.micro_usd / MICRO
    return {
        "limits": {
            "mints_per_minute": {
                "limit": ceilings.mints_per_minute,
                "remaining": max(0, ceilings.mints_per_minute - rate.used),
                "resets_in_seconds": rate.resets_in_seconds,
            },
            "sessions": {"limit": ceilings.sessions, "active": active},
            "quota": {
                "seconds": {"limit": quota.seconds, "used": used.milliseconds / 1000},
                "tokens": {"limit": quota.tokens, "used": used.tokens},
                "usd": {"limit": usd, "used": used.micro_usd / MICRO},
            },
        }
    }
