"""The process' identity, by Azure's own SDK against the stand-in endpoint."""

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.core.pipeline import AsyncPipeline
from azure.core.rest import HttpRequest

from local_cloud.access_tokens import object_id_of, read
from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.managed_identity import CLIENT_ID, Asked, Fault, ManagedIdentity
from service_kit.azure_transport import SHORT_RETRIES, open_transport
from service_kit.managed_identity import managed_identity
from service_kit.tls import client_context

VAULT = "https://vault.azure.net"
TLS = client_context(None)


async def test_the_identity_is_named_to_the_endpoint(identity: ManagedIdentity) -> None:
    async with managed_identity(CLIENT_ID, TLS) as credential:
        token = await credential.get_token_info(f"{VAULT}/.default")
        assert (await credential.get_token_info(f"{VAULT}/.default")).token == token.token
    assert identity.asked == [Asked(VAULT, CLIENT_ID, 200)]
    holder = read(token.token, VAULT)
    assert (holder.client_id, holder.object_id) == (CLIENT_ID, object_id_of(CLIENT_ID))
    assert holder.expires_at == token.expires_on > time.time() + 86_000


async def test_without_a_name_the_system_assigned_identity_is_asked_for(
    identity: ManagedIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)  # which the SDK does not read
    async with managed_identity(None, TLS) as credential:
        with pytest.raises(HttpResponseError):
            await credential.get_token_info(f"{VAULT}/.default")
        identity.behaviour.has_system_assigned = True
        await credential.get_token_info(f"{VAULT}/.default")
    assert [each.client_id for each in identity.asked] == [None, None]


async def test_an_identity_that_is_not_there_is_an_error_at_once(identity: ManagedIdentity) -> None:
    async with managed_identity("00000000-0000-4000-8000-000000000000", TLS) as credential:
        with pytest.raises(HttpResponseError):
            await credential.get_token_info(f"{VAULT}/.default")
    assert [each.status for each in identity.asked] == [400]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_failure_is_tried_again_twice_and_no_more(identity: ManagedIdentity, status: int) -> None:
    identity.faults.append(Fault(status=status, times=2))
    async with managed_identity(CLIENT_ID, TLS) as credential:
        await credential.get_token_info(f"{VAULT}/.default")
        assert [each.status for each in identity.asked] == [status, status, 200]
        identity.faults.append(Fault(status=status, times=None))
        with pytest.raises((HttpResponseError, ClientAuthenticationError)):
            await credential.get_token_info("https://redis.azure.com/.default")
    assert [each.status for each in identity.asked[3:]] == [status] * 3


async def test_a_wrong_header_is_refused(identity: ManagedIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    async with managed_identity(CLIENT_ID, TLS) as credential:
        with pytest.raises(HttpResponseError):
            await credential.get_token_info(f"{VAULT}/.default")
    assert [each.status for each in identity.asked] == [401]


async def ask(url: str, extra_ca_file: Path | None) -> int:
    """What an Azure client sends, over our transport."""
    transport = open_transport(client_context(extra_ca_file))
    pipeline: AsyncPipeline[HttpRequest, object] = AsyncPipeline(transport)
    async with pipeline, asyncio.timeout(10):
        return (await pipeline.run(HttpRequest("GET", url))).http_response.status_code  # type: ignore[attr-defined, no-any-return]


async def test_azure_clients_trust_the_extra_authority_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):  # nobody listens there
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    authority = ThrowAwayAuthority(tmp_path)
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context()).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        assert await ask(url, authority.ca_file) == 404
        with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(url, None)
    finally:
        await runner.cleanup()


def test_the_retries_are_options_that_the_sdk_knows() -> None:
    assert {"retry_total", "retry_backoff_max", "connection_timeout", "read_timeout"} <= SHORT_RETRIES.keys()
