"""``GET /v1/limits``: the caller's limits, and what is left of them. Looking takes nothing of what is left.

A tenant's numbers are told to its API keys alone: an anonymous or OIDC caller is one of a tenant's many people. It may
know whether the tenant's limits hold it, which minting would tell as well, but not what all the others use and cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from aiohttp import hdrs, web

from service_kit.edge import ADDRESS_PSEUDONYM
from service_kit.errors import Refusal
from service_kit.live_slots import LiveSlots
from service_kit.quotas import MICRO, Quotas, Usage, is_used_up
from service_kit.redis_client import Pseudonyms, RedisUnavailable
from service_kit.revocation import Kind, Revocations, Target
from service_kit.session_token import Quota
from service_kit.web import REQUEST_ID
from token_service.callers import Caller
from token_service.ceilings import Ceilings, ceilings_of
from token_service.mint_rates import MintRates, Rate, Scope, TooFast
from token_service.reception import Reception, unavailable


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """Answers for the caller itself: its subject, which for an anonymous caller is its address."""

    reception: Reception
    rates: MintRates
    quotas: Quotas
    slots: LiveSlots
    revocations: Revocations
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
        """The answer for an identified caller. Raises Refusal, RedisUnavailable."""
        subject = Target(Kind.SUBJECT, self.pseudonyms.of(caller.tenant, caller.subject))
        tenant = Target(Kind.TENANT, self.pseudonyms.of(caller.tenant, ""))
        if await self.revocations.is_blocked(subject, tenant):
            raise Refusal("blocked")
        ceilings = ceilings_of(caller, self.reception.settings)
        is_anonymous = caller.kind == "anonymous"
        own = await self._spent(
            subject, "address" if is_anonymous else "subject", caller.subject if is_anonymous else subject.id
        )
        of_tenant = await self._spent(tenant, "tenant", tenant.id)
        return limits_body(ceilings, own, of_tenant, tells_tenant=caller.kind == "api_key")

    async def _spent(self, holder: Target, scope: Scope, minter: str) -> Spent:
        return Spent(
            await self.rates.rate(scope, minter), await self.slots.taken(holder), await self.quotas.used(holder)
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """What a subject or tenant has used of its limits."""

    rate: Rate
    sessions: int
    used: Usage


def limits_body(ceilings: Ceilings, own: Spent, of_tenant: Spent, *, tells_tenant: bool) -> dict[str, object]:
    """The answer. ``held_by_tenant`` names what the tenant has none left of, so that the caller has none either."""
    is_full = {
        "mints_per_minute": of_tenant.rate.used >= ceilings.mints_per_minute_of_tenant,
        "sessions": of_tenant.sessions >= ceilings.sessions_of_tenant,
        "quota": is_used_up(ceilings.tenant_quota, of_tenant.used),
    }
    body: dict[str, object] = {
        "limits": _shown(own, ceilings.mints_per_minute, ceilings.sessions, ceilings.subject_quota),
        "held_by_tenant": [name for name, full in is_full.items() if full],
    }
    if tells_tenant:
        body["tenant"] = _shown(
            of_tenant, ceilings.mints_per_minute_of_tenant, ceilings.sessions_of_tenant, ceilings.tenant_quota
        )
    return body


def _shown(spent: Spent, mints_per_minute: int, sessions: int, quota: Quota) -> dict[str, object]:
    """One holder's limits; a quota without a limit has null there."""
    usd = None if quota.micro_usd is None else quota.micro_usd / MICRO
    return {
        "mints_per_minute": {
            "limit": mints_per_minute,
            "remaining": max(0, mints_per_minute - spent.rate.used),
            "resets_in_seconds": spent.rate.resets_in_seconds,
        },
        "sessions": {"limit": sessions, "active": spent.sessions},
        "quota": {
            "seconds": {"limit": quota.seconds, "used": spent.used.milliseconds / 1000},
            "tokens": {"limit": quota.tokens, "used": spent.used.tokens},
            "usd": {"limit": usd, "used": spent.used.micro_usd / MICRO},
        },
    }
