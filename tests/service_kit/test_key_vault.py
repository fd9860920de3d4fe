"""Azure's own client against the vault on loopback: what is read, what is refused, and what nobody is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_cloud.key_vault import Fault
from local_cloud.managed_identity import CLIENT_ID
from local_cloud.managed_identity import Fault as IdentityFault
from service_kit.key_vault import READ_SECONDS, KeyVault, NotRead, open_vault
from tests.azure import Azure, azure_with

CANARY = "canary-secret-value"
SECONDS = 20.0


@pytest.fixture
async def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Azure]:
    async with azure_with(tmp_path, {"openai-api-key": CANARY}) as azure:
        for name, value in azure.identity.environment.items():
            monkeypatch.setenv(name, value)
        yield azure


@pytest.fixture
async def vault(azure: Azure) -> AsyncIterator[KeyVault]:
    async with open_vault(azure.vault.url, CLIENT_ID, azure.authority.client_context()) as vault:
        yield vault


async def not_read(vault: KeyVault, name: str = "openai-api-key") -> NotRead:
    """Why the secret cannot be read; nothing of it may be in what anybody could log."""
    with pytest.raises(NotRead) as caught:
        await vault.read(name)
    assert CANARY not in "".join(traceback.format_exception(caught.value, chain=True))
    assert caught.value.__cause__ is None
    return caught.value


async def read_in_the_end(vault: KeyVault) -> str:
    """The value, after as many attempts as it takes."""
    while True:
        with contextlib.suppress(NotRead):
            return (await vault.read("openai-api-key")).get_secret_value()


async def test_the_latest_version_is_read_after_one_challenge(azure: Azure, vault: KeyVault) -> None:
    assert (await vault.read("openai-api-key")).get_secret_value() == CANARY
    azure.vault.set("openai-api-key", "another")
    assert (await vault.read("openai-api-key")).get_secret_value() == "another"
    assert azure.vault.challenges == 1
    assert [(asked.resource, asked.client_id) for asked in azure.identity.asked] == [(azure.vault.resource, CLIENT_ID)]


@pytest.mark.parametrize("value", [f"{CANARY}\n", f"  {CANARY}\r\n\n"])
async def test_blanks_around_a_value_are_not_of_it(azure: Azure, vault: KeyVault, value: str) -> None:
    azure.vault.set("openai-api-key", value)
    assert (await vault.read("openai-api-key")).get_secret_value() == CANARY


@pytest.mark.parametrize("value", ["", " \n"])
async def test_an_empty_value_is_none(azure: Azure, vault: KeyVault, value: str) -> None:
    azure.vault.set("openai-api-key", value)
    assert (await not_read(vault)).is_about_the_secret


async def test_a_secret_that_is_not_there_or_disabled_is_about_that_secret(azure: Azure, vault: KeyVault) -> None:
    reason = await not_read(vault, "no-such-key")
    assert (str(reason), reason.is_about_the_secret) == ("HTTP 404", True)
    azure.vault.set("openai-api-key", CANARY, enabled=False)
    reason = await not_read(vault)
    assert (str(reason), reason.is_about_the_secret) == ("HTTP 403", True)


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [("3", 3.0), ("100000", 100_000.0), (None, None), ("soon", None), ("-1", None)]
)
async def test_a_throttling_vault_is_not_asked_again_here_and_its_wish_is_told(
    azure: Azure, vault: KeyVault, retry_after: str | None, seconds: float | None
) -> None:
    await vault.read("openai-api-key")  # so that one request is one reading
    azure.vault.faults.append(Fault("throttled", retry_after=retry_after, times=None))
    async with asyncio.timeout(SECONDS):
        reason = await not_read(vault)
    assert (str(reason), reason.retry_after, reason.is_about_the_secret) == ("HTTP 429", seconds, False)
    assert [each.status for each in azure.vault.reads] == [200, 429]


@pytest.mark.parametrize(
    ("kind", "why"), [("error", "HTTP 500"), ("unavailable", "HTTP 503"), ("forbidden", "HTTP 403")]
)
async def test_any_other_answer_is_told_by_its_status(azure: Azure, vault: KeyVault, kind: str, why: str) -> None:
    azure.vault.faults.append(Fault(kind))  # type: ignore[arg-type] # one of its kinds
    assert str(await not_read(vault)) == why
    assert (await vault.read("openai-api-key")).get_secret_value() == CANARY


async def test_a_vault_that_hangs_is_not_waited_for(azure: Azure, vault: KeyVault) -> None:
    azure.vault.faults.append(Fault("hang"))
    started = time.monotonic()
    assert str(await not_read(vault)) == "no answer in time"
    assert time.monotonic() - started < SECONDS
    assert (await vault.read("openai-api-key")).get_secret_value() == CANARY


async def test_what_is_no_answer_is_not_repeated_to_anybody(azure: Azure, vault: KeyVault) -> None:
    azure.vault.faults.append(Fault("garbage"))
    assert not (await not_read(vault)).is_about_the_secret


async def test_a_vault_that_is_away(azure: Azure, vault: KeyVault) -> None:
    azure.vault.behaviour.is_down = True
    assert not (await not_read(vault)).is_about_the_secret
    azure.vault.behaviour.is_down = False
    assert (await vault.read("openai-api-key")).get_secret_value() == CANARY
    await azure.vault.stop()
    assert not (await not_read(vault)).is_about_the_secret


@pytest.mark.parametrize("resource", ["https://vault.azure.net", "https://evil.example", "https://0.0.1:1"])
async def test_a_vault_that_asks_for_another_resource_s_token_gets_none(
    azure: Azure, vault: KeyVault, resource: str
) -> None:
    azure.vault.behaviour.challenge_resource = resource
    await not_read(vault)
    assert azure.vault.tokens == []
    assert azure.identity.asked == []


async def test_a_vault_that_nobody_vouches_for_gets_no_request(azure: Azure, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with azure_with(tmp_path / "other", {}) as other:
        tls = other.authority.client_context()
        async with open_vault(azure.vault.url, CLIENT_ID, tls) as vault:
            await not_read(vault)
    assert (azure.vault.challenges, azure.vault.tokens, azure.identity.asked) == (0, [], [])


async def test_an_identity_without_the_role_is_refused(azure: Azure, vault: KeyVault) -> None:
    azure.vault.behaviour.client_ids.clear()
    assert str(await not_read(vault)) == "HTTP 403"
    azure.vault.behaviour.client_ids.append(CLIENT_ID)  # the role has reached the vault
    assert (await vault.read("openai-api-key")).get_secret_value() == CANARY


async def test_an_identity_that_there_is_not(azure: Azure) -> None:
    client_id = CLIENT_ID.replace("1", "7")
    async with open_vault(azure.vault.url, client_id, azure.authority.client_context()) as vault:
        await not_read(vault)
    assert azure.vault.tokens == []
    assert {asked.client_id for asked in azure.identity.asked} == {client_id}


@pytest.mark.parametrize("retry_after", [None, "100000"])
async def test_an_identity_endpoint_that_fails_holds_up_nobody(
    azure: Azure, vault: KeyVault, retry_after: str | None
) -> None:
    azure.identity.faults.append(IdentityFault(status=429, retry_after=retry_after, times=None))
    async with asyncio.timeout(SECONDS):
        await not_read(vault)
    azure.identity.faults.clear()
    async with asyncio.timeout(SECONDS):
        assert await read_in_the_end(vault) == CANARY


async def test_an_identity_endpoint_that_is_slow_gets_to_answer(azure: Azure, vault: KeyVault) -> None:
    azure.identity.behaviour.delay_seconds = READ_SECONDS + 1
    assert str(await not_read(vault)) == "no answer in time"
    async with asyncio.timeout(SECONDS):
        assert await read_in_the_end(vault) == CANARY
    assert len(azure.identity.asked) == 1


async def test_environment_proxies_are_not_used(azure: Azure, vault: KeyVault, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await vault.read("openai-api-key")).get_secret_value() == CANARY
