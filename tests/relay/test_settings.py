"""What the relay reads from its environment."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from service_kit.configuration import load
from service_kit.profiles import parse_profiles
from service_kit.secrets import Secrets
from tests.examples import PROFILES_TOML

COMPLETE = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "TOKEN_SIGNING_KEYS": "a-signing-key-of-thirty-two-characters",
    "PSEUDONYM_KEY": "a-pseudonym-key-of-thirty-two-characters",
    "OPENAI_API_KEY": "sk-something-secret",
}
PRODUCTION = {
    "AIRLOCK_ENV": "production",
    "ALLOWED_ORIGINS": "https://voice.example",
    "KEY_VAULT_URL": "https://airlock.vault.azure.net",
    **dict.fromkeys(COMPLETE, ""),
}


@pytest.fixture(autouse=True)
def _profiles(bare_environment: pytest.MonkeyPatch) -> None:
    Path("profiles.toml").write_text(PROFILES_TOML)


def read_all(monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[RelaySettings, Secrets[RelaySecrets]]:
    for name, value in (COMPLETE | environment).items():
        monkeypatch.setenv(name, value)
    return load(RelaySettings, RelaySecrets)


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> RelaySettings:
    return read_all(monkeypatch, **environment)[0]


def told(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """What is printed when the relay cannot start with this."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), pytest.raises(SystemExit) as caught:
        read(monkeypatch, **environment)
    assert caught.value.code == 2
    return printed.getvalue()


def problems(monkeypatch: pytest.MonkeyPatch, **environment: str) -> set[str]:
    return {
        line.removeprefix("  - ").split(":")[0].lower() for line in told(monkeypatch, **environment).splitlines()[1:]
    }


def test_the_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    expected: dict[str, Any] = {
        "port": 8081,
        "max_sessions": 1_000,
        "max_sessions_per_subject": 3,
        "max_sessions_per_tenant": 1_000,
        "max_sessions_per_address": 10,
        "drain_seconds": 25,
    }
    assert {name: getattr(settings, name) for name in expected} == expected
    assert [upstream.base_url for upstream in settings.upstreams] == ["https://api.openai.com/v1"]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"), ("https://api.openai.com/v1/",
        "https://api.openai.com/v1"),
        ("http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/v1"), ("wss://voice.example/v1", "wss://voice.example/v1"),
        ("ws://127.0.0.1:9000/v1//", "ws://127.0.0.1:9000/v1"),
    ],
)  # fmt: skip
def test_an_upstream_is_an_address_of_http_or_websocket(monkeypatch: pytest.MonkeyPatch, url: str, kept: str) -> None:
    assert read(monkeypatch, OPENAI_BASE_URL=url).openai_base_url == kept


@pytest.mark.parametrize(
    "url",
    ["api.openai.com", "ftp://x/v1", "https://", "https:///v1", "file:///etc/passwd", "https://x/v1?y=z",
    "https://x/v1#y", "//x/v1"],
)  # fmt: skip
def test_any_other_upstream_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert problems(monkeypatch, OPENAI_BASE_URL=url) == {"openai_base_url"}


@pytest.mark.parametrize("url", ["http://voice.example/v1", "ws://voice.example/v1"])
def test_production_speaks_tls_to_the_model(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert problems(monkeypatch, **PRODUCTION, OPENAI_BASE_URL=url) == {"openai_base_url"}


def test_production_starts_with_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, **PRODUCTION).airlock_env == "production"


