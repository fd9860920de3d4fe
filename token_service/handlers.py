"""The HTTP face of minting: reads who asks and what for, stores the record, answers, and writes the audit line."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
import structlog
from aiohttp import hdrs, web

from service_kit.edge import ADDRESS_PSEUDONYM
from service_kit.errors import Refusal
from service_kit.quotas import Quotas, is_used_up
from service_kit.redis_client import Pseudonyms, RedisUnavailable
from service_kit.revocation import Kind, Revocations, Target
from service_kit.session_token import TOKEN_ID_BYTES, Claims, SessionToken, SessionTokenCodec, TokenKeys
from service_kit.tally import Tally
from service_kit.telemetry import Span, Telemetry
from service_kit.telemetry.trace_context import TRACEPARENT, parse_traceparent
from service_kit.web import REQUEST_ID, read_json
from token_service.beta_mint import (
    beta_answer,
    in_beta_words,
    parse_beta_session_request,
    parse_beta_transcription_request,
)
from token_service.callers import Caller
from token_service.ceilings import Ceilings, ceilings_of
from token_service.identity import InvalidIdentity
from token_service.mint import decide_claims
from token_service.mint_rates import MintRates, TooFast
from token_service.mint_request import MintRequest, parse_mint_request
from token_service.mint_response import mint_response
from token_service.reception import Reception, unavailable
from token_service.settings import TokenServiceSettings
from token_service.token_store import TokenStore

_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Shape:
    """One of the forms in which a token is asked for and given; who gets what is the same in all.

    Attributes:
        path: where it is asked for.
        read: what a decoded body asks for. Raises Refusal.
        is_beta: it is the beta's, which a profile may not want.
    """

    path: str
    read: Callable[[object], MintRequest]
    is_beta: bool = True


SHAPES: Final = (
    Shape("/v1/realtime/client_secrets", parse_mint_request, is_beta=False),
    Shape("/v1/realtime/sessions", parse_beta_session_request),
    Shape("/v1/realtime/transcription_sessions", parse_beta_transcription_request),
)


@dataclass(frozen=True, slots=True)
class ClientSecrets:
    """``POST /v1/realtime/client_secrets``, and the same in the beta's shapes."""

    settings: TokenServiceSettings
    codec: SessionTokenCodec
    store: TokenStore
    revocations: Revocations
    tally: Tally
    pseudonyms: Pseudonyms
    reception: Reception
    rates: MintRates
    quotas: Quotas
    telemetry: Telemetry

    def creator(self, shape: Shape) -> Callable[[web.Request], Awaitable[web.Response]]:
        """The handler that mints in this shape."""
        return partial(self._create, shape)

    async def _create(self, shape: Shape, request: web.Request) -> web.Response:
        """Mint one token. Raises Refusal."""
        audit = structlog.get_logger().bind(
            request_id=request[REQUEST_ID],
            address=request[ADDRESS_PSEUDONYM],
            origin=request.headers.get(hdrs.ORIGIN),
        )
        caller = None
        # Recorded only if it is ended: strangers whom nobody identified leave counts, and no spans.
        span = self.telemetry.span(
            f"POST {shape.path}",
            "server",
            parent=parse_traceparent(request.headers.getall(TRACEPARENT, [])),
            request_id=request[REQUEST_ID],
        )
        try:
            try:
                caller = await self.reception.identify(request)
                audit = audit.bind(
                    caller=caller.kind, tenant=caller.tenant, subject=self.pseudonyms.of(caller.tenant, caller.subject)
                )
                await self.reception.admit_anonymous(caller, "address")
                mint_request = shape.read(await read_json(request))
                now = time.time()
                ceilings = ceilings_of(caller, self.settings)
                claims = decide_claims(
                    mint_request,
                    caller,
                    self.settings.profiles,
                    prices=self.settings.airlock_profiles.price_list,
                    upstreams=self.settings.upstreams,
                    allowed_origins=self.settings.allowed_origins,
                    now=int(now),
                    ceilings=ceilings,
                )
                if shape.is_beta and not claims.lock.beta_clients:
                    raise Refusal("beta_api_shape_disabled")
                claims = msgspec.structs.replace(claims, trace=span.context.traceparent)
                subject = self.pseudonyms.of(claims.tenant, claims.subject)
                await self._check_limits(claims, ceilings, subject)
                secret = secrets.token_bytes(TOKEN_ID_BYTES)
                keys = TokenKeys.of(secret)
                await self.store.put(keys, claims, secrets.token_bytes(_NONCE_BYTES))
            except Refusal as refusal:
                if shape.is_beta:
                    in_beta_words(refusal)
                await self.reception.count_refused(refusal, caller, request)
                raise
            except RedisUnavailable as error:
                raise unavailable() from error
        except TooFast as refusal:
            _refused(span, refusal, caller)
            audit.warning("mint.limited", code=refusal.code, reason=refusal.scope)
            raise
        except Refusal as refusal:
            _refused(span, refusal, caller)
            cause = refusal.__cause__
            reason = cause.reason if isinstance(cause, InvalidIdentity) else None
            audit.warning("mint.denied", code=refusal.code, param=refusal.param, reason=reason)
            raise
        self.tally.count("minted")
        span.status = 200
        span.set(token_id=keys.token_id, profile=claims.profile, model=claims.lock.model)
        span.end()
        audit.info(
            "mint.ok",
            trace_id=span.context.trace_id,
            subject=subject,
            profile=claims.profile,
            model=claims.lock.model,
            token_id=keys.token_id,
            token_seconds=claims.expires_at - claims.issued_at,
            reference_id=claims.reference_id,
        )
        minted = mint_response(
            claims,
            token=self.codec.encode(SessionToken(secret, claims.expires_at), now),
            token_id=keys.token_id,
            relay_url=self.settings.relay_url,
            provider=self.settings.provider,
        )
        body = msgspec.json.encode(beta_answer(minted) if shape.is_beta else minted)
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    async def _check_limits(self, claims: Claims, ceilings: Ceilings, pseudonym: str) -> None:
        """Count the mint, and see whether subject and tenant may have a session. Raises Refusal, RedisUnavailable.

        ``pseudonym`` is the subject's.
        """
        subject = Target(Kind.SUBJECT, pseudonym)
        tenant = Target(Kind.TENANT, self.pseudonyms.of(claims.tenant, ""))
        of_tenant = ceilings.mints_per_minute_of_tenant
        blocks = self.revocations.questions_of_blocks(subject, tenant)
        if claims.anonymous:
            blocked = await self.rates.take_tenant(tenant.id, of_tenant, address=claims.subject, along=blocks)
        else:
            blocked = await self.rates.take_both(
                subject.id, ceilings.mints_per_minute, tenant.id, of_tenant, along=blocks
            )
        if any(blocked):
            raise Refusal("blocked")
        for holder, quota in ((subject, claims.subject_quota), (tenant, claims.tenant_quota)):
            if quota.is_set and is_used_up(quota, await self.quotas.used(holder)):
                raise Refusal("quota_exhausted")


def _refused(span: Span, refusal: Refusal, caller: Caller | None) -> None:
    if caller is not None:
        span.status = refusal.row.http
        span.set(code=refusal.code)
        span.end()
