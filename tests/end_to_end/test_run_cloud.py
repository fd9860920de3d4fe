"""`make run-cloud`: the production code path on one machine, used as its announcement says."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.cloud import Cloud
from tests.end_to_end.clients import MODEL

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One run for the module."""
    with Cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


async def test_openais_client_mints_and_talks_through_the_edge(cloud: Cloud) -> None:
    base_url = f"{cloud.page_url}/v1"
    trusting = openai.DefaultAsyncHttpxClient(verify=cloud.trust, trust_env=False)
    async with openai.AsyncOpenAI(api_key=cloud.caller_key, base_url=base_url, http_client=trusting) as minting:
        for _ in range(4):  # both relays come up
            secret = await minting.realtime.client_secrets.create()
            assert await hold_a_turn(secret.value, base_url, cloud.trust) == 'You said: "Good day"'
    began = {line.partition("|")[0].strip() for line in cloud.log().splitlines() if "session.start" in line}
    assert began == {"relay 1", "relay 2"}


async def hold_a_turn(token: str, base_url: str, trust: ssl.SSLContext) -> str:
    """Ask in text through OpenAI's client; the answer."""
    tls: Any = {"ssl": trust}  # which its types leave out, and websockets takes
    answer = ""
    async with (
        openai.AsyncOpenAI(api_key=token, base_url=base_url) as client,
        client.realtime.connect(model=MODEL, websocket_connection_options=tls) as connection,
    ):
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Good day"}]}
        )
        await connection.response.create(response={"output_modalities": ["text"]})
        async for event in connection:
            if event.type == "response.output_text.done":
                answer = event.text
            if event.type == "response.done":
                break
    return answer


async def test_the_page_comes_over_https_and_a_stranger_past_the_edge_gets_nothing(cloud: Cloud) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(cloud.page_url, ssl=cloud.trust) as answer:
            assert answer.status == 200
            assert "wss://localhost:" in answer.headers["Content-Security-Policy"]
            assert "max-age" in answer.headers["Strict-Transport-Security"]
        ports = re.findall(r"info listening .*\bport=(\d+)", cloud.log())
        behind = {f"http://127.0.0.1:{port}" for port in ports} - set(cloud.operator_urls)
        assert len(behind) == 3
        for url in behind:
            async with http.get(f"{url}/v1/realtime", headers={"X-Azure-SocketIP": "203.0.113.9"}) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (403, "edge_not_allowed")


async def test_what_was_done_is_counted_and_arrives_at_application_insights(cloud: Cloud) -> None:
    """After the turns above, which are the module's first."""
    operator = {"Authorization": f"Bearer {cloud.operator_key}"}
    async with aiohttp.ClientSession() as http:
        assert len(cloud.operator_urls) == 3
        for url in cloud.operator_urls:
            async with http.get(f"{url}/metrics") as answer:
                assert answer.status == 401
            async with http.get(f"{url}/metrics", headers=operator) as answer:
                assert answer.status == 200
                assert "# TYPE" in await answer.text()
        roles: set[str] = set()
        async with asyncio.timeout(90):  # what is exported is exported once a minute
            while not roles >= {"token_service", "relay"}:
                await asyncio.sleep(0.5)  # polling another process
                async with http.get(f"{cloud.insights_url}/_ingestion/envelopes") as answer:
                    envelopes = (await answer.json())["envelopes"]
                roles = {envelope["tags"]["ai.cloud.role"] for envelope in envelopes}
    sent = str(envelopes)
    assert [value for value in [*cloud.vault_secrets.values(), cloud.caller_key, "Good day"] if value in sent] == []


def test_no_secret_of_the_vault_is_in_an_environment_or_a_command(cloud: Cloud) -> None:
    values = set(cloud.vault_secrets.values())
    assert len(values) == 6
    seen = []
    for pid in cloud.processes():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"token_service" in command or b"relay" in command:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"AIRLOCK_ENV=production" in environment
            assert [value for value in values if value.encode() in environment + b" ".join(command)] == []
            assert b"sk-of-who-started-it" not in environment
            seen.append(pid)
    assert len(seen) == 3


def test_no_secret_of_the_vault_is_in_a_log_line_of_a_service(cloud: Cloud) -> None:
    lines = [line for line in cloud.log().splitlines() if line.startswith(("token service", "relay "))]
    assert lines
    # The announcement names one: the ring to set next holds the present key. It is no service's line.
    assert [value for value in cloud.vault_secrets.values() if value in "\n".join(lines)] == []


def test_each_service_says_what_production_checked_and_no_library_complains(cloud: Cloud) -> None:
    for service in ("token service", "relay 1", "relay 2"):
        lines = [line for line in cloud.log().splitlines() if line.startswith(service)]
        assert any("Production mode. Checked:" in line for line in lines)
        assert any("secrets: from Key Vault over https, as the user-assigned identity" in line for line in lines)
    assert [line for line in cloud.log().splitlines() if "library.log" in line or "| error" in line] == []


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    with Cloud(tmp_path) as cloud:
        folder, children = cloud.ca_file.parent, cloud.processes()
        assert len(children) >= 9  # Redis, nginx, four stand-ins, three services
        assert cloud.interrupt() == 0
    assert not folder.exists()
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
