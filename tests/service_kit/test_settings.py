from __future__ import annotations

from pathlib import Path

import pytest

from local_cloud.certificates import ThrowAwayAuthority
from service_kit.configuration import load as load_both
from service_kit.redis_address import read_nodes
from service_kit.secrets import Secrets, SharedSecrets
from service_kit.settings import ServiceSettings
from tests.examples import KEY, OTHER_KEY, PROFILES_TOML

CANARY = "canary-0123456789-canary-0123456789"
SECRETS = {
    "REDIS_URL": f"rediss://:{CANARY}@redis.example.com:6380/0",
    "TOKEN_SIGNING_KEYS": f"{KEY}, {OTHER_KEY}",
    "PSEUDONYM_KEY": KEY,
}
GOOD = SECRETS | {"ALLOWED_ORIGINS": "https://voice.example.com"}
VAULT = {"KEY_VAULT_URL": "https://airlock.vault.azure.net"} | dict.fromkeys(SECRETS, "")
"""With these, production starts."""


def load_all(environment: pytest.MonkeyPatch, **variables: str) -> tuple[ServiceSettings, Secrets[SharedSecrets]]:
    Path("profiles.toml").write_text(variables.pop("profiles", PROFILES_TOML))
    for name, value in (GOOD | variables).items():
        environment.setenv(name, value)
    return load_both(ServiceSettings, SharedSecrets)


def load(environment: pytest.MonkeyPatch, **variables: str) -> ServiceSettings:
    return load_all(environment, **variables)[0]


def refuse(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str) -> str:
    """What is printed when these variables are refused."""
    with pytest.raises(SystemExit) as caught:
        load(environment, **variables)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert CANARY not in printed
    return printed


def test_production_starts_with_good_values(bare_environment: pytest.MonkeyPatch) -> None:
    settings, secrets = load_all(bare_environment, AIRLOCK_ENV="production", **VAULT)
    assert settings.allowed_origins == ("https://voice.example.com",)
    assert not secrets.are_there


def test_production_prints_its_check_list_and_no_value(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load(bare_environment, **VAULT)
    assert capsys.readouterr().err == ""
    given = {"AZURE_CLIENT_ID": "11111111-2222-4333-8444-555555555555", "AZURE_FRONT_DOOR_ID": "5b9b1b1e"}
    load(bare_environment, AIRLOCK_ENV="production", TRUSTED_EDGE="10.7.0.0/16", **VAULT, **given)
    head, *items = capsys.readouterr().err.splitlines()
    assert head == "Production mode. Checked:"
    assert [item.removeprefix("  - ").split(":")[0] for item in items] == [
        "secrets",
        "signing and pseudonym keys",
        "Redis",
        "upstreams",
        "origins",
        "trusted authorities",
        "TLS",
        "edge",
        "log level",
    ]
    for value in (*given.values(), *filter(None, VAULT.values()), "10.7", "voice.example.com"):
        assert value not in "".join(items)


def test_without_a_vault_the_environment_has_the_secrets(bare_environment: pytest.MonkeyPatch) -> None:
    _, secrets = load_all(bare_environment)
    assert secrets.current.signing_keys == (KEY, OTHER_KEY)
    assert secrets.current.redis_url.get_secret_value() == GOOD["REDIS_URL"]


def test_settings_and_secrets_print_no_secret(bare_environment: pytest.MonkeyPatch) -> None:
    settings, secrets = load_all(bare_environment)
    for text in (repr(settings), settings.model_dump_json(), repr(secrets), repr(secrets.current), str(secrets.current),
                 secrets.current.model_dump_json()):  # fmt: skip
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
        load_both(ServiceSettings, SharedSecrets)
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
    ("in_environment", "in_file", "read"),
    [("", "", None), ("one", "", "one"), ("", "two", "two"), ("one", "two", "one")],
)
def test_a_secret_is_read_from_the_environment_and_else_from_the_file(
    bare_environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    in_environment: str,
    in_file: str,
    read: str | None,
) -> None:
    Path(".env").write_text(f"PSEUDONYM_KEY={in_file and KEY + in_file}\n")
    pseudonym_key = in_environment and KEY + in_environment
    if read is None:
        assert "PSEUDONYM_KEY: is required" in refuse(bare_environment, capsys, PSEUDONYM_KEY=pseudonym_key)
    else:
        _, secrets = load_all(bare_environment, PSEUDONYM_KEY=pseudonym_key)
        assert secrets.current.pseudonym_key.get_secret_value() == KEY + read


