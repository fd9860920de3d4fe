from __future__ import annotations

from pathlib import Path

import pytest

from local_cloud.certificates import ThrowAwayAuthority
from service_kit.redis_address import read_nodes
from service_kit.settings import ServiceSettings, load_settings, read_secret
from tests.examples import KEY, OTHER_KEY, PROFILES_TOML

CANARY = "canary-0123456789-canary-0123456789"
GOOD = {
    "REDIS_URL": f"rediss://:{CANARY}@redis.example.com:6380/0",
    "TOKEN_SIGNING_KEYS": f"{KEY}, {OTHER_KEY}",
    "PSEUDONYM_KEY": KEY,
    "ALLOWED_ORIGINS": "https://voice.example.com",
}


def load(environment: pytest.MonkeyPatch, **variables: str) -> ServiceSettings:
    Path("profiles.toml").write_text(variables.pop("profiles", PROFILES_TOML))
    for name, value in (GOOD | variables).items():
        environment.setenv(name, value)
    return load_settings(ServiceSettings)


def refuse(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str) -> str:
    """What is printed when these variables are refused."""
    with pytest.raises(SystemExit) as caught:
        load(environment, **variables)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert CANARY not in printed
    return printed


def test_production_starts_with_good_values(bare_environment: pytest.MonkeyPatch) -> None:
    settings = load(bare_environment, AIRLOCK_ENV="production")
    assert settings.signing_keys == (KEY, OTHER_KEY)
    assert settings.allowed_origins == ("https://voice.example.com",)


def test_settings_print_no_secret(bare_environment: pytest.MonkeyPatch) -> None:
    settings = load(bare_environment)
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert KEY not in text
        assert CANARY not in text


def test_development_allows_the_page_s_own_address(bare_environment: pytest.MonkeyPatch) -> None:
    settings = load(bare_environment, ALLOWED_ORIGINS="")
    assert settings.allowed_origins == ("http://localhost:8080", "http://127.0.0.1:8080")


