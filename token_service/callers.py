"""Who is asking for a token: nobody in particular, from an allowed page, or the holder of an API key. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from service_kit.errors import Refusal
from service_kit.profiles import CallerKind, ProfileName
from service_kit.session_token import TOKEN_PREFIX

ANONYMOUS_TENANT = "anonymous"

MintsPerMinute = Annotated[int, Field(ge=1, le=1_000_000)]
QuotaCount = Annotated[int, Field(ge=1, le=10**12)]
QuotaUsd = Annotated[float, Field(ge=0.000001, le=1_000_000)]


class HashedKey(BaseModel):
    """A key that is known by its SHA-256 alone, in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    sha256: SecretStr

    @field_validator("sha256")
    @classmethod
    def _is_a_digest(cls, digest: SecretStr) -> SecretStr:
        try:
            size = len(bytes.fromhex(digest.get_secret_value()))
        except ValueError:
            size = 0
        if size != sha256().digest_size:
            raise ValueError("must be the SHA-256 of the key in 64 hexadecimal digits")
        return digest

    @property
    def hash(self) -> bytes:
        """The key's SHA-256."""
        return bytes.fromhex(self.sha256.get_secret_value())


HashedKeyT = TypeVar("HashedKeyT", bound=HashedKey)


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

    ``origin`` is the page that an anonymous caller's token is bound to.
    """

    kind: CallerKind
    tenant: str
    subject: str
    origin: str | None = None
    key: CallerKey | None = None


def identify(
    *,
    authorization: Sequence[str],
    origin: str | None,
    address: str,
    allowed_origins: Sequence[str],
    enabled: Sequence[str],
    keys: Sequence[CallerKey],
) -> Caller:
    """The caller behind a request. Raises Refusal.

    ``authorization`` are the values of every such header line; ``address`` is the pseudonym of the client's. A
    credential that is present must be valid: a wrong one never falls back to anonymous.
    """
    if authorization:
        key = holder_of(authorization, keys) if "api_key" in enabled else None
        if key is None:
            raise Refusal("invalid_token", message="The credential is not valid. Send an API key of this service.")
        return Caller(kind="api_key", tenant=key.tenant, subject=key.name, key=key)
    if "anonymous" not in enabled:
        raise Refusal("invalid_token", message="A credential is required. Send an API key of this service.")
    if origin not in allowed_origins:
        raise Refusal("origin_not_allowed", message="This site may not ask for tokens here.")
    return Caller(kind="anonymous", tenant=ANONYMOUS_TENANT, subject=address, origin=origin)


def holder_of(authorization: Sequence[str], keys: Sequence[HashedKeyT]) -> HashedKeyT | None:
    """The key that was shown as a Bearer credential; None if it is none of these, or more than one was."""
    if len(authorization) != 1:
        return None
    scheme, _, credential = authorization[0].partition(" ")
    if scheme.lower() != "bearer" or credential.startswith(TOKEN_PREFIX):
        return None
    # aiohttp keeps header bytes that are not UTF-8 as surrogates.
    digest = sha256(credential.encode(errors="surrogateescape")).digest()
    found = None
    for key in keys:  # every one, so that the time does not tell which came near
        if hmac.compare_digest(digest, key.hash):
            found = key
    return found
