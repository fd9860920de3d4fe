"""``python -m token_service`` as a process: how it starts, refuses to start, and stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.examples import KEY, PROFILES_TOML
from tests.serving import talk

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 20.0

pytestmark = pytest.mark.end_to_end


@asynccontextmanager
async def started(folder: Path, **variables: str) -> AsyncIterator[Process]:
    """The process; ended with the block if it still runs."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": "0", **variables}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "token_service", cwd=folder, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(process: Process, event: str) -> dict[str, Any]:
    """The first log line from here with this event."""
    assert process.stdout
    async for text in process.stdout:
        line: dict[str, Any] = json.loads(text)
        if line["event"] == event:
            return line
    raise AssertionError(f"ended without {event}")


@pytest.fixture
def variables(tmp_path: Path, redis_server: str) -> dict[str, str]:
    (tmp_path / "profiles.toml").write_text(PROFILES_TOML)
    return {"REDIS_URL": redis_server, "TOKEN_SIGNING_KEYS": KEY, "PSEUDONYM_KEY": KEY}


async def test_a_stop_is_announced_and_what_is_in_flight_is_answered(tmp_path: Path, variables: dict[str, str]) -> None:
    async with started(tmp_path, **variables) as process:
        port = (await line_with(process, "listening"))["port"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:8080\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{"
        )
        await reader.readuntil(b"100 Continue\r\n\r\n")

        process.send_signal(signal.SIGTERM)
        await line_with(process, "drain.start")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
                assert response.status == 503
                assert (await response.json())["failing"] == ["draining"]
            async with http.get(f"http://127.0.0.1:{port}/healthz") as response:
                assert response.status == 200

        writer.write(b"}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await line_with(process, "drain.end")
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        (b"https://evil.example", "https://evil.example"),
        (b"https://" + b"a" * 5_000, "https://" + "a" * 248),
        (b'"}, {"event": "mint.ok"}', "(no origin)"),
        (b"\xff\xc3\xa9\xe2\x80\xa8", "(no origin)"),
        (b"https://evil.example\t%s{0}", "(no origin)"),
    ],
)
async def test_a_denied_mint_leaves_one_line_whatever_its_origin(
    tmp_path: Path, variables: dict[str, str], sent: bytes, written: str
) -> None:
    async with started(tmp_path, **variables) as process:
        port = (await line_with(process, "listening"))["port"]
        head = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
        answer = await talk(port, head + b"Origin: " + sent + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ")
        process.terminate()
        assert process.stdout
        lines = [json.loads(text) async for text in process.stdout]
        denied = [(line["event"], line["origin"]) for line in lines if line["event"].startswith("mint.")]
        assert denied == [("mint.denied", written)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_service_stops_at_once(tmp_path: Path, variables: dict[str, str], number: int) -> None:
    async with started(tmp_path, **variables) as process:
        await line_with(process, "listening")
        process.send_signal(number)
        assert await process.wait() == 0


async def test_a_second_signal_ends_the_wait(tmp_path: Path, variables: dict[str, str]) -> None:
    async with started(tmp_path, **variables) as process:
        port = (await line_with(process, "listening"))["port"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:8080\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        await reader.readuntil(b"100 Continue\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        await line_with(process, "drain.start")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        writer.close()


async def test_nothing_is_printed_but_json_and_no_secret(tmp_path: Path, variables: dict[str, str]) -> None:
    async with started(tmp_path, **variables, LOG_LEVEL="DEBUG") as process:
        port = (await line_with(process, "listening"))["port"]
        async with aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{port}/v1/realtime/client_secrets"
            async with http.post(url, headers={"Origin": "http://localhost:8080"}) as response:
                token = (await response.json())["value"]
            async with http.post(url, headers={"Authorization": "Bearer canary-credential"}) as response:
                assert response.status == 401
            async with http.post(url, data=b"canary-body", headers={"Origin": "http://localhost:8080"}) as response:
                assert response.status == 415
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()
    assert err == b""
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in lines if line["event"].startswith("mint.")] == [
        "mint.ok",
        "mint.denied",
        "mint.denied",
    ]
    for secret in (token, KEY, "canary", "127.0.0.1:", "Bearer"):
        assert secret not in out.decode()


async def test_it_refuses_to_start_with_every_problem_named_and_no_value(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text("[profiles.a]\nmodell = 1")
    async with started(tmp_path, PSEUDONYM_KEY="canary-short", CALLERS="oidc") as process:
        out, err = await process.communicate()
    assert process.returncode == 2
    assert out == b""
    for said in (b"REDIS_URL", b"TOKEN_SIGNING_KEYS", b"PSEUDONYM_KEY", b"CALLERS", b"AIRLOCK_PROFILES", b"modell"):
        assert said in err
    assert b"canary" not in err
    assert b"Traceback" not in err


async def test_a_port_in_use_is_a_problem_like_others(tmp_path: Path, variables: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with started(tmp_path, **variables | {"PORT": str(taken.getsockname()[1])}) as process:
            _, err = await process.communicate()
    assert process.returncode == 2
    assert err.startswith(b"Cannot start.")
    assert b"Traceback" not in err