def test_env_file_is_read(bare_environment: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("SOMEBODY_ELSES=1\nDRAIN_SECONDS=7\n")
    assert load(bare_environment).drain_seconds == 7


def test_every_problem_is_reported_at_once(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in GOOD:
        bare_environment.delenv(name, raising=False)
    bare_environment.setenv("PORT", "no port")
    bare_environment.setenv("DRAIN_SECONDS", "1")
    with pytest.raises(SystemExit):
        load_settings(ServiceSettings)
    printed = capsys.readouterr().err
    for name in ("REDIS_URL: is required", "TOKEN_SIGNING_KEYS: is required", "PSEUDONYM_KEY", "PORT", "DRAIN_SECONDS"):
        assert name in printed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AIRLOCK_ENV", CANARY),
        ("PORT", "65536"),
        ("REDIS_URL", f"http://{CANARY}"),
        ("TOKEN_SIGNING_KEYS", CANARY[:31]),
        ("TOKEN_SIGNING_KEYS", f"{KEY},short"),
        ("TOKEN_SIGNING_KEYS", ","),
        ("PSEUDONYM_KEY", "short"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "null"),
        ("ALLOWED_ORIGINS", "https://*.example.com"),
        ("ALLOWED_ORIGINS", "https://example.com/"),
        ("ALLOWED_ORIGINS", "https://example.com/path"),
        ("ALLOWED_ORIGINS", "example.com"),
        ("ALLOWED_ORIGINS", "ftp://example.com"),
        ("TRUSTED_EDGE", "10.0.0.1/8"),
        ("TRUSTED_EDGE", "everywhere"),
        *(
            (name, url)
            for name in ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT")
            for url in (
                "api.openai.com",
                "ftp://x/v1",
                "https://",
                "https://[",
                "https://x:http/v1",
                f"https://x/v1?key={CANARY}",
                f"https://me:{CANARY}@x/v1",
            )
        ),
        ("DRAIN_SECONDS", "3"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_refused(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    assert f"{name}: " in refuse(bare_environment, capsys, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis://redis.example.com:6379"),
        ("TOKEN_SIGNING_KEYS", f"change-me-{KEY}"),
        ("PSEUDONYM_KEY", f"change-me-{KEY}"),
        ("ALLOWED_ORIGINS", "http://voice.example.com"),
        ("ALLOWED_ORIGINS", ""),
        ("LOG_LEVEL", "DEBUG"),
        ("OPENAI_BASE_URL", "http://voice.example.com/v1"),
        ("OPENAI_BASE_URL", "ws://voice.example.com/v1"),
        ("AZURE_OPENAI_ENDPOINT", "http://voice.openai.azure.com"),
    ],
)
def test_production_refuses_what_development_accepts(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    load(bare_environment, **{name: value})
    assert f"{name}: " in refuse(bare_environment, capsys, AIRLOCK_ENV="production", **{name: value})


UPSTREAMS = """
[[upstreams]]
name = "sweden"
kind = "azure"
base_url = "https://voice-se.openai.azure.com/openai/v1"
auth = "secret:azure-openai-api-key"

[[upstreams]]
name = "here"
kind = "openai"
base_url = "http://127.0.0.1:9000/v1"
auth = "secret:openai-api-key"
"""


def test_upstreams_of_the_profiles_file_win(bare_environment: pytest.MonkeyPatch) -> None:
    settings = load(
        bare_environment,
        profiles=PROFILES_TOML + UPSTREAMS,
        OPENAI_BASE_URL="https://proxy.example/v1",
        AZURE_OPENAI_ENDPOINT="https://other.openai.azure.com",
    )
    assert [upstream.name for upstream in settings.upstreams] == ["sweden", "here"]


def test_production_refuses_any_upstream_without_tls(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = refuse(bare_environment, capsys, profiles=PROFILES_TOML + UPSTREAMS, AIRLOCK_ENV="production")
    assert "AIRLOCK_PROFILES: the upstream 'here' must use TLS" in printed


@pytest.mark.parametrize(
    ("environment_s", "env_file", "read"),
    [(None, None, None), ("", None, None), ("one", None, "one"), (None, "two", "two"), ("one", "two", "one")],
)
def test_a_secret_is_read_by_its_name_in_the_vault(
    bare_environment: pytest.MonkeyPatch, environment_s: str | None, env_file: str | None, read: str | None
) -> None:
    if environment_s is not None:
        bare_environment.setenv("SWEDEN_KEY", environment_s)
    if env_file is not None:
        Path(".env").write_text(f"SWEDEN_KEY={env_file}\n")
    secret = read_secret("sweden-key")
    assert (secret and secret.get_secret_value()) == read


def test_a_front_door_needs_the_networks_that_it_calls_from(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = refuse(bare_environment, capsys, AZURE_FRONT_DOOR_ID="5b9b1b1e")
    assert "AZURE_FRONT_DOOR_ID: needs TRUSTED_EDGE" in printed
    settings = load(bare_environment, AZURE_FRONT_DOOR_ID="5b9b1b1e", TRUSTED_EDGE="10.0.0.0/8")
    assert settings.azure_front_door_id == "5b9b1b1e"


def test_a_file_of_authorities_is_read_at_start(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    assert load(bare_environment, EXTRA_CA_FILE=str(authority.ca_file)).extra_ca_file == authority.ca_file
    assert load(bare_environment, EXTRA_CA_FILE="").extra_ca_file is None
    printed = refuse(bare_environment, capsys, EXTRA_CA_FILE=str(tmp_path / "missing.pem"))
    assert "EXTRA_CA_FILE: cannot read" in printed
    authority.ca_file.write_text("nothing")
    printed = refuse(bare_environment, capsys, EXTRA_CA_FILE=str(authority.ca_file))
    assert "EXTRA_CA_FILE: there is no certificate in PEM form" in printed


def test_the_name_of_an_identity_is_a_guid(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guid = "11111111-2222-4333-8444-55555555555A"
    assert load(bare_environment, AZURE_CLIENT_ID=guid).azure_client_id == guid
    assert "AZURE_CLIENT_ID" in refuse(bare_environment, capsys, AZURE_CLIENT_ID=f"{guid}0")


SENTINELS = f"rediss://me:{CANARY}@one.example.com,two.example.com:7000/0?service=mymaster&sentinel_password={CANARY}"


@pytest.mark.parametrize(
    ("mode", "url"),
    [("cluster", f"rediss://me:{CANARY}@one.example.com:10000,two.example.com"), ("sentinel", SENTINELS)],
)
def test_each_mode_s_address_is_understood_and_needs_tls_in_production(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str, url: str
) -> None:
    settings = load(bare_environment, AIRLOCK_ENV="production", REDIS_MODE=mode, REDIS_URL=url, REDIS_WAIT_REPLICAS="1")
    assert (settings.redis_mode, settings.redis_wait_replicas) == (mode, 1)
    without_tls = url.replace("rediss://", "redis://")
    load(bare_environment, AIRLOCK_ENV="development", REDIS_URL=without_tls)
    assert "TLS" in refuse(bare_environment, capsys, AIRLOCK_ENV="production", REDIS_MODE=mode, REDIS_URL=without_tls)


@pytest.mark.parametrize(
    ("mode", "url", "said"),
    [
        ("cluster", "unix:///run/redis", "must start with redis:// or rediss://"),
        ("sentinel", "unix:///run/redis?service=mymaster", "must start with redis:// or rediss://"),
        ("sentinel", f"rediss://me:{CANARY}@one:26379/0", "?service=mymaster"),
        ("cluster", f"rediss://me:{CANARY}@one:6379/3", "database 0"),
        ("cluster", f"rediss://me:{CANARY}@one:6379,,two", "host:port"),
        ("cluster", f"rediss://me:{CANARY}@one:{CANARY}", "host:port"),
        ("cluster", "rediss://", "host:port"),
        ("many", "rediss://one", "REDIS_MODE"),
    ],
)
def test_an_address_that_does_not_fit_its_mode_is_refused(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str, url: str, said: str
) -> None:
    assert said in refuse(bare_environment, capsys, REDIS_MODE=mode, REDIS_URL=url)


@pytest.mark.parametrize("number", ["-1", "11", "all"])
def test_a_wrong_number_of_replicas_is_refused(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    assert "REDIS_WAIT_REPLICAS: " in refuse(bare_environment, capsys, REDIS_WAIT_REPLICAS=number)


def test_what_is_read_of_the_sentinels_address() -> None:
    nodes = read_nodes(SENTINELS + "&ssl_ca_certs=/ca.pem", "sentinel")
    assert nodes.hosts == (("one.example.com", 26379), ("two.example.com", 7000))
    assert (nodes.service, nodes.has_tls) == ("mymaster", True)
    assert nodes.options == {"username": "me", "password": CANARY, "db": 0, "ssl_ca_certs": "/ca.pem"}
    assert nodes.sentinel_options == {"username": None, "password": CANARY, "ssl_ca_certs": "/ca.pem"}
    assert read_nodes("redis://[::1]:7000,[::2]", "cluster").hosts == (("::1", 7000), ("::2", 6379))
