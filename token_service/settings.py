"""What the token service reads beside the shared settings; every problem is found before it binds."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationInfo, field_validator

from service_kit.profiles import CallerKind, Profiles
from service_kit.settings import CommaSeparated, ServiceSettings, in_production
from service_kit.upstreams import has_tls, provider_names
from token_service.callers import ANONYMOUS_TENANT, MintsPerMinute, QuotaCount, QuotaUsd
from token_service.identity import IdentityRules, check_claim
from token_service.issuer_keys import KEY_KIND, check_issuer
from token_service.security_txt import check_contact

_RELAY_URL: Final = re.compile(r"(wss?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?)(?:/[^\s?#]*)?")
"""A WebSocket URL without credentials, query or fragment. Its first group, the origin, goes into the page's CSP."""

OIDC_TENANT: Final = "oidc"
"""The tenant of OIDC callers whose tenant no claim tells."""
_NEEDED_FOR_OIDC: Final = "is required, because CALLERS holds oidc"


class TokenServiceSettings(ServiceSettings):
    """The token service's settings. Names are the environment's, in lower case."""

    callers: CommaSeparated = ()
    oidc_issuer: str | None = None
    oidc_audience: CommaSeparated = ()
    oidc_algorithms: CommaSeparated = ("RS256", "ES256")
    oidc_subject_claim: str = "sub"
    oidc_tenant_claim: str | None = None
    oidc_roles_claim: str = "roles"
    oidc_tenants: CommaSeparated = ()
    mints_per_minute_per_subject: MintsPerMinute = 30
    mints_per_minute_per_tenant: MintsPerMinute = 6_000
    mints_per_minute_per_address: MintsPerMinute = 60
    quota_seconds_per_day: QuotaCount | None = None
    quota_tokens_per_day: QuotaCount | None = None
    quota_usd_per_day: QuotaUsd | None = None
    tenant_quota_seconds_per_day: QuotaCount | None = None
    tenant_quota_tokens_per_day: QuotaCount | None = None
    tenant_quota_usd_per_day: QuotaUsd | None = None
    relay_url: str = "ws://localhost:8081/v1/realtime"
    page_folder: Path = Path(__file__).parent.parent / "frontend"
    serve_page: bool = False
    security_contact: str | None = None

    @field_validator("callers")
    @classmethod
    def _callers_are_known(cls, callers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not callers and in_production(info):
            raise ValueError("must name who may ask for tokens in production: anonymous, api_key, oidc")
        if not set(get_args(CallerKind)).issuperset(callers):
            raise ValueError("may hold only anonymous, api_key and oidc")
        return callers or ("anonymous",)

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer_is_an_address(cls, issuer: str | None, info: ValidationInfo) -> str | None:
        if issuer is None:
            if "oidc" in info.data.get("callers", ()):
                raise ValueError(_NEEDED_FOR_OIDC)
            return None
        issuer = check_issuer(issuer)
        if in_production(info) and not has_tls(issuer):
            raise ValueError("must use TLS (https://) in production")
        return issuer

    @field_validator("oidc_audience")
    @classmethod
    def _audience_is_named(cls, audiences: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not audiences and "oidc" in info.data.get("callers", ()):
            raise ValueError(_NEEDED_FOR_OIDC)
        return audiences

    @field_validator("oidc_algorithms")
    @classmethod
    def _algorithms_have_public_keys(cls, algorithms: tuple[str, ...]) -> tuple[str, ...]:
        if not algorithms or not KEY_KIND.keys() >= set(algorithms):
            raise ValueError(f"may hold only {', '.join(KEY_KIND)}")
        return algorithms

    @field_validator("oidc_subject_claim", "oidc_tenant_claim", "oidc_roles_claim")
    @classmethod
    def _claims_have_names(cls, name: str | None) -> str | None:
        return None if name is None else check_claim(name)

    @field_validator("oidc_tenants")
    @classmethod
    def _oidc_tenants_fit(cls, tenants: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if ANONYMOUS_TENANT in tenants:
            raise ValueError(f"{ANONYMOUS_TENANT} is the tenant of callers without a credential")
        if "oidc" not in info.data.get("callers", ()) or info.data.get("oidc_tenant_claim") is not None:
            return tenants
        if len(tenants) > 1:
            raise ValueError("names several tenants, and no OIDC_TENANT_CLAIM tells which is whose")
        return tenants

    @field_validator("quota_usd_per_day", "tenant_quota_usd_per_day")
    @classmethod
    def _every_model_has_a_price(cls, usd: float | None, info: ValidationInfo) -> float | None:
        profiles: Profiles | None = info.data.get("airlock_profiles")
        if usd is None or profiles is None:
            return usd
        for name, profile in profiles.profiles.items():
            if not profiles.price_list.can_count(profile.lock()):
                raise ValueError(f"counts with prices, and they do not tell what the profile '{name}' costs")
        return usd

    @field_validator("relay_url")
    @classmethod
    def _relay_url_is_websocket(cls, url: str, info: ValidationInfo) -> str:
        if not _RELAY_URL.fullmatch(url):
            raise ValueError("must be a WebSocket URL such as wss://voice.example.com/v1/realtime")
        if in_production(info) and not url.startswith("wss://"):
            raise ValueError("must be wss:// in production")
        return url

    @field_validator("serve_page")
    @classmethod
    def _page_exists(cls, serve_page: bool, info: ValidationInfo) -> bool:
        folder: Any = info.data.get("page_folder")
        if serve_page and folder is not None and not (folder / "index.html").is_file():
            raise ValueError(f"there is no index.html in {folder}")
        return serve_page

    @field_validator("security_contact")
    @classmethod
    def _contact_is_an_address(cls, contact: str | None) -> str | None:
        return None if contact is None else check_contact(contact)

    def check_list(self) -> list[str]:
        """See :class:`ServiceSettings`."""
        operators = "on a listener of their own" if self.operator_port is not None else "off"
        return [
            *super().check_list(),
            f"callers: {', '.join(self.callers)}" + ("; issuer over https" if self.identity_rules else ""),
            "relay address: wss",
            f"operators: {operators}",
        ]

    @property
    def identity_rules(self) -> IdentityRules | None:
        """What a token of the issuer must say; None where OIDC callers are not enabled."""
        if "oidc" not in self.callers or self.oidc_issuer is None:
            return None
        return IdentityRules(
            issuer=self.oidc_issuer,
            audiences=frozenset(self.oidc_audience),
            algorithms=frozenset(self.oidc_algorithms),
            subject_claim=self.oidc_subject_claim,
            tenant_claim=self.oidc_tenant_claim,
            roles_claim=self.oidc_roles_claim,
            tenant=self.oidc_tenants[0] if self.oidc_tenants else OIDC_TENANT,
        )

    @property
    def relay_origin(self) -> str:
        """The relay's scheme, host and port, as a Content-Security-Policy names them."""
        match = _RELAY_URL.fullmatch(self.relay_url)
        assert match is not None  # noqa: S101 - validated above
        return match[1]

    @cached_property
    def provider(self) -> str:
        """Who may hear the audio, in the words told to people (DESIGN: "HTTP contract", mint response)."""
        return provider_names(self.upstreams)
