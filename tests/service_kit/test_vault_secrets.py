"""Secrets that follow the vault: at the start, while it changes, and while it is away; with Azure's own client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from local_cloud.key_vault import Fault
from local_cloud.managed_identity import CLIENT_ID
from relay.secrets import RelaySecrets
from service_kit.key_vault import open_vault
from service_kit.log import ALLOWED_KEYS
from service_kit.vault_secrets import MAX_AGE_SECONDS, REREAD_SECONDS, VaultSecrets
from tests.azure import Azure, azure_with, secret_values
from tests.end_to_end.traces import until
from tests.examples import KEY, OTHER_KEY, profiles
from token_service.secrets import TokenServiceSecrets

SETTINGS: dict[str, Any] = {
    "airlock_env": "production",
    "airlock_profiles": profiles(),
    "callers": ("anonymous", "api_key"),
    "operator_port": 8090,
    "redis_mode": "single",
}
VALUES = secret_values(redis_url="rediss://:canary-password@redis.example:6380/0")
FIRST = "signing-" + KEY
SECONDS = 20.0
READY_SECONDS = 5.0  # of the promise; a busy machine gets twice as long
NEVER = 3_600.0


class Clock:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Azure]:
    async with azure_with(tmp_path, VALUES) as azure:
        for name, value in azure.identity.environment.items():
            monkeypatch.setenv(name, value)
        yield azure


def token_service_s(
    azure: Azure, refresh_seconds: float, clock: Clock | None = None
) -> VaultSecrets[TokenServiceSecrets]:
    return VaultSecrets(
        TokenServiceSecrets,
        SETTINGS,
        lambda: open_vault(azure.vault.url, CLIENT_ID, azure.authority.client_context()),
        refresh_seconds=refresh_seconds,
        clock=clock or Clock(),
    )


@asynccontextmanager
async def ready(
    azure: Azure, refresh_seconds: float, clock: Clock | None = None
) -> AsyncIterator[VaultSecrets[TokenServiceSecrets]]:
    secrets = token_service_s(azure, refresh_seconds, clock)
    async with asyncio.timeout(SECONDS), secrets.kept():
        await secrets.arrive()
        yield secrets


async def test_the_secrets_of_the_vault_are_those_in_force(azure: Azure) -> None:
    async with ready(azure, NEVER) as secrets:
        assert secrets.current.signing_keys == (FIRST,)
        assert secrets.current.redis_url.get_secret_value() == VALUES["redis-url"]
        assert [key.name for key in secrets.current.caller_api_keys] == ["shop"]
        assert [key.name for key in secrets.current.operator_keys] == ["ops"]
        for text in (repr(secrets), str(secrets), repr(secrets.current), repr(vars(secrets))):
            assert not [name for name, value in VALUES.items() if value in text]


async def test_each_service_reads_only_what_it_needs(azure: Azure) -> None:
    async with ready(azure, NEVER):
        pass
    shared = {"redis-url", "token-signing-keys", "pseudonym-key"}
    assert {each.name for each in azure.vault.reads} == shared | {"caller-api-keys", "operator-keys"}
    without = SETTINGS | {"callers": ("anonymous",), "operator_port": None}
    assert set(TokenServiceSecrets.needed(without)) == shared
    assert set(RelaySecrets.needed(SETTINGS)) == shared | {"openai-api-key"}


@pytest.mark.parametrize(
    "trouble",
    [
        Fault("error", times=None),
        Fault("forbidden", times=None),
        Fault("throttled", times=None),
        Fault("throttled", retry_after="100000", times=None),
        Fault("throttled", retry_after="100000", times=None, secret="operator-keys"),
        Fault("forbidden", times=None, secret="operator-keys"),
        Fault("hang", times=None),
        Fault("garbage", times=None),
        None,
    ],
    ids=lambda fault: f"{fault.kind}-{fault.retry_after}-{fault.secret}" if fault else "down",
)
async def test_a_service_waits_for_its_vault_and_is_ready_soon_after_it_is_back(
    azure: Azure, trouble: Fault | None
) -> None:
    if trouble:
        azure.vault.faults.append(trouble)
    azure.vault.behaviour.is_down = trouble is None
    secrets = token_service_s(azure, NEVER)
    with capture_logs() as lines:
        async with asyncio.timeout(SECONDS), secrets.kept():
            await until(lambda: any(line["event"] == "vault.unavailable" for line in lines))
            assert not secrets.are_there
            assert not secrets.may_be_used
            with pytest.raises(LookupError):
                _ = secrets.current
            azure.vault.faults.clear()
            azure.vault.behaviour.is_down = False
            back_at = asyncio.get_running_loop().time()
            await secrets.arrive()
            assert asyncio.get_running_loop().time() - back_at < 2 * READY_SECONDS
    assert [line["event"] for line in lines][-1] == "secrets.ready"
    _holds_no_value(lines)


async def test_a_vault_that_asks_for_a_pause_gets_it(azure: Azure) -> None:
    azure.vault.faults.append(Fault("throttled", retry_after="2"))
    started = asyncio.get_running_loop().time()
    async with ready(azure, NEVER):
        assert asyncio.get_running_loop().time() - started >= 2
    assert [each.status for each in azure.vault.reads] == [429] + [200] * 5


async def test_it_waits_for_a_secret_that_is_missing_disabled_or_does_not_fit(azure: Azure) -> None:
    azure.vault.remove("pseudonym-key")
    azure.vault.set("operator-keys", "canary-no-json")
    azure.vault.set("redis-url", "redis://:canary-password@redis.example")
    azure.vault.set("caller-api-keys", VALUES["caller-api-keys"], enabled=False)
    secrets = token_service_s(azure, NEVER)
    with capture_logs() as lines:
        async with asyncio.timeout(SECONDS), secrets.kept():
            await until(lambda: len(lines) >= 4)
            assert not secrets.are_there
            for name in ("pseudonym-key", "operator-keys", "redis-url", "caller-api-keys"):
                azure.vault.set(name, VALUES[name])
            await secrets.arrive()
    said = {(line["event"], line.get("secret"), line.get("error")) for line in lines}
    assert said >= {
        ("vault.unavailable", "pseudonym-key", "HTTP 404"),
        ("vault.unavailable", "caller-api-keys", "HTTP 403"),
        ("secret.invalid", "operator-keys", "must be a JSON list of keys"),
        ("secret.invalid", "redis-url", "must use TLS (rediss://) or a unix socket in production"),
    }
    _holds_no_value(lines)


async def test_a_service_that_waits_does_not_flood_its_log(azure: Azure) -> None:
    azure.vault.faults.append(Fault("error", times=None))
    secrets = token_service_s(azure, NEVER)
    with capture_logs() as lines:
        async with asyncio.timeout(SECONDS), secrets.kept():
            await azure.vault.wait_asked(4)
    assert [line["event"] for line in lines] == ["vault.unavailable"]


async def test_a_new_version_is_in_force_soon_and_who_follows_is_told(azure: Azure) -> None:
    with capture_logs() as lines:
        async with ready(azure, 0.05) as secrets:
            heard: list[tuple[str, ...]] = []
            secrets.follow(lambda current: heard.append(current.signing_keys))
            azure.vault.set("token-signing-keys", f"{OTHER_KEY},{FIRST}")
            await until(lambda: len(heard) == 2)
            azure.vault.set("token-signing-keys", f"{FIRST},{OTHER_KEY}")
            await until(lambda: len(heard) == 3)
            reads = len(azure.vault.reads)
            await azure.vault.wait_asked(reads + 10)  # nothing changed
    assert heard == [(FIRST,), (OTHER_KEY, FIRST), (FIRST, OTHER_KEY)]
    assert [line["secret"] for line in lines if line["event"] == "secret.changed"] == ["token-signing-keys"] * 2
    _holds_no_value(lines)


async def test_a_version_that_does_not_fit_changes_nothing_and_raises_an_alert(azure: Azure) -> None:
    with capture_logs() as lines:
        async with ready(azure, 0.05) as secrets:
            azure.vault.set("token-signing-keys", "canary-short")
            azure.vault.set("redis-url", "redis://:canary-password@redis.example")
            azure.vault.set("caller-api-keys", VALUES["caller-api-keys"].replace("shop", "store"))
            await until(lambda: secrets.current.caller_api_keys[0].name == "store")
            assert secrets.current.signing_keys == (FIRST,)
            assert secrets.current.redis_url.get_secret_value() == VALUES["redis-url"]
            assert secrets.may_be_used
            azure.vault.set("token-signing-keys", OTHER_KEY)
            await until(lambda: secrets.current.signing_keys == (OTHER_KEY,))
    alerts = {line["secret"] for line in lines if (line["event"], line["log_level"]) == ("secret.invalid", "error")}
    assert alerts == {"token-signing-keys", "redis-url"}
    _holds_no_value(lines)


async def test_versions_that_do_not_fit_together_change_nothing(azure: Azure) -> None:
    both = sha256(b"one key for both").hexdigest()
    callers = VALUES["caller-api-keys"].replace(sha256(b"shop-key").hexdigest(), both)
    with capture_logs() as lines:
        async with ready(azure, 0.05) as secrets:
            azure.vault.set("operator-keys", json.dumps([{"name": "ops", "sha256": both}]))
            await until(lambda: secrets.current.operator_keys[0].hash.hex() == both)
            azure.vault.set("caller-api-keys", callers)
            azure.vault.set("token-signing-keys", OTHER_KEY)
            await until(lambda: any(line["event"] == "secret.invalid" for line in lines))
            await until(lambda: secrets.current.signing_keys == (OTHER_KEY,))  # the others are not held up
            assert secrets.current.caller_api_keys[0].hash.hex() != both
            assert secrets.current.operator_keys[0].hash.hex() == both


@pytest.mark.parametrize("trouble", ["down", "disabled", "missing", "forbidden"])
async def test_without_the_vault_the_last_values_are_good_for_a_day(azure: Azure, trouble: str) -> None:
    clock = Clock()
    with capture_logs() as lines:
        async with ready(azure, 0.05, clock) as secrets:
            match trouble:
                case "down":
                    azure.vault.behaviour.is_down = True
                case "disabled":
                    azure.vault.set("operator-keys", VALUES["operator-keys"], enabled=False)
                case "missing":
                    azure.vault.remove("operator-keys")
                case _:
                    azure.vault.behaviour.client_ids.clear()
            await until(lambda: any(line["event"] == "vault.stale" for line in lines))
            before = secrets.current
            clock.now += MAX_AGE_SECONDS - 1
            assert await secrets.are_good()
            lines.clear()
            await until(lambda: any(line["event"] == "vault.stale" for line in lines))
            assert {line["log_level"] for line in lines} == {"error"}
            assert lines[-1]["seconds"] == MAX_AGE_SECONDS - 1
            clock.now += 1
            assert not await secrets.are_good()
            assert secrets.current is before  # for those who live on
            azure.vault.behaviour.is_down = False
            azure.vault.behaviour.client_ids.append(CLIENT_ID)
            azure.vault.set("operator-keys", VALUES["operator-keys"])
            await until(lambda: secrets.may_be_used)
    _holds_no_value(lines)


async def test_who_cannot_follow_does_not_end_the_following(azure: Azure) -> None:
    told: list[tuple[str, ...]] = []

    def stumble(current: TokenServiceSecrets) -> None:
        told.append(current.signing_keys)
        if len(told) == 2:
            raise ZeroDivisionError("canary")

    with capture_logs() as lines:
        async with ready(azure, 0.05) as secrets:
            secrets.follow(stumble)
            azure.vault.set("token-signing-keys", OTHER_KEY)
            await until(lambda: len(told) == 3)
    assert told == [(FIRST,), (OTHER_KEY,), (OTHER_KEY,)]
    (line,) = (line for line in lines if line["event"] == "internal_error")
    assert line["error"] == "ZeroDivisionError"
    _holds_no_value(lines)


async def test_one_secret_that_cannot_be_read_holds_up_no_other(azure: Azure) -> None:
    async with ready(azure, 0.05) as secrets:
        azure.vault.set("redis-url", VALUES["redis-url"], enabled=False)
        azure.vault.set("token-signing-keys", OTHER_KEY)
        await until(lambda: secrets.current.signing_keys == (OTHER_KEY,))


async def test_a_secret_is_read_again_at_once_when_somebody_refused_it_and_once_in_ten_seconds(azure: Azure) -> None:
    clock = Clock()
    async with ready(azure, NEVER, clock) as secrets:
        reads = len(azure.vault.reads)
        azure.vault.set("token-signing-keys", OTHER_KEY)
        await asyncio.gather(*(secrets.reread("token-signing-keys") for _ in range(20)))
        assert secrets.current.signing_keys == (OTHER_KEY,)
        assert len(azure.vault.reads) == reads + 1
        azure.vault.set("token-signing-keys", FIRST)
        clock.now += REREAD_SECONDS - 0.1
        await secrets.reread("token-signing-keys")
        assert secrets.current.signing_keys == (OTHER_KEY,)
        clock.now += 0.1
        await secrets.reread("token-signing-keys")
        assert secrets.current.signing_keys == (FIRST,)
        await secrets.reread("no-secret-of-this-service")
        assert len(azure.vault.reads) == reads + 2


async def test_reading_again_never_fails_and_never_waits_long(azure: Azure) -> None:
    with capture_logs() as lines:
        async with ready(azure, NEVER) as secrets:
            azure.vault.faults.append(Fault("hang"))
            started = asyncio.get_running_loop().time()
            await secrets.reread("token-signing-keys")
            assert asyncio.get_running_loop().time() - started < 2 * READY_SECONDS
            azure.vault.remove("redis-url")
            await secrets.reread("redis-url")
            assert secrets.current.signing_keys == (FIRST,)
    assert ("vault.stale", "redis-url", "HTTP 404") in {
        (line["event"], line.get("secret"), line.get("error")) for line in lines
    }
    await secrets.reread("redis-url")  # its vault is closed


async def test_another_pseudonym_key_is_said_to_need_a_new_start(azure: Azure) -> None:
    with capture_logs() as lines:
        async with ready(azure, 0.05):
            azure.vault.set("pseudonym-key", OTHER_KEY)
            await until(lambda: any(line["event"] == "secret.changed" and line.get("reason") for line in lines))
    (line,) = (line for line in lines if line.get("reason"))
    assert (line["secret"], line["log_level"]) == ("pseudonym-key", "warning")
    assert "starts again" in line["reason"]


def _holds_no_value(lines: list[Any]) -> None:
    """Only keys on the list, and nothing of any secret in them."""
    text = json.dumps(lines)
    assert not [name for name, value in VALUES.items() if value in text]
    assert "canary" not in text
    for line in lines:
        assert line.keys() - {"log_level"} <= ALLOWED_KEYS
