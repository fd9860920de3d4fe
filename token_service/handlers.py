"""The HTTP face of minting: reads who asks and what for, stores the record, answers, and writes the audit line."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import structlog
from aiohttp import hdrs, web

from service_kit.client_address import client_address
from service_kit.errors import Refusal
from service_kit.redis_client import Pseudonyms, RedisUnavailable
from service_kit.revocation import Kind, Revocations, Target
from service_kit.session_token import TOKEN_ID_BYTES, Claims, SessionToken, SessionTokenCodec, TokenKeys
from service_kit.tally import Tally
from service_kit.web import REQUEST_ID, read_json
from token_service.callers import ANONYMOUS_TENANT, Caller, bearer_jwt, identify
from token_service.identity import InvalidIdentity
from token_service.issuer import Issuer
from token_service.mint import decide_claims
from token_service.mint_request import parse_mint_request
from token_service.mint_response import mint_response
from token_service.settings import TokenServiceSettings
from token_service.token_store import TokenStore

_NONCE_BYTES = 12
_RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class ClientSecrets:
    """``POST /v1/realtime/client_secrets``."""

    settings: TokenServiceSettings
    codec: SessionTokenCodec
    store: TokenStore
    revocations: Revocations
    tally: Tally
    pseudonyms: Pseudonyms
    issuer: Issuer | None

    async def create(self, request: web.Request) -> web.Response:
        """Mint one token. Raises Refusal."""
        address = self._address(request)
        audit = structlog.get_logger().bind(
            request_id=request[REQUEST_ID], address=address, origin=request.headers.get(hdrs.ORIGIN)
        )
        try:
            caller = await self._identify(request, address)
            audit = audit.bind(
                caller=caller.kind, tenant=caller.tenant, subject=self.pseudonyms.of(caller.tenant, caller.subject)
            )
            mint_request = parse_mint_request(await read_json(request))
            now = time.time()
            claims = decide_claims(
                mint_request,
                caller,
                self.settings.profiles,
                prices=self.settings.airlock_profiles.price_list,
                upstreams=self.settings.upstreams,
                allowed_origins=self.settings.allowed_origins,
                now=int(now),
            )
            await self._check_not_blocked(claims)
            secret = secrets.token_bytes(TOKEN_ID_BYTES)
            keys = TokenKeys.of(secret)
            await self._store(keys, claims)
        except Refusal as refusal:
            cause = refusal.__cause__
            reason = cause.reason if isinstance(cause, InvalidIdentity) else None
            audit.warning("mint.denied", code=refusal.code, param=refusal.param, reason=reason)
            self.tally.count(f"refused:{refusal.code}")
            raise
        self.tally.count("minted")
        audit.info(
            "mint.ok",
            subject=self.pseudonyms.of(claims.tenant, claims.subject),
            profile=claims.profile,
            model=claims.lock.model,
            token_id=keys.token_id,
            token_seconds=claims.expires_at - claims.issued_at,
            reference_id=claims.reference_id,
        )
        return web.json_response(
            mint_response(
                claims,
                token=self.codec.encode(SessionToken(secret, claims.expires_at), now),
                token_id=keys.token_id,
                relay_url=self.settings.relay_url,
                provider=self.settings.provider,
            )
        )

    def _address(self, request: web.Request) -> str:
        """The pseudonym of the client's address; nothing behind this knows the address itself."""
        forwarded_for = request.headers.getall(hdrs.X_FORWARDED_FOR, [])
        address = client_address(request.remote or "", forwarded_for, self.settings.trusted_edge)
        return self.pseudonyms.of(ANONYMOUS_TENANT, address)

    async def _identify(self, request: web.Request, address: str) -> Caller:
        authorization = request.headers.getall(hdrs.AUTHORIZATION, [])
        jwt = bearer_jwt(authorization) if self.issuer else None
        return identify(
            authorization=authorization,
            origin=request.headers.get(hdrs.ORIGIN),
            address=address,
            allowed_origins=self.settings.allowed_origins,
            enabled=self.settings.callers,
            keys=self.settings.caller_api_keys,
            identity=await self.issuer.identify(jwt) if self.issuer and jwt else None,
            oidc_tenants=self.settings.oidc_tenants,
        )

    async def _check_not_blocked(self, claims: Claims) -> None:
        """Refuse whom an operator has blocked; a relay would refuse the token too."""
        subject = Target(Kind.SUBJECT, self.pseudonyms.of(claims.tenant, claims.subject))
        tenant = Target(Kind.TENANT, self.pseudonyms.of(claims.tenant, ""))
        try:
            blocked = await self.revocations.is_blocked(subject, tenant)
        except RedisUnavailable as error:
            raise Refusal("unavailable", retry_after=_RETRY_SECONDS) from error
        if blocked:
            raise Refusal("blocked")

    async def _store(self, keys: TokenKeys, claims: Claims) -> None:
        try:
            await self.store.put(keys, claims, secrets.token_bytes(_NONCE_BYTES))
        except RedisUnavailable as error:
            raise Refusal("unavailable", retry_after=_RETRY_SECONDS) from error
