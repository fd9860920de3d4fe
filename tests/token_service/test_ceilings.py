from __future__ import annotations

from typing import Any

import pytest

from service_kit.session_token import Quota
from tests.token_service.conftest import SHOP, MakeSettings
from token_service.callers import Caller, CallerKey
from token_service.ceilings import ceilings_of

ANYBODY = Caller(kind="anonymous", tenant="anonymous", subject="pseudonym", origin="http://localhost:8080")


def holder_of(**ceilings: Any) -> Caller:
    key = CallerKey(**SHOP | ceilings)
    return Caller(kind="api_key", tenant=key.tenant, subject=key.name, key=key)


def test_the_defaults(make_settings: MakeSettings) -> None:
    ceilings = ceilings_of(holder_of(), make_settings()[0])
    assert (ceilings.mints_per_minute, ceilings.mints_per_minute_of_tenant) == (30, 6_000)
    assert (ceilings.sessions, ceilings.sessions_of_tenant) == (3, 1_000)
    assert not ceilings.subject_quota.is_set
    assert not ceilings.tenant_quota.is_set


def test_an_anonymous_caller_has_the_address_limits_in_place_of_the_subject_s(make_settings: MakeSettings) -> None:
    settings, _ = make_settings(
        mints_per_minute_per_address=7,
        max_sessions_per_address=8,
        mints_per_minute_per_subject=1,
        quota_tokens_per_day=9,
    )
    ceilings = ceilings_of(ANYBODY, settings)
    assert (ceilings.mints_per_minute, ceilings.sessions) == (7, 8)
    assert ceilings.subject_quota == Quota(tokens=9)


@pytest.mark.parametrize("factor", [0.5, 2])
def test_a_key_s_ceiling_may_be_lower_or_higher(make_settings: MakeSettings, factor: float) -> None:
    standard = {
        "mints_per_minute_per_subject": 30,
        "mints_per_minute_per_tenant": 6_000,
        "max_sessions_per_subject": 4,
        "max_sessions_per_tenant": 40,
        "quota_seconds_per_day": 3_600,
        "quota_tokens_per_day": 50_000,
        "tenant_quota_seconds_per_day": 36_000,
        "tenant_quota_tokens_per_day": 500_000,
    }
    own = {name: int(value * factor) for name, value in standard.items()}
    settings, _ = make_settings(**standard, quota_usd_per_day=None, tenant_quota_usd_per_day=None)
    ceilings = ceilings_of(holder_of(**own, quota_usd_per_day=0.000001, tenant_quota_usd_per_day=12.5), settings)
    assert ceilings.mints_per_minute == own["mints_per_minute_per_subject"]
    assert ceilings.mints_per_minute_of_tenant == own["mints_per_minute_per_tenant"]
    assert ceilings.sessions == own["max_sessions_per_subject"]
    assert ceilings.sessions_of_tenant == own["max_sessions_per_tenant"]
    assert ceilings.subject_quota == Quota(
        seconds=own["quota_seconds_per_day"], tokens=own["quota_tokens_per_day"], micro_usd=1
    )
    assert ceilings.tenant_quota == Quota(
        seconds=own["tenant_quota_seconds_per_day"], tokens=own["tenant_quota_tokens_per_day"], micro_usd=12_500_000
    )
