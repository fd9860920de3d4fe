"""The services with a Key Vault: secrets rotate under load without a restart, and none gets out."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.key_vault import Fault
from local_cloud.ports import free_port
from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from tests.azure import OPERATOR_KEY, SHOP_KEY, Azure, azure_with, secret_values
from tests.end_to_end.clients import talking
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.rotating import SECONDS, Load, in_force
from tests.end_to_end.traces import Traces, until
from tests.examples import KEY
from tests.stack import Process, Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

ROTATIONS = 3
CANARIES = secret_values(
    token_signing_keys=f"canary-signing-{KEY}",
    pseudonym_key=f"canary-pseudonym-{KEY}",
    openai_api_key="canary-sk-upstream",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Azure]:
    async with azure_with(tmp_path_factory.mktemp("azure"), CANARIES) as azure:
        yield azure


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    azure: Azure, running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """The product with a vault, and no secret in its environment; what is read last of all is at most a second old."""
    with RedisServer() as redis:
        azure.vault.set("redis-url", redis.url)
        settings = {**DEFAULTS, **azure.environment}
        stack = Stack(
            tmp_path_factory.mktemp("stack"),
            openai_base_url=running_simulator.base_url,
            redis=redis,
            **settings
            | {
                "CALLERS": "anonymous,api_key",
                "LOG_LEVEL": "DEBUG",
                "OPENAI_API_KEY": "",
                "OPERATOR_PORT": str(free_port()),
                "PYTHONFAULTHANDLER": "1",
                "SECRETS_REFRESH_SECONDS": "1",
            },
        )
        await asyncio.to_thread(stack.__enter__)
        try:
            yield stack
        finally:
            await asyncio.to_thread(stack.__exit__)


async def test_signing_keys_rotate_under_load_and_no_redemption_fails(
    azure: Azure, stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    pids = {name: process.popen.pid for name, process in stack.processes.items()}
    old = azure.vault.latest("token-signing-keys")
    async with contextlib.AsyncExitStack() as open_for_long, Load(stack).running() as load:
        long_ones = [(await open_for_long.enter_async_context(talking(http, stack)))[0] for _ in range(3)]
        for number in range(ROTATIONS):
            new = f"canary-signing-{number}-{KEY}"
            for ring in (f"{new},{old}", f"{old},{new}", new):  # as docs/secrets.md says
                await in_force(
                    traces, "token-signing-keys", partial(azure.vault.set, "token-signing-keys", ring), readers=2
                )
                await load.go_round()
            old = new
        for talk in long_ones:
            await talk.ask("Are you still there?")
    assert min(load.rounds) > 2 * 3 * ROTATIONS
    assert not traces.lines("redeem.denied")
    assert not traces.lines("vault.stale") + traces.lines("vault.stale", "token_service")
    assert {
        name: process.popen.pid for name, process in stack.processes.items() if process.popen.poll() is None
    } == pids
    endings = {line["ending"] for line in traces.lines("session.end")}
    assert endings == {"browser_closed"}


async def test_an_upstream_s_key_rotates_under_load_and_no_session_fails(
    azure: Azure, stack: Stack, traces: Traces, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    def accept(key: str | None) -> None:
        simulator.accepts = lambda given: key in (None, given)

    pid = stack.processes["relay-0"].popen.pid
    denied = len(traces.lines("session.end")) - len(traces.lines("session.end", ending="browser_closed"))
    async with contextlib.AsyncExitStack() as open_for_long, Load(stack).running() as load:
        talk, _ = await open_for_long.enter_async_context(talking(http, stack))
        for number in range(ROTATIONS):
            new = f"canary-sk-{number}"

            def set_it(new: str = new, number: int = number) -> None:
                azure.vault.set("openai-api-key", new)
                accept(new if number % 2 else None)  # the old one is revoked at once, or later

            await in_force(traces, "openai-api-key", set_it, readers=1)
            await load.go_round()
            accept(new)
        await load.go_round()
        assert simulator.connections[-1].headers["Authorization"] == f"Bearer {new}"
        await talk.ask("Are you still there?")
    accept(None)
    assert stack.processes["relay-0"].popen.pid == pid
    assert len(traces.lines("session.end")) - len(traces.lines("session.end", ending="browser_closed")) == denied


async def test_caller_and_operator_keys_change_without_a_restart(
    azure: Azure, stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    listed = f"http://127.0.0.1:{stack.environment['OPERATOR_PORT']}/v1/operator/sessions"

    async def statuses() -> tuple[int, int]:
        mint_url = f"{stack.mint_base_url}/realtime/client_secrets"
        async with (
            http.post(mint_url, headers={"Authorization": f"Bearer {SHOP_KEY}"}) as minted,
            http.get(listed, headers={"Authorization": f"Bearer {OPERATOR_KEY}"}) as answer,
        ):
            return minted.status, answer.status

    assert await statuses() == (200, 200)
    # Both services have a listener for operators.
    for name, key, readers in (("caller-api-keys", SHOP_KEY, 1), ("operator-keys", OPERATOR_KEY, 2)):
        others = CANARIES[name].replace(sha256(key.encode()).hexdigest(), sha256(name.encode()).hexdigest())
        await in_force(traces, name, partial(azure.vault.set, name, others), readers=readers)
    assert await statuses() == (401, 401)
    for name, readers in (("caller-api-keys", 1), ("operator-keys", 2)):
        await in_force(traces, name, partial(azure.vault.set, name, CANARIES[name]), readers=readers)
    assert await statuses() == (200, 200)


async def test_while_the_vault_is_away_all_goes_on(
    azure: Azure, stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    azure.vault.behaviour.is_down = True
    try:
        async with talking(http, stack) as (talk, _):
            before = len(traces.lines("vault.stale")), len(traces.lines("vault.stale", "token_service"))
            await until(lambda: len(traces.lines("vault.stale")) > before[0], SECONDS)
            await until(lambda: len(traces.lines("vault.stale", "token_service")) > before[1], SECONDS)
            await talk.ask()
            async with talking(http, stack):
                pass
    finally:
        azure.vault.behaviour.is_down = False
    assert {line["level"] for line in traces.lines("vault.stale")} == {"error"}


def kernel_s(process: Process, part: str) -> str:
    """What the kernel tells others on the machine of a process."""
    return Path(f"/proc/{process.popen.pid}/{part}").read_bytes().decode()


async def test_no_secret_is_in_an_environment_a_log_or_a_traceback(
    azure: Azure, stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    """After all that went before in this module, and with whatever else may repeat what it got."""
    azure.vault.faults.append(Fault("garbage", times=20))
    await until(lambda: not azure.vault.faults, SECONDS)
    versions = [version.value for each in azure.vault.versions().values() for version in each]
    assert len(versions) > len(CANARIES) + 3 * ROTATIONS
    for name in ("token_service", "relay-0"):
        process = stack.processes[name]
        looked_at = [kernel_s(process, part) for part in ("environ", "cmdline")]
        assert "KEY_VAULT_URL=" in looked_at[0]
        lines = [line["logger"] for line in traces.lines("library.log", name)]
        assert not [logger for logger in lines if logger.startswith("azure")]  # it has several for each reading
        process.popen.send_signal(signal.SIGABRT)  # faulthandler prints every thread's stack
        await asyncio.to_thread(process.popen.wait)
        looked_at.append(process.log())
        assert "Fatal Python error: Aborted" in looked_at[-1]
        assert "secret.changed" in looked_at[-1]
        for value in versions:
            assert not any(value in text or value.split(",")[0] in text for text in looked_at)
        assert not any("canary" in text for text in looked_at)
