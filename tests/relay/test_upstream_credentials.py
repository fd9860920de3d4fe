"""What upstreams are dialled with, and how often its source is looked at again when they refuse it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from local_cloud.managed_identity import CLIENT_ID, Fault, ManagedIdentity
from relay import upstream_credentials
from relay.upstream_credentials import IdentityCredential, KeyCredential, NoCredential
from service_kit.kept_token import KeptToken
from service_kit.managed_identity import managed_identity
from service_kit.tls import client_context

TLS = client_context(None)


class Source:
    """A key that changes when its source is looked at again, if ``next_key`` says so."""

    def __init__(self) -> None:
        self.key = self.next_key = "one"
        self.rereads = 0

    async def reread(self) -> None:
        self.rereads += 1
        await asyncio.sleep(0)
        self.key = self.next_key


@pytest.mark.parametrize(
    ("kind", "headers"), [("openai", {"Authorization": "Bearer one"}), ("azure", {"api-key": "one"})]
)
async def test_each_kind_takes_its_key_in_its_own_header(
    kind: Literal["openai", "azure"], headers: dict[str, str]
) -> None:
    source = Source()
    assert await KeyCredential(kind, lambda: source.key, source.reread).headers() == headers


async def test_a_refused_key_is_looked_at_again_unless_it_was_already() -> None:
    source = Source()
    credential = KeyCredential("openai", lambda: source.key, source.reread)
    old = await credential.headers()
    assert not await credential.renewed(old)
    source.next_key = "two"
    assert await credential.renewed(old)
    assert source.rereads == 2
    assert await credential.renewed(old)
    assert source.rereads == 2
    assert not await credential.renewed(await credential.headers())


@asynccontextmanager
async def identity_credential(identity: ManagedIdentity) -> AsyncIterator[IdentityCredential]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in identity.environment.items():
            environment.setenv(name, value)
        async with managed_identity(CLIENT_ID, TLS) as credential, asyncio.timeout(20):
            token = KeptToken(credential, "https://cognitiveservices.azure.com/.default")
            async with token.kept():
                yield IdentityCredential(token)


async def test_a_storm_of_refusals_asks_for_one_new_token() -> None:
    async with ManagedIdentity() as identity, identity_credential(identity) as credential:
        old = await credential.headers()
        assert await asyncio.gather(*(credential.renewed(old) for _ in range(50))) == [True] * 50
        assert len(identity.asked) == 2
        new = await credential.headers()
        assert await asyncio.gather(*(credential.renewed(new) for _ in range(50))) == [False] * 50
        assert len(identity.asked) == 2


async def test_later_a_refusal_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_credentials, "AGAIN_SECONDS", 0.0)
    async with ManagedIdentity() as identity, identity_credential(identity) as credential:
        assert await credential.renewed(await credential.headers())
        assert await credential.renewed(await credential.headers())
    assert len(identity.asked) == 3


async def test_the_same_token_is_no_new_credential() -> None:
    async with ManagedIdentity() as identity:
        identity.behaviour.repeats_until_seconds_left = 300
        async with identity_credential(identity) as credential:
            assert not await credential.renewed(await credential.headers())


async def test_without_a_token_there_is_no_credential() -> None:
    async with ManagedIdentity() as identity:
        identity.faults.append(Fault(status=400, times=None))
        async with identity_credential(identity) as credential:
            with pytest.raises(NoCredential):
                await credential.headers()
