from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from service_kit.configuration import load as load_both
from service_kit.secrets import Secrets
from tests.examples import KEY, PROFILES_TOML, profiles
from token_service.identity import IdentityRules
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

CANARY = "canary-secret"
HASH = sha256(b"shop-key").hexdigest()
SHOP = {"name": "shop", "sha256": HASH, "tenant": "acme", "profiles": ["default"]}
SECRETS = {
    "REDIS_URL": "rediss://redis.example.com:6380/0",
    "TOKEN_SIGNING_KEYS": KEY,
    "PSEUDONYM_KEY": KEY,
    "CALLER_API_KEYS": json.dumps([SHOP | {"max_session_seconds": 1_800, "max_cost_usd": 5}]),
}
GOOD = SECRETS | {
    "ALLOWED_ORIGINS": "https://voice.example.com",
    "CALLERS": "anonymous,api_key",
    "RELAY_URL": "wss://voice.example.com/v1/realtime",
}
VAULT = {"KEY_VAULT_URL": "https://airlock.vault.azure.net"} | dict.fromkeys(SECRETS, "")
"""With these, production starts."""


@pytest.fixture
def environment(bare_environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A folder with good profiles, and good variables."""
    Path("profiles.toml").write_text(PROFILES_TOML)
    for name, value in GOOD.items():
        bare_environment.setenv(name, value)
    return bare_environment


def load_all(
    environment: pytest.MonkeyPatch, **variables: str
) -> tuple[TokenServiceSettings, Secrets[TokenServiceSecrets]]:
    for name, value in variables.items():
        environment.setenv(name, value)
    return load_both(TokenServiceSettings, TokenServiceSecrets)


def load(environment: pytest.MonkeyPatch, **variables: str) -> TokenServiceSettings:
    return load_all(environment, **variables)[0]


def refuse(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str) -> str:
    with pytest.raises(SystemExit) as caught:
        load(environment, **variables)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert CANARY not in printed
    assert HASH not in printed
    return printed


def test_production_starts_with_good_values(environment: pytest.MonkeyPatch) -> None:
    settings = load(environment, AIRLOCK_ENV="production", **VAULT)
    assert settings.profiles.keys() == set(profiles().profiles)
    assert settings.callers == ("anonymous", "api_key")
    assert settings.serve_page is False


def test_production_prints_its_check_list(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    load(environment, AIRLOCK_ENV="production", **VAULT, OPERATOR_PORT="8090")
    printed = capsys.readouterr().err
    for item in ("callers: anonymous, api_key\n", "relay address: wss\n", "operators: on a listener of their own\n"):
        assert f"  - {item}" in printed
    assert "example.com" not in printed


def test_keys_print_no_hash(environment: pytest.MonkeyPatch) -> None:
    settings, secrets = load_all(environment)
    assert secrets.current.caller_api_keys[0].max_session_seconds == 1_800
    for text in (repr(settings), repr(secrets), repr(secrets.current), secrets.current.model_dump_json()):
        assert HASH not in text


def test_development_needs_little(environment: pytest.MonkeyPatch) -> None:
    for name in ("CALLERS", "CALLER_API_KEYS", "RELAY_URL"):
        environment.delenv(name)
    settings = load(environment)
    assert settings.callers == ("anonymous",)
    assert settings.relay_origin == "ws://localhost:8081"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CALLERS", "everybody", "anonymous, api_key and oidc"),
        ("OIDC_ISSUER", "login.example.com", "must be a URL"),
        ("OIDC_ISSUER", "https://", "must be a URL"),
        ("OIDC_ISSUER", "ftp://login.example.com", "must be a URL"),
        ("OIDC_ISSUER", "https://login.example.com/?a=b", "must be a URL"),
        ("OIDC_ISSUER", "https://login.example.com/#a", "must be a URL"),
        ("OIDC_ISSUER", "https://login.exämple.com/", "must be a URL"),
        ("OIDC_ISSUER", "https://login.example.com/a b", "must be a URL"),
        ("OIDC_ISSUER", f"https://user:{CANARY}@login.example.com/", "must be a URL"),
        ("OIDC_ALGORITHMS", "HS256", "may hold only RS256"),
        ("OIDC_ALGORITHMS", "RS256,none", "may hold only RS256"),
        ("OIDC_ALGORITHMS", "rs256", "may hold only RS256"),
        ("OIDC_ALGORITHMS", ",", "may hold only RS256"),
        ("OIDC_SUBJECT_CLAIM", "a..b", "name of a claim"),
        ("OIDC_TENANT_CLAIM", ".tid", "name of a claim"),
        ("OIDC_ROLES_CLAIM", "roles.", "name of a claim"),
        ("OIDC_TENANTS", "acme,anonymous", "tenant of callers without"),
        ("CALLER_API_KEYS", "", "is required"),
        ("CALLER_API_KEYS", "[]", "is required"),
        ("CALLER_API_KEYS", CANARY, "JSON list"),
        ("CALLER_API_KEYS", f'"{CANARY}"', ""),
        ("CALLER_API_KEYS", f'{{"{CANARY}": 1}}', ""),
        ("CALLER_API_KEYS", f'["{CANARY}"]', "0"),
        ("CALLER_API_KEYS", '[{"name": "a", "name": "b"}]', "JSON list"),
        ("CALLER_API_KEYS", json.dumps([SHOP | {"sha256": CANARY}]), "0.sha256: must be the SHA-256"),
        ("CALLER_API_KEYS", json.dumps([SHOP | {"max_sesion_seconds": 1}]), "0.max_sesion_seconds"),
        ("CALLER_API_KEYS", json.dumps([SHOP | {"profiles": ["default", "nobody"]}]), "do not exist: nobody"),
        (
            "CALLER_API_KEYS",
            json.dumps([SHOP | {"profiles": ["default", "dictation"], "max_cost_usd": 5}]),
            "no price, in the profiles: dictation",
        ),
        ("CALLER_API_KEYS", json.dumps([SHOP, SHOP]), "same name"),
        ("CALLER_API_KEYS", json.dumps([SHOP, SHOP | {"name": "other"}]), "same hash"),
        ("RELAY_URL", "https://voice.example.com", "WebSocket URL"),
        ("RELAY_URL", "wss://voice.example.com/v1/realtime?model=x", "WebSocket URL"),
        ("RELAY_URL", f"wss://user:{CANARY}@voice.example.com/", "WebSocket URL"),
        ("RELAY_URL", "wss://voice.example.com; script-src *", "WebSocket URL"),
        ("RELAY_URL", "wss://voice.example.com 'unsafe-inline'", "WebSocket URL"),
        ("RELAY_URL", "wss://*/", "WebSocket URL"),
        ("RELAY_URL", "wss:///v1/realtime", "WebSocket URL"),
        ("OPENAI_BASE_URL", "api.openai.com", "must be a URL"),
        ("OPENAI_BASE_URL", "https://", "must be a URL"),
        ("OPENAI_BASE_URL", "https://[", "must be a URL"),
        ("OPENAI_BASE_URL", f"https://user:{CANARY}@voice.example.com/v1", "must be a URL"),
        ("SERVE_PAGE", "true", "no index.html"),
        ("SERVE_PAGE", "perhaps", ""),
        ("AIRLOCK_PROFILES", "missing.toml", "cannot be read"),
    ],
)
def test_a_wrong_value_is_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, said: str
) -> None:
    printed = refuse(environment, capsys, **{name: value, "PAGE_FOLDER": "."})
    assert f"  - {name}" in printed
    assert said in printed


OIDC = {"CALLERS": "oidc", "OIDC_ISSUER": "https://login.example.com/", "OIDC_AUDIENCE": "api://airlock"}


def test_oidc_callers_need_an_issuer_and_an_audience(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = refuse(environment, capsys, CALLERS="anonymous,oidc")
    for name in ("OIDC_ISSUER", "OIDC_AUDIENCE"):
        assert f"  - {name}: is required, because CALLERS holds oidc" in printed


def test_the_rules_for_the_issuer_s_tokens(environment: pytest.MonkeyPatch) -> None:
    assert load(environment).identity_rules is None
    assert load(environment, AIRLOCK_ENV="production", **VAULT, **OIDC).identity_rules == IdentityRules(
        issuer="https://login.example.com/",
        audiences=frozenset({"api://airlock"}),
        algorithms=frozenset({"RS256", "ES256"}),
        subject_claim="sub",
        tenant_claim=None,
        roles_claim="roles",
        tenant="oidc",
    )
    others = {"OIDC_ALGORITHMS": "EdDSA", "OIDC_AUDIENCE": "one, two", "OIDC_SUBJECT_CLAIM": "oid"}
    others |= {"OIDC_ROLES_CLAIM": "https://x.example/roles", "OIDC_TENANTS": "acme"}
    assert load(environment, **OIDC | others).identity_rules == IdentityRules(
        issuer="https://login.example.com/",
        audiences=frozenset({"one", "two"}),
        algorithms=frozenset({"EdDSA"}),
        subject_claim="oid",
        tenant_claim=None,
        roles_claim="https://x.example/roles",
        tenant="acme",
    )


def test_which_tenant_oidc_callers_are_in_must_be_clear(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no OIDC_TENANT_CLAIM" in refuse(environment, capsys, **OIDC, OIDC_TENANTS="acme,umbrella")
    keys = json.dumps([SHOP | {"tenant": "oidc"}])
    printed = refuse(environment, capsys, CALLER_API_KEYS=keys, OIDC_TENANTS="")
    assert "CALLER_API_KEYS: has a key of the tenant oidc" in printed
    assert "OIDC_TENANTS must name theirs" in printed
    load(environment, OIDC_TENANTS="oidc")
    load(environment, OIDC_TENANTS="acme,umbrella", OIDC_TENANT_CLAIM="tid")


@pytest.mark.parametrize(
    ("name", "value"),
    [("CALLERS", ""), ("RELAY_URL", "ws://relay"), ("RELAY_URL", ""), ("OIDC_ISSUER", "http://x.example")],
)
def test_production_refuses_what_development_accepts(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    load(environment, **{name: value})
    assert f"  - {name}: " in refuse(environment, capsys, AIRLOCK_ENV="production", **{name: value})


def test_every_problem_is_reported_at_once(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("profiles.toml").write_text('[profiles.a]\nmodell = "m"')
    printed = refuse(
        environment, capsys, AIRLOCK_ENV="production", RELAY_URL="ws://x", CALLERS="oidc", PSEUDONYM_KEY="short"
    )
    for said in ("AIRLOCK_PROFILES: profiles.a.model", "profiles.a.modell", "RELAY_URL", "CALLERS", "PSEUDONYM_KEY"):
        assert said in printed


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("", "OpenAI"),
        ("https://api.openai.com/v1", "OpenAI"),
        ("https://API.OPENAI.COM/v1", "OpenAI"),
        ("http://127.0.0.1:9000/v1", "simulator"),
        ("http://127.9.9.9/v1", "simulator"),
        ("http://localhost:9000/v1", "simulator"),
        ("http://[::1]:9000/v1", "simulator"),
        ("https://voice.example.com/v1", "voice.example.com"),
        ("https://api.openai.com.evil.example/v1", "api.openai.com.evil.example"),
    ],
)
def test_provider_is_named_by_its_host(environment: pytest.MonkeyPatch, base_url: str, provider: str) -> None:
    assert load(environment, OPENAI_BASE_URL=base_url).provider == provider


@pytest.mark.parametrize(
    ("variables", "provider"),
    [
        ({"AZURE_OPENAI_ENDPOINT": "https://voice.openai.azure.com"}, "Azure OpenAI"),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://voice.openai.azure.com", "OPENAI_BASE_URL": "https://api.openai.com/v1"},
            "Azure OpenAI, OpenAI",
        ),
    ],
)
def test_every_provider_is_named(environment: pytest.MonkeyPatch, variables: dict[str, str], provider: str) -> None:
    assert load(environment, **variables).provider == provider


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("wss://voice.example.com/v1/realtime", "wss://voice.example.com"),
        ("wss://voice.example.com", "wss://voice.example.com"),
        ("ws://localhost:8081/v1/realtime", "ws://localhost:8081"),
        ("ws://[::1]:8081/", "ws://[::1]:8081"),
    ],
)
def test_relay_origin_has_no_path(environment: pytest.MonkeyPatch, url: str, origin: str) -> None:
    assert load(environment, RELAY_URL=url).relay_origin == origin


@pytest.mark.parametrize("name", ["QUOTA_USD_PER_DAY", "TENANT_QUOTA_USD_PER_DAY"])
def test_a_quota_in_dollars_needs_a_price_for_every_profile(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert f"{name}: counts with prices, and they do not tell what the profile 'dictation' costs" in refuse(
        environment, capsys, **{name: "5"}
    )
    Path("profiles.toml").write_text(PROFILES_TOML.partition("[profiles.dictation]")[0])
    assert load(environment, **{name: "5"})


def test_limits_have_the_documented_defaults(environment: pytest.MonkeyPatch) -> None:
    settings = load(environment)
    assert settings.mints_per_minute_per_subject == 30
    assert settings.mints_per_minute_per_tenant == 6_000
    assert settings.mints_per_minute_per_address == 60
    quotas = [name for name in TokenServiceSettings.model_fields if "quota" in name]
    assert len(quotas) == 6
    assert [name for name in quotas if getattr(settings, name) is not None] == []


@pytest.mark.parametrize(
    "name",
    [
        "MINTS_PER_MINUTE_PER_SUBJECT",
        "MINTS_PER_MINUTE_PER_TENANT",
        "MINTS_PER_MINUTE_PER_ADDRESS",
        "QUOTA_SECONDS_PER_DAY",
        "QUOTA_TOKENS_PER_DAY",
        "QUOTA_USD_PER_DAY",
        "TENANT_QUOTA_SECONDS_PER_DAY",
        "TENANT_QUOTA_TOKENS_PER_DAY",
        "TENANT_QUOTA_USD_PER_DAY",
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_limit_of_nothing_is_a_mistake(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    assert f"{name}: " in refuse(environment, capsys, **{name: value})
