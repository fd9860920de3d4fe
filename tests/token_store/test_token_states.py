"""The table of a token's states (DESIGN: "Session token and Redis"), row by row."""

import asyncio
import secrets
from typing import Any

import msgspec
import pytest

from local_cloud.redis_server import RedisServer
from relay.admission import Ticket
from relay.redemption import Redemption, Redemptions, Replay, TokenUsed
from service_kit.errors import Refusal
from service_kit.redis_client import RedisClient, RedisUnavailable, connect
from service_kit.revocation import Revocations
from service_kit.session_token import TOKEN_ID_BYTES, Claims, TokenKeys
from service_kit.token_record import record_key
from tests.examples import PAGE, claims
from tests.redis_cluster import client_of
from tests.tcp_proxy import TcpProxy
from token_service.token_store import TokenStore

ENVIRONMENT = "development"
ADDRESS = "203.0.113.7"
ELSEWHERE = "https://evil.example"
MODEL = "gpt-realtime-2.1"
S = "sess_first"


class Token:
    """A minted token and its record, as both services see it."""

    def __init__(self, redis: RedisClient, claims_: Claims) -> None:
        self.redis = redis
        self.claims = claims_
        self.keys = TokenKeys.of(secrets.token_bytes(TOKEN_ID_BYTES))
        self.key = record_key(ENVIRONMENT, self.keys.token_id)
        self.redemptions = Redemptions(redis, ENVIRONMENT)

    async def mint(self) -> None:
        await TokenStore(self.redis, ENVIRONMENT).put(self.keys, self.claims, secrets.token_bytes(12))

    async def redeem(
        self, session: str = S, *, origin: str | None = PAGE, target: str | None = None, address: str = ADDRESS
    ) -> Redemption:
        ticket = Ticket(self.keys, self.claims.expires_at, origin, target, True, "realtime", False, False)
        return await self.redemptions.redeem(ticket, session, address)

    async def refusal(self, **how: Any) -> str:
        """The code with which a redemption is refused."""
        with pytest.raises(Refusal) as caught:
            await self.redeem("sess_other", **how)
        return caught.value.code

    async def record(self) -> dict[str, str]:
        """The record without its seal and digests."""
        fields: dict[Any, Any] = await self.redis.hgetall(self.key)
        digests = {b"sealed", b"origin", b"model", b"first_origin", b"first_address"}
        return {name.decode(): value.decode() for name, value in fields.items() if name not in digests}

    async def revoke(self) -> None:
        """What an operator's revocation does to the record."""
        assert await Revocations(self.redis, ENVIRONMENT).revoke_token(self.keys.token_id)


@pytest.fixture
async def token(redis: RedisClient) -> Token:
    token = Token(redis, claims())
    await token.mint()
    return token


# mint


async def test_a_minted_record_holds_state_seal_and_digests_for_the_token_s_lifetime(token: Token) -> None:
    fields: dict[Any, Any] = await token.redis.hgetall(token.key)
    assert fields.keys() == {b"state", b"sealed", b"origin", b"model"}
    assert fields[b"state"] == b"minted"
    assert 295_000 < await token.redis.pttl(token.key) <= 300_000
    for text in ("canary", PAGE, MODEL, "acme"):
        assert text.encode() not in b"".join(fields.values())


# redeem


async def test_no_record_is_an_expired_token_and_makes_none(redis: RedisClient) -> None:
    token = Token(redis, claims())
    assert await token.refusal() == "token_expired"
    assert await redis.dbsize() == 0


async def test_minted_becomes_redeemed_by_one_session(token: Token) -> None:
    redemption = await token.redeem()
    assert redemption.claims == token.claims
    assert await token.record() == {"state": "redeemed", "session": S}


@pytest.mark.parametrize("origin", [ELSEWHERE, None, PAGE.upper(), ""])
async def test_another_origin_spends_nothing(token: Token, origin: str | None) -> None:
    assert await token.refusal(origin=origin) == "origin_not_allowed"
    assert await token.record() == {"state": "minted"}
    await token.redeem()


@pytest.mark.parametrize("target", ["gpt-realtime", "intent=transcription", MODEL + " "])
async def test_another_model_spends_nothing(token: Token, target: str) -> None:
    assert await token.refusal(target=target) == "model_mismatch"
    assert await token.record() == {"state": "minted"}
    await token.redeem(target=MODEL)


@pytest.mark.parametrize("origin", [PAGE, ELSEWHERE, None])
async def test_an_unbound_token_fits_every_origin(redis: RedisClient, origin: str | None) -> None:
    token = Token(redis, claims(origin=None))
    await token.mint()
    await token.redeem(origin=origin)
    assert (await token.record())["state"] == "redeemed"


async def test_a_revoked_token_stays_revoked(token: Token) -> None:
    await token.revoke()
    assert await token.refusal() == "token_revoked"
    assert await token.record() == {"state": "revoked"}


