"""Tokens redeemed by two relays while sentinels give Redis another primary: nobody is let in twice.

That holds with ``REDIS_WAIT_REPLICAS=1``. What happens without it is counted, and promised by nobody.
"""

import asyncio
import itertools
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_cloud.redis_server import find_binary
from relay.redemption import Redemptions
from service_kit.errors import Refusal
from service_kit.redis_client import RedisClient, RedisUnavailable, connect
from tests.examples import claims
from tests.sentinel import Sentinels
from tests.token_store.test_token_states import ENVIRONMENT, Token

TOKENS = 100
"""For each failover."""
BEFORE = 20
"""Of them are redeemed when it begins."""
PACE_SECONDS = 0.01


@pytest.fixture
async def sentinels() -> AsyncIterator[Sentinels]:
    async with Sentinels(Path(shutil.which("redis-server") or find_binary()), sentinels=3) as sentinels:
        yield sentinels


class Relays:
    """Two relays, each with its own connections, that redeem whatever comes, and who got in."""

    def __init__(self, url: str, wait_replicas: int) -> None:
        self.clients = [connect(url, "sentinel"), connect(url, "sentinel")]
        self._redemptions = [Redemptions(client, ENVIRONMENT, wait_replicas) for client in self.clients]
        self._sessions = itertools.count()
        self.admissions: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    @property
    def redis(self) -> RedisClient:
        return self.clients[0]

    async def mint(self) -> Token:
        """A token that the replica knows of, too."""
        token = Token(self.redis, claims())
        async with asyncio.timeout(20):
            while True:
                try:
                    await token.mint()
                    if (await self.redis.together(token.key, ("PERSIST", "none"), ("WAIT", 1, 500)))[1] == 1:
                        return token
                except RedisUnavailable:
                    await asyncio.sleep(PACE_SECONDS)

    async def redeem(self, token: Token) -> None:
        """Both relays try, at the same moment."""
        await asyncio.gather(*(self._redeem_at(redemptions, token) for redemptions in self._redemptions))

    async def _redeem_at(self, redemptions: Redemptions, token: Token) -> None:
        token.redemptions = redemptions
        try:
            await token.redeem(f"sess_{next(self._sessions)}")
        except Refusal as refusal:
            self.refusals[refusal.code] += 1
        else:
            self.admissions[token.key] += 1

    async def insist(self, token: Token) -> None:
        """Try until Redis says what it holds of the token."""
        async with asyncio.timeout(20):
            while True:
                before = self.refusals["unavailable"]
                await self.redeem(token)
                if self.refusals["unavailable"] == before:
                    return
                await asyncio.sleep(PACE_SECONDS)

    async def aclose(self) -> None:
        for client in self.clients:
            await client.aclose()


async def redeem_across_a_failover(sentinels: Sentinels, relays: Relays, *, by_crash: bool) -> None:
    """Redeem before, while and after the primary is replaced; then try every token again."""
    before = await sentinels.settled()
    tokens = [await relays.mint() for _ in range(TOKENS)]
    for token in tokens[:BEFORE]:
        await relays.redeem(token)
    dead = await sentinels.kill_primary() if by_crash else None
    if not by_crash:
        await sentinels.order_failover()
    promotion = asyncio.create_task(sentinels.promoted(before))
    rest = iter(tokens[BEFORE:])
    for token in rest:
        await relays.redeem(token)
        await asyncio.sleep(PACE_SECONDS)  # so that they last as long as the failover does
    after = await promotion
    assert after != before
    if dead is not None:
        await sentinels.bring_back(dead, after)
    await sentinels.settled(as_seen_by_the_sentinels=False)
    for token in tokens:
        await relays.insist(token)
        await relays.insist(token)


def doubled(relays: Relays) -> int:
    """How many tokens let somebody in twice."""
    return sum(number > 1 for number in relays.admissions.values())


async def test_a_failover_admits_nobody_twice_where_a_replica_must_confirm(sentinels: Sentinels) -> None:
    relays = Relays(sentinels.url, wait_replicas=1)
    await redeem_across_a_failover(sentinels, relays, by_crash=False)
    assert doubled(relays) == 0
    assert len(relays.admissions) >= BEFORE
    assert relays.refusals["token_used"] > BEFORE
    # The new primary is used, and admits.
    admitted = len(relays.admissions)
    async with asyncio.timeout(20):
        while len(relays.admissions) == admitted:  # what a busy replica does not confirm in time is refused
            await relays.redeem(await relays.mint())
    await relays.aclose()


@pytest.mark.soak
@pytest.mark.parametrize("wait_replicas", [1, 0])
async def test_ten_failovers_admit_nobody_twice_where_a_replica_must_confirm(
    sentinels: Sentinels, wait_replicas: int
) -> None:
    relays = Relays(sentinels.url, wait_replicas)
    for number in range(10):
        await redeem_across_a_failover(sentinels, relays, by_crash=bool(number % 2))
    await relays.aclose()
    admitted = len(relays.admissions)
    print(  # noqa: T201 - the figures are what the test without WAIT is for
        f"REDIS_WAIT_REPLICAS={wait_replicas}: {10 * TOKENS} tokens, {admitted} admitted,"
        f" {doubled(relays)} of them more than once; refusals: {dict(relays.refusals)}"
    )
    assert admitted > 10 * BEFORE * 0.9
    if wait_replicas:
        assert doubled(relays) == 0
