"""The vault's stand-in from outside: its control routes, and as a process.

What Azure's client asks of it is tested in tests/service_kit/test_key_vault.py.
"""

import asyncio
import json
import os
import ssl
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local_cloud.access_tokens import issue
from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.key_vault import KeyVault
from local_cloud.managed_identity import CLIENT_ID

ROOT = Path(__file__).parent.parent.parent
SECONDS = 20.0
QUERY = "?api-version=7.6"
Answer = tuple[int, Any]


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[KeyVault]:
    async with KeyVault(ThrowAwayAuthority(tmp_path), {"shop-key": "one"}) as vault:
        yield vault


@pytest.fixture
async def http(vault: KeyVault, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    tls = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    async with aiohttp.ClientSession(vault.url, connector=aiohttp.TCPConnector(ssl=tls)) as http:
        yield http


async def read(http: aiohttp.ClientSession, vault: KeyVault, path: str, token: str | None = None) -> Answer:
    token = token or issue(vault.resource, CLIENT_ID, 60)[0]
    async with http.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
        return answer.status, await answer.json()


async def test_versions_are_kept_and_the_latest_is_given_unless_one_is_named(
    vault: KeyVault, http: aiohttp.ClientSession
) -> None:
    async with http.put("/_vault/secrets/shop-key", json={"value": "two"}) as answer:
        second = (await answer.json())["version"]
    status, latest = await read(http, vault, f"/secrets/shop-key/{QUERY}")
    assert (status, latest["value"]) == (200, "two")
    assert latest["id"] == f"{vault.url}/secrets/shop-key/{second}"
    first = vault.versions()["shop-key"][0].id
    assert (await read(http, vault, f"/secrets/shop-key/{first}{QUERY}"))[1]["value"] == "one"
    async with http.delete("/_vault/secrets/shop-key") as answer:
        assert answer.status == 204
    status, error = await read(http, vault, f"/secrets/shop-key/{QUERY}")
    assert (status, error["error"]["code"]) == (404, "SecretNotFound")
    async with http.get("/_vault/reads") as answer:
        assert [(each["name"], each["status"]) for each in await answer.json()] == [
            ("shop-key", 200),
            ("shop-key", 200),
            ("shop-key", 404),
        ]


async def test_only_a_token_for_this_vault_is_taken(vault: KeyVault, http: aiohttp.ClientSession) -> None:
    wrong = [issue("https://vault.azure.net", CLIENT_ID, 60)[0], issue(vault.resource, CLIENT_ID, -1)[0], "none"]
    for token in wrong:
        async with http.get(f"/secrets/shop-key/{QUERY}", headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 401
            assert f'resource="{vault.resource}"' in answer.headers["WWW-Authenticate"]
    stranger = issue(vault.resource, CLIENT_ID.replace("1", "7"), 60)[0]
    status, error = await read(http, vault, f"/secrets/shop-key/{QUERY}", stranger)
    assert (status, error["error"]["innererror"]["code"]) == (403, "ForbiddenByRbac")
    assert vault.challenges == len(wrong)


async def test_it_fails_as_it_is_told(vault: KeyVault, http: aiohttp.ClientSession) -> None:
    async with http.post("/_vault/faults", json={"kind": "throttled", "retry_after": "7", "times": 1}) as answer:
        assert answer.status == 204
    token = issue(vault.resource, CLIENT_ID, 60)[0]
    async with http.get(f"/secrets/shop-key/{QUERY}", headers={"Authorization": f"Bearer {token}"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert (await read(http, vault, f"/secrets/shop-key/{QUERY}"))[0] == 200
    async with http.put("/_vault/secrets/shop-key", json={"value": "two", "enabled": False}) as answer:
        assert answer.status == 200
    status, error = await read(http, vault, f"/secrets/shop-key/{QUERY}")
    assert (status, error["error"]["innererror"]["code"]) == (403, "SecretDisabled")
    async with http.patch("/_vault/behaviour", json={"is_down": True}) as answer:
        assert answer.status == 204
    with pytest.raises(aiohttp.ClientError):
        await read(http, vault, f"/secrets/shop-key/{QUERY}")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/_vault/faults", {"kind": "no such kind"}),
        ("PATCH", "/_vault/behaviour", {"is_up": True}),
        ("PUT", "/_vault/secrets/shop-key", {"enabled": True}),
    ],
)
async def test_an_order_that_is_none_is_refused(
    http: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any]
) -> None:
    async with http.request(method, path, json=body) as answer:
        assert answer.status == 400


@pytest.mark.end_to_end
async def test_as_a_process_it_prints_the_settings_that_lead_to_it(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"shop-key": "one"}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "local_cloud.key_vault", "--port", "0", "--secrets", str(secrets),
        cwd=ROOT, env={"PATH": os.environ["PATH"]}, stdout=PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            assert process.stdout
            printed = [(await process.stdout.readline()).decode().strip().split("=", 1) for _ in range(2)]
            settings = dict(printed)
            tls = ssl.create_default_context(cafile=settings["EXTRA_CA_FILE"])
            url = settings["KEY_VAULT_URL"]
            token = issue(url.replace("127.0.0.1", "0.0.1"), CLIENT_ID, 60)[0]
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as http,
                http.get(f"{url}/secrets/shop-key/{QUERY}", headers={"Authorization": f"Bearer {token}"}) as answer,
            ):
                assert (await answer.json())["value"] == "one"
            process.terminate()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
