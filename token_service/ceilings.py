"""Which limits a caller is held to: the settings', each replaced by its key's own where that has one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service_kit.quotas import MICRO
from service_kit.session_token import Quota
from token_service.callers import Caller
from token_service.settings import TokenServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The most that a caller may mint and use; an anonymous caller's subject is its address, under the address limits.

    ``mints_per_minute`` and ``sessions`` are of its subject.
    """

    mints_per_minute: int
    mints_per_minute_of_tenant: int
    sessions: int
    sessions_of_tenant: int
    subject_quota: Quota
    tenant_quota: Quota


def ceilings_of(caller: Caller, settings: TokenServiceSettings) -> Ceilings:
    """The ceilings of one caller."""

    key = caller.key
    is_anonymous = caller.kind == "anonymous"

    def of(name: str) -> Any:
        value = None if key is None else getattr(key, name)
        return getattr(settings, name) if value is None else value

    return Ceilings(
        mints_per_minute=settings.mints_per_minute_per_address if is_anonymous else of("mints_per_minute_per_subject"),
        mints_per_minute_of_tenant=of("mints_per_minute_per_tenant"),
        sessions=settings.max_sessions_per_address if is_anonymous else of("max_sessions_per_subject"),
        sessions_of_tenant=of("max_sessions_per_tenant"),
        subject_quota=_quota(of("quota_seconds_per_day"), of("quota_tokens_per_day"), of("quota_usd_per_day")),
        tenant_quota=_quota(
            of("tenant_quota_seconds_per_day"), of("tenant_quota_tokens_per_day"), of("tenant_quota_usd_per_day")
        ),
    )


def _quota(seconds: int | None, tokens: int | None, usd: float | None) -> Quota:
    return Quota(seconds=seconds, tokens=tokens, micro_usd=None if usd is None else round(usd * MICRO))