async def test_a_record_of_another_token_opens_nothing(token: Token) -> None:
    other = Token(token.redis, claims())
    await other.mint()
    sealed = await token.redis.hget(other.key, "sealed")
    await token.redis.hset(token.key, "sealed", sealed)
    assert await token.refusal() == "invalid_token"
    assert (await token.record())["state"] == "redeemed"


# again


async def at_redeemed(token: Token) -> None:
    await token.redeem()


async def at_spent(token: Token) -> None:
    await (await token.redeem()).go_live()


async def at_ended(token: Token) -> None:
    redemption = await token.redeem()
    await redemption.go_live()
    await redemption.end()


@pytest.mark.parametrize("bring", [at_redeemed, at_spent, at_ended])
@pytest.mark.parametrize(
    "how", [{}, {"origin": ELSEWHERE}, {"target": "gpt-realtime"}, {"address": "198.51.100.1"}], ids=str
)
async def test_a_second_redemption_is_used_and_marks_the_replay_wherever_it_comes_from(
    token: Token, bring: Any, how: dict[str, str]
) -> None:
    await bring(token)
    before = await token.record()
    assert await token.refusal(**how) == "token_used"
    assert await token.record() == before | {"replayed": "1"}


@pytest.mark.parametrize(
    ("bring", "is_live"),
    [(at_redeemed, False), (at_spent, True), (at_ended, False)],
    ids=["redeemed", "spent", "ended"],
)
@pytest.mark.parametrize(
    ("how", "is_elsewhere"),
    [({}, False), ({"origin": ELSEWHERE}, True), ({"origin": None}, True), ({"address": "198.51.100.1"}, True)],
    ids=str,
)
async def test_a_replay_tells_whose_it_is_and_what_makes_it_suspicious(
    token: Token, bring: Any, is_live: bool, how: dict[str, Any], is_elsewhere: bool
) -> None:
    await bring(token)
    with pytest.raises(TokenUsed) as caught:
        await token.redeem("sess_other", **how)
    assert caught.value.replay == Replay(S, is_live=is_live, is_elsewhere=is_elsewhere)
    assert await token.redemptions.is_live(token.keys.token_id, S) == is_live
    assert not await token.redemptions.is_live(token.keys.token_id, "sess_other")


async def test_a_redemption_knows_when_its_token_was_minted_by_redis_clock(token: Token) -> None:
    seconds, microseconds = await token.redis.time()
    redemption = await token.redeem()
    assert 0 <= seconds * 1000 + microseconds // 1000 - redemption.minted_ms < 2000
    assert await redemption.give_back()
    assert abs((await token.redeem()).minted_ms - redemption.minted_ms) <= 2


@pytest.mark.usefixtures("unhurried")
async def test_of_200_redemptions_by_two_relays_exactly_one_succeeds_twenty_times_over(
    server: RedisServer, redis: RedisClient
) -> None:
    other = client_of(server)
    relays = [Redemptions(redis, ENVIRONMENT), Redemptions(other, ENVIRONMENT)]
    for _ in range(20):
        token = Token(redis, claims())
        await token.mint()
        ticket = Ticket(token.keys, token.claims.expires_at, PAGE, None, True, "realtime", False, False)
        outcomes = await asyncio.gather(
            *(relays[number % 2].redeem(ticket, f"sess_{number}", ADDRESS) for number in range(200)),
            return_exceptions=True,
        )
        (winner,) = (number for number, outcome in enumerate(outcomes) if isinstance(outcome, Redemption))
        assert {outcome.code for outcome in outcomes if isinstance(outcome, Refusal)} == {"token_used"}
        assert await token.record() == {"state": "redeemed", "session": f"sess_{winner}", "replayed": "1"}
    await other.aclose()


# live


async def test_a_redemption_whose_answer_is_lost_is_a_refusal_and_the_token_is_spent() -> None:
    with RedisServer() as server:
        async with TcpProxy(server.port) as proxy:
            slow, direct = connect(f"redis://127.0.0.1:{proxy.port}"), connect(server.url)
            token, same = Token(slow, claims()), Token(direct, claims())
            same.keys, same.key = token.keys, token.key
            another = Token(direct, claims())
            for each in (another, token):
                await each.mint()
            await another.redeem()  # so that Redis knows the script
            proxy.delay_seconds = 2
            assert await token.refusal() == "unavailable"
            assert await same.record() == {"state": "redeemed", "session": "sess_other"}
            assert await same.refusal() == "token_used"
            await slow.aclose()
            await direct.aclose()


async def test_redeemed_becomes_spent_when_its_session_is_live(token: Token) -> None:
    is_live, _ = await (await token.redeem()).go_live()
    assert is_live
    assert await token.record() == {"state": "spent", "session": S}


async def test_a_session_revoked_before_it_was_live_learns_so(token: Token) -> None:
    redemption = await token.redeem()
    await token.revoke()
    is_live, _ = await redemption.go_live()
    assert not is_live
    assert (await token.record())["state"] == "revoked"


