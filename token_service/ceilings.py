"""Which limits a caller is held to: the settings', each replaced by its key's own where that has one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

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

    def of(name: str) -> int | None:
        value: int | None = getattr(caller.key, name, None)
        return getattr(settings, name, None) if value is None else value

    def quota(prefix: str) -> Quota:
        usd: float | None = of(f"{prefix}quota_usd_per_day")
        return Quota(
            seconds=of(f"{prefix}quota_seconds_per_day"),
            tokens=of(f"{prefix}quota_tokens_per_day"),
            micro_usd=None if usd is None else round(usd * MICRO),
        )

    whose = "address" if caller.kind == "anonymous" else "subject"
    return Ceilings(
        mints_per_minute=of(f"mints_per_minute_per_{whose}") or 0,
        mints_per_minute_of_tenant=of("mints_per_minute_per_tenant") or 0,
        sessions=of(f"max_sessions_per_{whose}") or 0,
        sessions_of_tenant=of("max_sessions_per_tenant") or 0,
        subject_quota=quota(""),
        tenant_quota=quota("tenant_"),
    )
