"""The stand-in speaks the platform's wire form, and does what it is told, also from outside its process."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from local_cloud.access_tokens import InvalidAccessToken, object_id_of, read
from local_cloud.managed_identity import CLIENT_ID, Asked, Behaviour, Fault, ManagedIdentity
from tests.stack import ROOT

VAULT, REDIS = "https://vault.azure.net", "https://redis.azure.com"
GOOD = {"api-version": "2019-08-01", "resource": VAULT, "client_id": CLIENT_ID}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def ask(
    http: aiohttp.ClientSession, identity: ManagedIdentity, header: str | None = None, **changes: str
) -> tuple[int, Any]:
    """Status and body of a request for a token; an empty value leaves a parameter out."""
    query = {name: value for name, value in (GOOD | changes).items() if value}
    headers = {"X-IDENTITY-HEADER": identity.header if header is None else header}
    async with http.get(identity.environment["IDENTITY_ENDPOINT"], params=query, headers=headers) as response:
        return response.status, await response.json()


async def test_a_token_is_answered_as_the_platform_does(http: aiohttp.ClientSession) -> None:
    async with ManagedIdentity(Behaviour(lifetimes={REDIS: 60})) as identity:
        status, answer = await ask(http, identity)
        assert (status, answer.keys()) == (
            200,
            {"access_token", "expires_on", "resource", "token_type", "client_id"},
        )
        assert (answer["resource"], answer["token_type"], answer["client_id"]) == (VAULT, "Bearer", CLIENT_ID)
        claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
        assert claims["oid"] == object_id_of(CLIENT_ID)
        assert claims["aud"] == VAULT
        assert str(claims["exp"]) == answer["expires_on"]
        assert claims["exp"] - claims["iat"] == 86_400
        _, answer = await ask(http, identity, resource=REDIS)
        claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 60
    assert identity.asked == [Asked(VAULT, CLIENT_ID, 200), Asked(REDIS, CLIENT_ID, 200)]


@pytest.mark.parametrize(
    ("header", "changes", "status"),
    [
        ("", {}, 401),
        ("wrong", {}, 401),
        (None, {"api-version": "2018-02-01"}, 400),
        (None, {"resource": ""}, 400),
        (None, {"client_id": "00000000-0000-4000-8000-000000000000"}, 400),
        (None, {"client_id": ""}, 400),
    ],
)
async def test_what_the_platform_refuses_is_refused(
    http: aiohttp.ClientSession, header: str | None, changes: dict[str, str], status: int
) -> None:
    async with ManagedIdentity() as identity:
        got, answer = await ask(http, identity, header, **changes)
        assert (got, answer["StatusCode"]) == (status, status)
        assert "access_token" not in answer


async def test_a_token_is_told_again_while_it_has_time_left(http: aiohttp.ClientSession) -> None:
    async with ManagedIdentity(Behaviour(repeats_until_seconds_left=300)) as identity:
        first = await ask(http, identity)
        assert await ask(http, identity) == first
        identity.behaviour.repeats_until_seconds_left = 100_000
        assert await ask(http, identity) != first


async def test_faults_come_in_order_for_the_resource_they_are_for(http: aiohttp.ClientSession) -> None:
    async with ManagedIdentity() as identity:
        identity.faults += [Fault(status=429, retry_after="7", resource=REDIS), Fault(status=500, times=2)]
        assert [(await ask(http, identity))[0] for _ in range(3)] == [500, 500, 200]
        assert [(await ask(http, identity, resource=REDIS))[0] for _ in range(2)] == [429, 200]


async def test_a_token_is_for_its_resource_and_its_time_alone(http: aiohttp.ClientSession) -> None:
    async with ManagedIdentity() as identity:
        token = (await ask(http, identity))[1]["access_token"]
        assert read(token, VAULT).client_id == CLIENT_ID
        identity.behaviour.lifetime_seconds = 0
        expired = (await ask(http, identity))[1]["access_token"]
    for wrong, resource in ((token, REDIS), (token[:-8] + "AAAAAAAA", VAULT), (expired, VAULT), ("x", VAULT)):
        with pytest.raises(InvalidAccessToken):
            read(wrong, resource)


async def test_it_runs_as_a_process_and_is_told_what_to_do_from_outside(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - started at once; only its first lines are waited for
        [sys.executable, "-m", "local_cloud.managed_identity", "--port", "0", "--header", "h"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stdout is not None
    try:
        said = dict(process.stdout.readline().strip().split("=", 1) for _ in range(3))
        endpoint = said["IDENTITY_ENDPOINT"]
        control = endpoint.removesuffix("/msi/token") + "/_identity"
        headers = {"X-IDENTITY-HEADER": said["IDENTITY_HEADER"]}
        query = GOOD | {"client_id": said["AZURE_CLIENT_ID"]}

        async def answered() -> int:
            async with http.get(endpoint, params=query, headers=headers) as response:
                return response.status

        assert await answered() == 200
        assert (await http.post(f"{control}/faults", json={"status": 503, "times": None})).status == 204
        assert await answered() == 503
        assert (await http.delete(f"{control}/faults")).status == 204
        assert (await http.patch(f"{control}/behaviour", json={"client_ids": []})).status == 204
        assert await answered() == 400
        assert (await http.patch(f"{control}/behaviour", json={"client_idz": []})).status == 400
        assert (await http.post(f"{control}/faults", json=[])).status == 400
        async with http.get(f"{control}/requests") as response:
            asked = await response.json()
        assert [each["status"] for each in asked] == [200, 503, 400]
        assert "token" not in str(asked)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()