@pytest.mark.parametrize(
    "name", ["max_sessions", "max_sessions_per_subject", "max_sessions_per_tenant", "max_sessions_per_address"]
)
@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "100000000"])
def test_a_limit_is_a_whole_number_within_its_range(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert problems(monkeypatch, **{name.upper(): value}) == {name}


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_is_a_port(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    assert problems(monkeypatch, PORT=port) == {"port"}


@pytest.mark.parametrize("name", sorted(COMPLETE))
def test_what_is_missing_is_named_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for key, value in COMPLETE.items():
        monkeypatch.setenv(key, "" if key == name else value)
    with pytest.raises(SystemExit) as caught:
        load(RelaySettings, RelaySecrets)
    assert caught.value.code == 2
    assert f"{name}: is required" in capsys.readouterr().err


def test_all_problems_are_told_at_once_and_no_value_with_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in {
        **COMPLETE,
        "MAX_SESSIONS": "secret-1",
        "OPENAI_BASE_URL": "secret-2",
        "PSEUDONYM_KEY": "s3",
    }.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SystemExit):
        load(RelaySettings, RelaySecrets)
    printed = capsys.readouterr().err
    assert all(name in printed for name in ("MAX_SESSIONS", "OPENAI_BASE_URL", "PSEUDONYM_KEY"))
    assert "secret" not in printed
    assert "s3" not in printed


def test_no_secret_is_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, secrets = read_all(monkeypatch)
    for name in ("OPENAI_API_KEY", "PSEUDONYM_KEY", "TOKEN_SIGNING_KEYS", "REDIS_URL"):
        for text in (repr(settings), repr(secrets), repr(secrets.current), secrets.current.model_dump_json()):
            assert COMPLETE[name] not in text


AZURE = {"AZURE_OPENAI_ENDPOINT": "https://voice.openai.azure.com", "AZURE_OPENAI_API_KEY": "azure-something-secret"}
OPENAI = {"OPENAI_API_KEY": "sk-something-secret", "OPENAI_BASE_URL": "https://api.openai.com/v1"}


@pytest.mark.parametrize(
    ("environment", "upstreams"),
    [
        ({"OPENAI_API_KEY": "sk-1"}, [("openai", "sk-1")]),
        (AZURE, [("azure", "azure-something-secret")]),
        (OPENAI | AZURE, [("azure", "azure-something-secret"), ("openai", "sk-something-secret")]),
        ({"OPENAI_API_KEY": "sk-1", "AZURE_OPENAI_API_KEY": "of another program"}, [("openai", "sk-1")]),
    ],
)
def test_azure_is_tried_before_openai(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], upstreams: list[tuple[str, str]]
) -> None:
    settings, secrets = read_all(monkeypatch, **{"OPENAI_API_KEY": "", **environment})
    assert [(upstream.name, secrets.current.key_of(upstream)) for upstream in settings.upstreams] == upstreams


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "openai_api_key"),
        ({"AZURE_OPENAI_API_KEY": "a"}, "openai_api_key"),
        ({"OPENAI_BASE_URL": "https://api.openai.com/v1"}, "openai_api_key"),
        ({"AZURE_OPENAI_ENDPOINT": "https://voice.openai.azure.com"}, "azure_openai_api_key"),
        (AZURE | {"OPENAI_BASE_URL": "https://api.openai.com/v1"}, "openai_api_key"),
        (AZURE | {"OPENAI_API_KEY": "sk-1"}, "openai_api_key"),
    ],
)
def test_an_upstream_needs_both_its_address_and_its_key(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], named: str
) -> None:
    assert problems(monkeypatch, **{"OPENAI_API_KEY": "", **environment}) == {named}


IDENTITY = {"AZURE_OPENAI_ENDPOINT": AZURE["AZURE_OPENAI_ENDPOINT"], "AZURE_OPENAI_AUTH": "managed_identity"}


@pytest.mark.parametrize("environment", [IDENTITY, IDENTITY | {"AZURE_OPENAI_API_KEY": "of another program"}])
def test_azure_by_managed_identity_needs_no_key(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    settings = read(monkeypatch, **{"OPENAI_API_KEY": "", **environment})
    assert [(upstream.name, upstream.secret) for upstream in settings.upstreams] == [("azure", None)]
    assert settings.wants_identity
    assert not read(monkeypatch, AZURE_OPENAI_ENDPOINT="", OPENAI_API_KEY="sk-1").wants_identity


def test_the_vault_needs_no_key_of_an_upstream_that_takes_the_identity() -> None:
    settings = {"airlock_profiles": parse_profiles(PROFILES_TOML), **{k.lower(): v for k, v in IDENTITY.items()}}
    assert RelaySecrets.needed(settings) == ("redis-url", "token-signing-keys", "pseudonym-key")


def test_how_azure_is_reached_is_one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, AZURE_OPENAI_AUTH="token") == {"azure_openai_auth"}
    for scope in ("https://cognitiveservices.azure.com", "http://x/.default", "https:///.default", "x"):
        assert problems(monkeypatch, AZURE_OPENAI_AUTH="key", AZURE_OPENAI_SCOPE=scope) == {"azure_openai_scope"}


SWEDEN = """
[[upstreams]]
name = "sweden"
kind = "azure"
base_url = "https://voice-se.openai.azure.com/openai/v1"
auth = "secret:sweden-key"
"""


def test_an_upstream_of_the_profiles_file_brings_the_name_of_its_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("profiles.toml").write_text(PROFILES_TOML + SWEDEN)
    printed = told(monkeypatch, OPENAI_API_KEY="")
    assert printed.splitlines()[1:] == ["  - SWEDEN_KEY: is required, because the upstream 'sweden' uses it"]
    settings, secrets = read_all(monkeypatch, OPENAI_API_KEY="", SWEDEN_KEY="swedish-secret")
    (sweden,) = settings.upstreams
    assert secrets.current.key_of(sweden) == "swedish-secret"
    assert "swedish-secret" not in repr(secrets.current)
    vault = {**PRODUCTION, "SWEDEN_KEY": "swedish-secret"}
    assert "SWEDEN_KEY: must not be set beside KEY_VAULT_URL" in told(monkeypatch, **vault)


@pytest.mark.parametrize("key", ["sk-with a blank", "sk-\tab", "sk-ä", "sk-\x7f"])
def test_a_key_that_fits_no_header_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    printed = told(monkeypatch, OPENAI_API_KEY=key)
    assert printed.splitlines()[1:] == ["  - OPENAI_API_KEY: must be printable ASCII without blanks"]
