"""A token is renewed early and nobody waits for it, by Azure's own SDK against the stand-in endpoint."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from local_cloud.access_tokens import read
from local_cloud.managed_identity import CLIENT_ID, Behaviour, Fault, ManagedIdentity
from service_kit import kept_token
from service_kit.kept_token import KeptToken, NoToken, pause_before_asking
from service_kit.managed_identity import managed_identity
from service_kit.tls import client_context

RESOURCE = "https://cognitiveservices.azure.com"
TLS = client_context(None)


@asynccontextmanager
async def kept() -> AsyncIterator[KeptToken]:
    async with managed_identity(CLIENT_ID, TLS) as credential, asyncio.timeout(30):
        token = KeptToken(credential, f"{RESOURCE}/.default")
        async with token.kept():
            yield token


@pytest.mark.parametrize(
    ("seconds_left", "is_new", "pause"),
    [
        (86_400, True, 43_200),  # half
        (60, True, 30),
        (0.2, True, 0.5),
        (43_200, False, 21_600),
        (1_000, False, 400),  # no later than ten minutes before the end
        (700, False, 100),
        (600, False, 30),
        (240, False, 30),
        (40, False, 20),
        (0.2, False, 0.5),
    ],
)
def test_when_the_next_is_asked_for(seconds_left: float, is_new: bool, pause: float) -> None:
    assert pause_before_asking(seconds_left, is_new=is_new) == pause


def test_the_same_token_is_asked_after_in_time_for_redis() -> None:
    """Whenever the platform gives the next one, up to 4 minutes before the end, it is here 3 minutes before."""
    left = 86_400.0
    asked_at = []
    is_new = True
    while left > 1:
        left -= pause_before_asking(left, is_new=is_new)
        is_new = False
        asked_at.append(left)
    assert any(180 <= left <= 240 for left in asked_at)
    assert len(asked_at) < 50


async def test_who_asks_waits_for_the_first_and_for_no_other(identity: ManagedIdentity) -> None:
    identity.behaviour = Behaviour(lifetimes={RESOURCE: 4}, delay_seconds=0.2)
    async with kept() as token:
        first = await token.get()
        assert read(first, RESOURCE).client_id == CLIENT_ID
        identity.behaviour.delay_seconds = 1.0  # from half of its life on, somebody waits so long for the next
        new: asyncio.Queue[str] = asyncio.Queue()
        token.follow(new.put_nowait)
        for _ in range(2):
            while new.empty():
                before = asyncio.get_running_loop().time()
                read(await token.get(), RESOURCE)  # never an expired one
                assert asyncio.get_running_loop().time() - before < 0.5
                await asyncio.sleep(0.01)
            assert new.get_nowait() == await token.get() != first
    assert {each.status for each in identity.asked} == {200}


async def test_a_token_that_is_the_same_is_not_told_again(identity: ManagedIdentity) -> None:
    identity.behaviour = Behaviour(repeats_until_seconds_left=300)
    async with kept() as token:
        new: list[str] = []
        token.follow(new.append)
        first = await token.get()
        assert await token.ask()
        assert new == [first]
        assert len(identity.asked) == 2


async def test_many_share_one_request(identity: ManagedIdentity) -> None:
    identity.behaviour.delay_seconds = 0.2
    async with kept() as token:
        await asyncio.gather(*(token.get() for _ in range(50)))
        assert all(await asyncio.gather(*(token.ask() for _ in range(50))))
    assert len(identity.asked) == 2


async def test_an_endpoint_that_is_away_is_told_at_once_and_asked_again(identity: ManagedIdentity) -> None:
    identity.faults.append(Fault(status=400, times=1))
    with capture_logs() as lines:
        async with kept() as token:
            with pytest.raises(NoToken):
                await token.get()
            with pytest.raises(NoToken):  # and nobody waits for the next attempt, nor causes one
                await token.get()
            await identity.wait_asked(2)
            await token.ask()
            assert await token.get()
    assert [line["event"] for line in lines] == ["identity.failed"]
    assert lines[0]["log_level"] == "error"


async def test_the_last_token_is_used_until_it_expires(identity: ManagedIdentity) -> None:
    identity.behaviour.lifetimes = {RESOURCE: 3}
    async with kept() as token:
        first = await token.get()
        identity.faults.append(Fault(status=400, times=None))
        await identity.wait_asked(1, status=400)
        assert await token.get() == first
        with suppress(NoToken):
            while await token.get() == first:  # noqa: ASYNC110 - its time runs out, and nobody tells
                await asyncio.sleep(0.01)
        with pytest.raises(NoToken):
            await token.get()
        identity.faults.clear()
        assert await token.ask()
        assert await token.get() != first


async def test_a_hostile_retry_after_is_not_waited_for(
    identity: ManagedIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_token, "ASK_SECONDS", 0.5)
    identity.faults.append(Fault(status=429, retry_after="86400", times=1))
    async with kept() as token:
        with pytest.raises(NoToken):
            await token.get()
        await identity.wait_asked(2)


async def test_the_loop_goes_on_while_the_endpoint_takes_two_seconds(identity: ManagedIdentity) -> None:
    identity.behaviour.delay_seconds = 2.0
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with kept() as token:
        await token.get()
    ticking.cancel()
    assert ticks > 50  # of 200, on a busy machine


async def test_what_an_answer_does_to_the_sdk_ends_nothing(identity: ManagedIdentity) -> None:
    def choke(_: str) -> None:
        raise KeyError("resource")

    async with kept() as token:
        token.follow(choke)
        with pytest.raises(NoToken):
            await token.get()
        await identity.wait_asked(2)