@pytest.mark.parametrize("place", ["environment", "file"])
@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_beside_the_vault_is_refused(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, place: str
) -> None:
    if place == "file":
        Path(".env").write_text(f"{name}={SECRETS[name]}\n")
    given = {name: SECRETS[name]} if place == "environment" else {}
    printed = refuse(bare_environment, capsys, **VAULT | given)
    assert printed.splitlines()[1:] == [f"  - {name}: must not be set beside KEY_VAULT_URL"]


@pytest.mark.parametrize(
    "url",
    [
        "http://airlock.vault.azure.net",
        "http://127.0.0.1:8200",
        "airlock.vault.azure.net",
        "https://",
        "https://[",
        "https://x:http",
        f"https://me:{CANARY}@airlock.vault.azure.net",
        f"https://airlock.vault.azure.net/secrets/{CANARY}",
        f"https://airlock.vault.azure.net?key={CANARY}",
        f"https://airlock.vault.azure.net#{CANARY}",
    ],
)
def test_a_vault_has_an_https_address_and_nothing_more(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    printed = refuse(bare_environment, capsys, **VAULT | {"KEY_VAULT_URL": url})
    assert printed.splitlines()[1:] == [
        "  - KEY_VAULT_URL: must be the https:// address of a Key Vault, such as https://my-vault.vault.azure.net"
    ]


def test_production_without_a_vault_names_everything_at_once(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = refuse(
        bare_environment,
        capsys,
        AIRLOCK_ENV="production",
        REDIS_URL="redis://redis.example.com",
        TOKEN_SIGNING_KEYS=f"change-me-{KEY}",
        PSEUDONYM_KEY="",
        ALLOWED_ORIGINS="*",
        LOG_LEVEL="DEBUG",
        OPENAI_BASE_URL="ws://voice.example.com/v1",
    )
    assert {line.split(":")[0] for line in printed.splitlines()[1:]} == {
        "  - KEY_VAULT_URL",
        "  - REDIS_URL",
        "  - TOKEN_SIGNING_KEYS",
        "  - ALLOWED_ORIGINS",
        "  - LOG_LEVEL",
        "  - OPENAI_BASE_URL",
    }
    for said in ("is required in production", "must use TLS (rediss://)", "the example's", "must not be DEBUG"):
        assert said in printed


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
    settings = load(bare_environment, REDIS_MODE=mode, REDIS_URL=url, REDIS_WAIT_REPLICAS="1")
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


@pytest.mark.parametrize("mode", ["single", "cluster", "sentinel"])
@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_check_hostname=false", "ssl_ca_data=x"])
def test_no_address_can_switch_checks_off(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str, option: str
) -> None:
    url = f"rediss://me:{CANARY}@one:6379?service=mymaster&{option}"
    printed = refuse(bare_environment, capsys, REDIS_MODE=mode, REDIS_URL=url)
    assert f"REDIS_URL: must not hold {option.partition('=')[0]}" in printed


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://one:6379", "must use TLS"),
        ("unix:///run/redis", "must use TLS"),
        (f"rediss://me:{CANARY}@one:6379", "must hold no user or password"),
        (f"rediss://:{CANARY}@one:6379", "must hold no user or password"),
        (f"rediss://one:6379?password={CANARY}", "must hold no user or password"),
    ],
)
def test_entra_needs_tls_and_takes_no_other_login(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    assert f"REDIS_URL: {said}" in refuse(bare_environment, capsys, REDIS_AUTH="entra", REDIS_URL=url)
    settings = load(bare_environment, REDIS_AUTH="entra", REDIS_URL="rediss://one:10000")
    assert settings.redis_auth == "entra"
    assert "REDIS_AUTH: " in refuse(bare_environment, capsys, REDIS_AUTH="password", REDIS_URL=url)


def test_what_is_read_of_the_sentinels_address() -> None:
    nodes = read_nodes(SENTINELS + "&ssl_certfile=/own.pem", "sentinel")
    assert nodes.hosts == (("one.example.com", 26379), ("two.example.com", 7000))
    assert (nodes.service, nodes.has_tls) == ("mymaster", True)
    assert nodes.options == {"username": "me", "password": CANARY, "db": 0, "ssl_certfile": "/own.pem"}
    assert nodes.sentinel_options == {"username": None, "password": CANARY}
    assert read_nodes("redis://[::1]:7000,[::2]", "cluster").hosts == (("::1", 7000), ("::2", 6379))
