"""Who asks, for every route that wants to know: identifies the caller, and counts addresses.

An address is counted for each request of an anonymous caller and for each refused request of anybody (DESIGN:
"Callers"); who shows a good credential and asks for what it may is never held up by its address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from service_kit.edge import ADDRESS_PSEUDONYM
from service_kit.errors import Refusal
from service_kit.redis_client import RedisUnavailable
from service_kit.secrets import Secrets
from token_service.callers import Caller, bearer_jwt, identify
from token_service.issuer import Issuer
from token_service.mint_rates import MintRates, Scope
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

_RETRY_SECONDS: Final = 1


def unavailable() -> Refusal:
    """Redis did not answer, so nothing can be granted."""
    return Refusal("unavailable", retry_after=_RETRY_SECONDS)


@dataclass(frozen=True, slots=True)
class Reception:
    """Receives callers."""

    settings: TokenServiceSettings
    secrets: Secrets[TokenServiceSecrets]
    rates: MintRates
    issuer: Issuer | None

    async def identify(self, request: web.Request) -> Caller:
        """The caller behind a request. Raises Refusal."""
        authorization = request.headers.getall(hdrs.AUTHORIZATION, [])
        jwt = bearer_jwt(authorization) if self.issuer else None
        return identify(
            authorization=authorization,
            origin=_origin(request),
            address=request[ADDRESS_PSEUDONYM],
            allowed_origins=self.settings.allowed_origins,
            enabled=self.settings.callers,
            keys=self.secrets.current.caller_api_keys,
            identity=await self.issuer.identify(jwt) if self.issuer and jwt else None,
            oidc_tenants=self.settings.oidc_tenants,
        )

    async def admit_anonymous(self, caller: Caller, scope: Scope) -> None:
        """Count the request on its address if the caller is anonymous. Raises TooFast, RedisUnavailable."""
        if caller.kind == "anonymous":
            await self.rates.take(scope, caller.subject, self.settings.mints_per_minute_per_address)

    async def count_refused(self, refusal: Refusal, caller: Caller | None, request: web.Request) -> None:
        """Count a refused request on its address, unless it is counted already or the fault was not in the request.

        ``caller`` is None if it was not identified. Raises Refusal in place of this one: TooFast, or ``unavailable``.
        """
        if (caller is not None and caller.kind == "anonymous") or not _is_at_fault(refusal):
            return
        try:
            await self.rates.take("address", request[ADDRESS_PSEUDONYM], self.settings.mints_per_minute_per_address)
        except RedisUnavailable as error:
            raise unavailable() from error


def _origin(request: web.Request) -> str | None:
    """The page that asks. Raises Refusal where several are named: no browser does that, and only one can be judged."""
    origins = request.headers.getall(hdrs.ORIGIN, [])
    if len(origins) > 1:
        raise Refusal("origin_not_allowed", message="Name one Origin.")
    return origins[0] if origins else None


def _is_at_fault(refusal: Refusal) -> bool:
    """Whether the request was wrong: not if only a limit was reached, or something of ours failed."""
    return refusal.row.http not in (402, 429) and (refusal.row.http or 500) < 500
