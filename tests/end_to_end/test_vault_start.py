"""Services whose vault is away when they start: they listen, say that they can do nothing yet, and then can."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local_cloud.key_vault import Fault
from local_cloud.managed_identity import Fault as IdentityFault
from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer
from tests.azure import OPERATOR_KEY, Azure, azure_with, secret_values
from tests.end_to_end.clients import handshake
from tests.end_to_end.traces import until
from tests.examples import PAGE, PROFILES_TOML
from tests.serving import talk
from tests.stack import Process

pytestmark = pytest.mark.end_to_end

READY_SECONDS = 5.0  # of the promise; a busy machine gets four times as long
MINT = "/v1/realtime/client_secrets"
FROM_PAGE = {"Origin": PAGE}


@pytest.fixture
async def azure(tmp_path: Path) -> AsyncIterator[Azure]:
    with RedisServer() as redis:
        async with azure_with(tmp_path, secret_values(redis_url=redis.url)) as azure:
            yield azure


class Started:
    """A service as a process, and an HTTP client of it."""

    def __init__(self, process: Process, port: int, operator_port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.operator_url = f"http://127.0.0.1:{operator_port}"

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        lines = [json.loads(line) for line in self.process.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    async def listening(self) -> None:
        """Wait until it listens, for operators too."""
        await until(lambda: len(self.lines("listening")) == 2, 20)


@pytest.fixture
async def start(azure: Azure, tmp_path: Path) -> AsyncIterator[Any]:
    """Starts a service with the vault; whatever still runs at the end is killed."""
    started: list[Started] = []
    (tmp_path / "profiles.toml").write_text(PROFILES_TOML)

    def start(module: str, **variables: str) -> Started:
        port, operator_port = free_port(), free_port()
        usual: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            **azure.environment,
            "AIRLOCK_PROFILES": str(tmp_path / "profiles.toml"),
            "ALLOWED_ORIGINS": PAGE,
            "CALLERS": "anonymous,api_key",
            "DRAIN_SECONDS": "4",
            "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
            "OPERATOR_PORT": str(operator_port),
            "PORT": str(port),
        }
        environment = {name: value for name, value in {**usual, **variables}.items() if value}
        process = Process(module, environment=environment, log_path=tmp_path / f"{module}-{len(started)}.log")
        started.append(Started(process, port, operator_port))
        return started[-1]

    yield start
    for each in started:
        if each.process.popen.poll() is None:
            each.process.popen.kill()
        each.process.popen.wait()


async def status(http: aiohttp.ClientSession, url: str, method: str = "GET", **how: Any) -> int:
    async with http.request(method, url, **how) as answer:
        return answer.status


async def ready_soon(http: aiohttp.ClientSession, service: Started) -> None:
    """Wait until the service is ready, for no longer than it may take."""
    deadline = time.monotonic() + 4 * READY_SECONDS
    while await status(http, f"{service.url}/readyz") != 200:
        assert time.monotonic() < deadline, service.process.log()
        await asyncio.sleep(0.02)


async def test_the_token_service_listens_at_once_and_works_soon_after_its_vault_is_back(
    azure: Azure, start: Any
) -> None:
    await azure.vault.stop()
    service = start("token_service")
    await service.listening()
    async with aiohttp.ClientSession() as http:
        assert await status(http, f"{service.url}/healthz") == 200
        async with http.get(f"{service.url}/readyz") as answer:
            assert (answer.status, (await answer.json())["failing"]) == (503, ["secrets"])
        for path in (MINT, "/v1/limits", "/openapi.json", "/", "/no/such/page"):
            async with http.post(service.url + path, headers=FROM_PAGE) as answer:
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "5"
                assert (await answer.json())["error"]["code"] == "unavailable"
                assert answer.headers["Cache-Control"] == "no-store"
        async with http.post(service.url + MINT, headers=FROM_PAGE) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE  # or a page could not read it
        operators = f"{service.operator_url}/v1/operator/sessions"
        assert await status(http, operators, headers={"Authorization": f"Bearer {OPERATOR_KEY}"}) == 503
        await until(lambda: bool(service.lines("vault.unavailable")), 20)

        await azure.vault.start()
        await ready_soon(http, service)
        assert await status(http, service.url + MINT, "POST", headers=FROM_PAGE) == 200
        assert await status(http, operators, headers={"Authorization": f"Bearer {OPERATOR_KEY}"}) == 200
        assert await status(http, operators) == 401
    assert await asyncio.to_thread(service.process.stop) == 0
    assert service.lines("drain.end")


async def test_the_relay_refuses_upgrades_until_its_secrets_are_there(azure: Azure, start: Any) -> None:
    azure.vault.faults.append(Fault("throttled", retry_after="100000", times=None))
    relay = start("relay")
    await relay.listening()
    async with aiohttp.ClientSession() as http:
        for carriage in ("header", "subprotocol"):
            headers, protocols = handshake("ek_anything", carriage, origin=PAGE)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(f"{relay.url}/v1/realtime", headers=headers, protocols=protocols)
            assert refused.value.status == 503
            assert refused.value.headers
            assert refused.value.headers["Retry-After"] == "5"
        await until(lambda: bool(relay.lines("vault.unavailable")), 20)
        azure.vault.faults.clear()
        await ready_soon(http, relay)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{relay.url}/v1/realtime", headers={"Authorization": "Bearer ek_anything"})
        assert refused.value.status == 401
    assert await asyncio.to_thread(relay.process.stop) == 0


@pytest.mark.parametrize("module", ["token_service", "relay"])
async def test_a_service_that_waits_stops_at_once(azure: Azure, start: Any, module: str) -> None:
    azure.vault.faults.append(Fault("hang", times=None))
    service = start(module)
    await service.listening()
    assert await asyncio.to_thread(service.process.stop) == 0
    assert [service.lines(event) != [] for event in ("drain.start", "drain.end")] == [True, True]
    assert "Traceback" not in service.process.log()


async def test_a_kept_connection_does_not_keep_a_client_waiting(azure: Azure, start: Any) -> None:
    azure.vault.behaviour.is_down = True
    service = start("token_service")
    await service.listening()
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await talk(service.port, asked)  # until the server closes
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("trouble", ["wrong client id", "identity endpoint fails", "no role yet"])
async def test_a_managed_identity_that_gets_no_token_or_no_secret_is_waited_for(
    azure: Azure, start: Any, trouble: str
) -> None:
    match trouble:
        case "wrong client id":
            ids, azure.identity.behaviour.client_ids = azure.identity.behaviour.client_ids, []
        case "identity endpoint fails":
            azure.identity.faults.append(IdentityFault(status=500, times=None))
        case _:
            ids, azure.vault.behaviour.client_ids = azure.vault.behaviour.client_ids, []
    service = start("token_service")
    await service.listening()
    await until(lambda: bool(service.lines("vault.unavailable")), 20)
    async with aiohttp.ClientSession() as http:
        assert await status(http, f"{service.url}/readyz") == 503
        match trouble:
            case "wrong client id":
                azure.identity.behaviour.client_ids = ids
            case "identity endpoint fails":
                azure.identity.faults.clear()
            case _:
                azure.vault.behaviour.client_ids = ids
        await ready_soon(http, service)


def environment_of(service: Started) -> str:
    """The process' environment, as others on its machine can read it."""
    return Path(f"/proc/{service.process.popen.pid}/environ").read_text()