async def test_a_record_that_ran_out_does_not_stop_its_session(token: Token) -> None:
    redemption = await token.redeem()
    await token.redis.delete(token.key)
    is_live, _ = await redemption.go_live()
    assert is_live
    await redemption.end()
    assert not await redemption.give_back()
    assert await token.redis.dbsize() == 0


async def test_a_session_that_lost_its_token_to_another_does_not_spend_it(token: Token) -> None:
    first = await token.redeem()
    assert await first.give_back()
    await token.redeem("sess_second")
    await first.go_live()
    await first.end()
    assert not await first.give_back()
    assert await token.record() == {"state": "redeemed", "session": "sess_second", "gave_back": "1"}


# give back


async def test_a_token_goes_back_at_most_twice(token: Token) -> None:
    for number in (1, 2):
        assert await (await token.redeem()).give_back()
        assert await token.record() == {"state": "minted", "gave_back": str(number)}
    assert not await (await token.redeem()).give_back()
    assert await token.record() == {"state": "redeemed", "session": S, "gave_back": "2"}
    assert await token.refusal() == "token_used"


async def test_a_token_that_went_back_is_bound_as_before(token: Token) -> None:
    await (await token.redeem()).give_back()
    fields = await token.redis.hkeys(token.key)
    assert set(fields) == {b"state", b"sealed", b"origin", b"model", b"gave_back"}
    assert await token.refusal(origin=ELSEWHERE) == "origin_not_allowed"
    assert await token.refusal(target="gpt-realtime") == "model_mismatch"


async def test_a_token_goes_back_once_for_one_redemption(token: Token) -> None:
    redemption = await token.redeem()
    assert await redemption.give_back()
    assert not await redemption.give_back()
    assert await token.record() == {"state": "minted", "gave_back": "1"}


async def test_a_replayed_token_does_not_go_back(token: Token) -> None:
    redemption = await token.redeem()
    await token.refusal()
    assert not await redemption.give_back()
    assert await token.record() == {"state": "redeemed", "session": S, "replayed": "1"}


async def test_a_live_token_does_not_go_back(token: Token) -> None:
    redemption = await token.redeem()
    await redemption.go_live()
    assert not await redemption.give_back()
    assert (await token.record())["state"] == "spent"


async def test_a_revoked_token_does_not_go_back(token: Token) -> None:
    redemption = await token.redeem()
    await token.revoke()
    assert not await redemption.give_back()
    assert (await token.record())["state"] == "revoked"


# end


async def test_a_spent_token_s_session_ends(token: Token) -> None:
    await at_ended(token)
    assert await token.record() == {"state": "spent", "session": S, "ended": "1"}


async def test_the_end_of_a_session_that_was_never_live_or_of_another_marks_nothing(token: Token) -> None:
    redemption = await token.redeem()
    await redemption.end()
    assert await token.record() == {"state": "redeemed", "session": S}
    await redemption.go_live()
    await Redemption(token.redemptions, token.key, "sess_other", token.claims, 0).end()
    assert await token.record() == {"state": "spent", "session": S}


# time


async def test_no_step_prolongs_a_record_or_makes_it_stay(token: Token) -> None:
    left = [await token.redis.pttl(token.key)]
    redemption = await token.redeem()
    left.append(await token.redis.pttl(token.key))
    await redemption.give_back()
    left.append(await token.redis.pttl(token.key))
    redemption = await token.redeem()
    await token.refusal()
    left.append(await token.redis.pttl(token.key))
    await redemption.go_live()
    left.append(await token.redis.pttl(token.key))
    await redemption.end()
    left.append(await token.redis.pttl(token.key))
    assert left == sorted(left, reverse=True)
    assert left[-1] > 0


async def test_a_record_of_one_environment_is_none_in_another(token: Token) -> None:
    ticket = Ticket(token.keys, token.claims.expires_at, PAGE, None, True, "realtime", False, False)
    with pytest.raises(Refusal) as caught:
        await Redemptions(token.redis, "production").redeem(ticket, S, ADDRESS)
    assert caught.value.code == "token_expired"


async def test_without_redis_nothing_is_minted_redeemed_or_given_back() -> None:
    with RedisServer() as gone:
        redis = connect(gone.url)
        token = Token(redis, claims())
        await token.mint()
        redemption = await token.redeem()
    try:
        assert await token.refusal() == "unavailable"
        assert not await redemption.give_back()
        for step in (token.mint(), redemption.go_live(), redemption.end()):
            with pytest.raises(RedisUnavailable):
                await step
    finally:
        await redis.aclose()


def test_claims_survive_the_seal_unchanged() -> None:
    keys = TokenKeys.of(bytes(TOKEN_ID_BYTES))
    every_field = claims(reference_id="order-1", metadata={"a": "b"}, max_sessions_per_subject=3)
    assert keys.unseal(keys.seal(every_field, bytes(12))) == every_field
    assert msgspec.json.encode(every_field) not in keys.seal(every_field, bytes(12))
