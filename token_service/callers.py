"""Who is asking for a token: nobody in particular, from an allowed page; the holder of an API key; or somebody whom the
OIDC issuer knows. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, field_validator

from service_kit.errors import Refusal
from service_kit.hashed_keys import HashedKey, bearer, holder_of
from service_kit.profiles import CallerKind, ProfileName
from token_service.identity import Identity, InvalidIdentity, is_jwt

ANONYMOUS_TENANT = "anonymous"

MintsPerMinute = Annotated[int, Field(ge=1, le=1_000_000)]
QuotaCount = Annotated[int, Field(ge=1, le=10**12)]
QuotaUsd = Annotated[float, Field(ge=0.000001, le=1_000_000)]


class CallerKey(HashedKey):
    """One entry of ``CALLER_API_KEYS``: who holds the key, and the most it may ask for.

    A ceiling that is not given is the profile's limit, or the setting of the same name.
    """

    tenant: Annotated[str, Field(min_length=1, max_length=64)]
    profiles: Annotated[tuple[ProfileName, ...], Field(min_length=1, strict=False)]
    max_session_seconds: Annotated[int, Field(ge=1, le=3_600)] | None = None
    max_input_audio_seconds: Annotated[int, Field(ge=1, le=3_600)] | None = None
    max_total_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    max_cost_usd: Annotated[float, Field(gt=0, le=100_000)] | None = None
    max_sessions_per_subject: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_sessions_per_tenant: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    mints_per_minute_per_subject: MintsPerMinute | None = None
    mints_per_minute_per_tenant: MintsPerMinute | None = None
    quota_seconds_per_day: QuotaCount | None = None
    quota_tokens_per_day: QuotaCount | None = None
    quota_usd_per_day: QuotaUsd | None = None
    tenant_quota_seconds_per_day: QuotaCount | None = None
    tenant_quota_tokens_per_day: QuotaCount | None = None
    tenant_quota_usd_per_day: QuotaUsd | None = None

    @field_validator("tenant")
    @classmethod
    def _is_not_everybodys(cls, tenant: str) -> str:
        if tenant == ANONYMOUS_TENANT:
            raise ValueError("is the tenant of callers without a key")
        return tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. ``subject`` is who the session is for unless a trusted caller names somebody else.

    ``origin`` is the page that a browser caller's token is bound to; an OIDC caller without one is no page.
    ``roles`` are an OIDC caller's.
    """

    kind: CallerKind
    tenant: str
    subject: str
    origin: str | None = None
    key: CallerKey | None = None
    roles: frozenset[str] = frozenset()


def bearer_jwt(authorization: Sequence[str]) -> str | None:
    """The signed token in the values of the Authorization header lines, if that is what they hold; not checked yet."""
    credential = bearer(authorization)
    return credential if credential and is_jwt(credential) else None


def identify(
    *,
    authorization: Sequence[str],
    origin: str | None,
    address: str,
    allowed_origins: Sequence[str],
    enabled: Sequence[str],
    keys: Sequence[CallerKey],
    identity: Identity | None = None,
    oidc_tenants: Sequence[str] = (),
) -> Caller:
    """The caller behind a request. Raises Refusal.

    ``authorization`` are the values of every such header line; ``address`` is the pseudonym of the client's;
    ``identity`` is what the :func:`bearer_jwt` among them was found to prove. A credential that is present must be
    valid: a wrong one never falls back to anonymous.
    """
    if authorization:
        if bearer_jwt(authorization):
            if identity is None or "oidc" not in enabled:
                raise Refusal("invalid_token", message=f"The credential is not valid. {_wanted(enabled)}")
            return _oidc_caller(identity, origin, allowed_origins, keys, oidc_tenants)
        key = holder_of(authorization, keys) if "api_key" in enabled else None
        if key is None:
            raise Refusal("invalid_token", message=f"The credential is not valid. {_wanted(enabled)}")
        return Caller(kind="api_key", tenant=key.tenant, subject=key.name, key=key)
    if "anonymous" not in enabled:
        raise Refusal("invalid_token", message=f"A credential is required. {_wanted(enabled)}")
    _check_origin(origin, allowed_origins)
    return Caller(kind="anonymous", tenant=ANONYMOUS_TENANT, subject=address, origin=origin)


def _oidc_caller(
    identity: Identity,
    origin: str | None,
    allowed_origins: Sequence[str],
    keys: Sequence[CallerKey],
    oidc_tenants: Sequence[str],
) -> Caller:
    """From a page: bound to that page, which must be allowed. Without an Origin it is no page, and unbound."""
    if not _may_be_in(identity.tenant, keys, oidc_tenants):
        message = "The credential is valid, but its tenant may not use this service."
        raise Refusal("invalid_token", message=message) from InvalidIdentity("tenant not allowed")
    if origin is not None:
        _check_origin(origin, allowed_origins)
    return Caller(kind="oidc", tenant=identity.tenant, subject=identity.subject, origin=origin, roles=identity.roles)


def _may_be_in(tenant: str, keys: Sequence[CallerKey], oidc_tenants: Sequence[str]) -> bool:
    """Whether the issuer may put people into this tenant.

    A claim must not reach the limits, profiles and sessions of a tenant that was not meant to be the issuer's: those of
    an API key only where the operator lists them, that of anonymous callers never.
    """
    if tenant == ANONYMOUS_TENANT:
        return False
    return tenant in oidc_tenants if oidc_tenants else all(key.tenant != tenant for key in keys)


def _check_origin(origin: str | None, allowed_origins: Sequence[str]) -> None:
    if origin not in allowed_origins:
        raise Refusal("origin_not_allowed", message="This site may not ask for tokens here.")


def _wanted(enabled: Sequence[str]) -> str:
    wanted = {"api_key": "an API key of this service", "oidc": "a token of its identity provider"}
    named = " or ".join(text for kind, text in wanted.items() if kind in enabled)
    return f"Send {named}." if named else "Send none."
