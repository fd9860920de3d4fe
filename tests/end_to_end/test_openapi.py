"""The OpenAPI documents are true: schemathesis makes requests from them, and the running services answer as they say.

Any answer that a document does not name (status, content type, headers, body), any 5xx and any malformed request that
is not refused fails the test. One check of schemathesis is left out: that whatever fits a schema is accepted. What a
caller may ask for also depends on its profile, its ceilings and the names that exist, which no schema says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from local_cloud.ports import free_port
from service_kit.live_entries import LiveEntries, LiveEntry
from service_kit.redis_client import Pseudonyms, connect
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

CALLER, OPERATOR = "a-key-of-the-shop", "op_a-key-for-this-test"
EXAMPLES, SECONDS = 100, 100
SESSION = "sess_" + "a" * 24
OPERATOR_PORT = free_port()
SETTINGS = {
    "CALLER_API_KEYS": json.dumps(
        [{"name": "shop", "sha256": sha256(CALLER.encode()).hexdigest(), "tenant": "shop", "profiles": ["default"]}]
    ),
    "OPERATOR_PORT": str(OPERATOR_PORT),
    "OPERATOR_KEYS": json.dumps([{"name": "ops", "sha256": sha256(OPERATOR.encode()).hexdigest()}]),
}

Seen = dict[str, set[int]]
Har = dict[str, Any]


async def fetched(http: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    async with http.get(f"{address}/openapi.json") as response:
        assert response.status == 200
        document: dict[str, Any] = await response.json()
        return document


async def examined(document: dict[str, Any], address: str, header: str, folder: Path) -> Har:
    """Everything that was asked and answered, once schemathesis has found nothing wrong."""
    # From a file: it would leave the route it read the document from out of the test.
    (folder / "openapi.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", address]
    command += ["--header", header, "--exclude-checks", "positive_data_acceptance"]
    command += ["--max-examples", str(EXAMPLES), "--seed", "1", "--generation-database", "none", "--no-color"]
    command += ["--report", "har", "--report-har-path", "answers.har", "--continue-on-failure"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    har: Har = json.loads((folder / "answers.har").read_text())
    return har


def statuses_of(har: Har, document: dict[str, Any]) -> Seen:
    """The statuses that came back, by operation; each is documented."""
    seen: Seen = defaultdict(set)
    for entry in har["log"]["entries"]:
        path = urlsplit(entry["request"]["url"]).path
        for template, operations in document["paths"].items():
            method = entry["request"]["method"].lower()
            if method in operations and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                status = entry["response"]["status"]
                # schemathesis lets some pass by itself, such as a 415 to a content type that it made up.
                assert str(status) in operations[method]["responses"], f"{method} {path} answered {status}"
                seen[f"{method} {template}"].add(status)
    return seen


def operations_of(document: dict[str, Any]) -> set[str]:
    return {f"{method} {path}" for path, operations in document["paths"].items() for method in operations}


@pytest.mark.parametrize(
    ("header", "minting"),
    [
        pytest.param(f"Authorization: Bearer {CALLER}", {200, 400, 415}, id="API key"),
        pytest.param("Origin: {page}", {200, 400, 415}, id="page"),
        pytest.param("Origin: https://evil.example", {403}, id="other page"),
        pytest.param("Authorization: Bearer another-key", {401}, id="unknown key"),
    ],
)
async def test_the_public_document_is_true(
    stack: Stack, http: aiohttp.ClientSession, tmp_path: Path, header: str, minting: set[int]
) -> None:
    document = await fetched(http, stack.page_url)
    har = await examined(document, stack.page_url, header.format(page=stack.page_url), tmp_path)
    seen = statuses_of(har, document)
    assert seen.keys() == operations_of(document)
    for shape in ("client_secrets", "sessions"):
        assert seen[f"post /v1/realtime/{shape}"] >= minting
    assert minting & {200, 401, 403} <= seen["get /v1/limits"]


async def test_the_operators_document_is_true(stack: Stack, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{OPERATOR_PORT}"
    document = await fetched(http, address)
    async with contextlib.aclosing(connect(stack.redis.url)) as redis:
        pseudonym = Pseudonyms(stack.environment["PSEUDONYM_KEY"]).of("acme", "alice")
        await LiveEntries(redis, "development").put(entry(pseudonym))
    har = await examined(document, address, f"Authorization: Bearer {OPERATOR}", tmp_path)
    assert any(SESSION in each["response"]["content"].get("text", "") for each in har["log"]["entries"])
    seen = statuses_of(har, document)
    assert {operation for operation, statuses in seen.items() if 200 in statuses} == operations_of(document)
    for operation in operations_of(document):
        needs_no_key = operation in ("get /openapi.json", "get /healthz", "get /readyz")
        assert (401 in seen[operation]) is not needs_no_key, operation


def entry(subject: str) -> LiveEntry:
    """A session to list: relays write such entries."""
    return LiveEntry(
        id=SESSION,
        token_id="token_" + "a" * 20,
        subject=subject,
        tenant="acme",
        profile="default",
        model="gpt-realtime-2.1",
        started_at=1_795_000_000.5,
        ends_at=1_795_000_600.5,
        audio_in_seconds=1.5,
        audio_out_seconds=2.5,
        tokens=100,
        cost_usd=None,
        replica="relay-0",
    )