PRODUCTION = {
    "AIRLOCK_ENV": "production",
    "ALLOWED_ORIGINS": "https://voice.example.com",
    "OPENAI_BASE_URL": "",
    "RELAY_URL": "wss://voice.example.com/v1/realtime",
}


@pytest.mark.parametrize("module", ["token_service", "relay"])
async def test_production_starts_with_a_vault_and_shows_its_check_list(azure: Azure, start: Any, module: str) -> None:
    azure.vault.set("redis-url", "rediss://:canary-password@127.0.0.1:1/0")
    service = start(module, **PRODUCTION)
    await until(lambda: bool(service.lines("secrets.ready")), 20)
    log = service.process.log()
    assert log.startswith("Production mode. Checked:\n  - secrets: from Key Vault over https")
    async with aiohttp.ClientSession() as http, asyncio.timeout(20):
        failing = None
        while failing != ["redis"]:  # no longer the secrets
            async with http.get(f"{service.url}/readyz") as answer:
                failing = (await answer.json())["failing"]
        assert "Strict-Transport-Security" in answer.headers
    environment = environment_of(service)
    for value in (*secret_values().values(), "canary"):
        assert value not in environment + service.process.log()


@pytest.mark.parametrize("module", ["token_service", "relay"])
async def test_production_refuses_secrets_of_the_environment_and_everything_else_at_once(
    start: Any, module: str
) -> None:
    service = start(
        module,
        **PRODUCTION | {"ALLOWED_ORIGINS": "*", "LOG_LEVEL": "DEBUG", "OPENAI_BASE_URL": "ws://voice.example.com"},
        KEY_VAULT_URL="",
        PSEUDONYM_KEY="change-me-" + "canary" * 8,
        REDIS_URL="redis://:canary@redis.example.com",
        TOKEN_SIGNING_KEYS="canary",
    )
    assert await asyncio.to_thread(service.process.popen.wait) == 2
    log = service.process.log()
    assert log.startswith("Cannot start. Please correct:\n")
    assert "canary" not in log
    for name in ("KEY_VAULT_URL", "PSEUDONYM_KEY", "REDIS_URL", "TOKEN_SIGNING_KEYS", "ALLOWED_ORIGINS", "LOG_LEVEL",
                 "OPENAI_BASE_URL"):  # fmt: skip
        assert f"\n  - {name}: " in log


async def test_a_vault_without_tls_is_refused_before_anything_listens(azure: Azure, start: Any) -> None:
    service = start("relay", KEY_VAULT_URL=azure.vault.url.replace("https", "http"))
    assert await asyncio.to_thread(service.process.popen.wait) == 2
    assert "KEY_VAULT_URL: must be the https:// address" in service.process.log()
    assert azure.vault.challenges == 0


async def test_a_port_in_use_ends_a_service_that_would_wait(azure: Azure, start: Any) -> None:
    azure.vault.behaviour.is_down = True
    first = start("relay")
    await first.listening()
    second = start("relay", PORT=str(first.port))
    assert await asyncio.to_thread(second.process.popen.wait) == 2
    assert "PORT: cannot listen" in second.process.log()
    assert "Traceback" not in second.process.log()
