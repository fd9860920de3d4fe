"""Whatever happens to tokens in whatever order: after each step record and answer are those of the table of states.

The model below is a second writing of that table (DESIGN: "Session token and Redis"), in Python instead of Lua. Steps
come in any order, also from sessions whose turn is over: a relay that lags behind must not harm a token either.
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from local_cloud.redis_server import RedisServer
from relay.admission import Ticket
from relay.redemption import Redemption, Redemptions, Replay, TokenUsed
from service_kit.errors import Refusal
from service_kit.redis_client import RedisClient
from service_kit.revocation import Revocations
from service_kit.session_token import TOKEN_ID_BYTES, TokenKeys
from service_kit.token_record import record_key
from tests.examples import PAGE, claims
from tests.redis_cluster import client_of
from token_service.token_store import TokenStore

ENVIRONMENT = "development"
ELSEWHERE = "https://evil.example"
MODEL = "gpt-realtime-2.1"
OTHER_MODEL = "gpt-realtime"
ADDRESSES = ("203.0.113.7", "2001:db8::7")
MOST_GIVE_BACKS = 2
LIFETIME_MS = 300_000
SELDOM = st.sampled_from([False, False, False, True])


@dataclass
class Record:
    """What the table of states says of one token."""

    origin: str | None
    """The Origin it is bound to."""
    exists: bool = True
    state: str = "minted"
    session: str | None = None
    first_origin: str | None = None
    first_address: str = ""
    gave_back: int = 0
    replayed: bool = False
    ended: bool = False

    def redeem(self, session: str, origin: str | None, target: str | None, address: str) -> str:
        """The answer: ``ok``, or the code of the refusal."""
        if not self.exists:
            return "token_expired"
        if self.state == "revoked":
            return "token_revoked"
        if self.state != "minted":
            self.replayed = True
            return "token_used"
        if self.origin is not None and origin != self.origin:
            return "origin_not_allowed"
        if target not in (None, MODEL):
            return "model_mismatch"
        self.state, self.session, self.first_origin, self.first_address = "redeemed", session, origin, address
        return "ok"

    def go_live(self, session: str) -> bool:
        """The answer: whether the session may be live."""
        if self.exists and self.state == "revoked":
            return False
        if self._is("redeemed", session):
            self.state = "spent"
        return True

    def give_back(self, session: str) -> bool:
        """The answer: whether the token can be redeemed again."""
        if not self._is("redeemed", session) or self.replayed or self.gave_back == MOST_GIVE_BACKS:
            return False
        self.state, self.session, self.first_origin, self.first_address = "minted", None, None, ""
        self.gave_back += 1
        return True

    def replay(self, origin: str | None, address: str) -> Replay:
        """What is told of a used token that came again."""
        assert self.session is not None
        is_live = self.state == "spent" and not self.ended
        return Replay(self.session, is_live, (origin, address) != (self.first_origin, self.first_address))

    def end(self, session: str) -> None:
        """The session is over."""
        if self._is("spent", session):
            self.ended = True

    def revoke(self) -> None:
        """An operator's doing."""
        self.state = "revoked"

    def _is(self, state: str, session: str) -> bool:
        return self.exists and (self.state, self.session) == (state, session)


@dataclass(eq=False)
class Token:
    """One minted token: its keys, what the model says of it, and what sessions were told of it."""

    keys: TokenKeys
    model: Record
    sealed: bytes
    ttl_ms: int = LIFETIME_MS
    told_live: set[str] = field(default_factory=set)
    holders: set[str] = field(default_factory=set)
    """The sessions it was given to that did not give it back."""

    @property
    def key(self) -> str:
        return record_key(ENVIRONMENT, self.keys.token_id)

    def fields(self) -> dict[str, str]:
        """The whole record that the model expects in Redis, but for the seal."""
        model = self.model
        if not model.exists:
            return {}
        expected = {
            "state": model.state,
            "origin": self.keys.digest(model.origin) if model.origin else "",
            "model": self.keys.digest(MODEL),
        }
        if model.session is not None:
            expected["session"] = model.session
            expected["first_origin"] = self.keys.digest(model.first_origin) if model.first_origin else ""
            expected["first_address"] = self.keys.digest(model.first_address)
        counts = {"gave_back": model.gave_back, "replayed": int(model.replayed), "ended": int(model.ended)}
        return expected | {name: str(count) for name, count in counts.items() if count}


@dataclass(eq=False)
class Admitted:
    """One session that was given a token."""

    token: Token
    session: str
    redemption: Redemption


class TokenStates(RuleBasedStateMachine):
    """Two relays, a token service and an operator do what they like; Redis must end up where the model does."""

    server: RedisServer
    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clients = [client_of(self.server), client_of(self.server)]
        self.relays = [Redemptions(redis, ENVIRONMENT) for redis in self.clients]
        self.minted: list[Token] = []
        self.latest: Admitted | None = None
        self.count = 0

    @property
    def redis(self) -> RedisClient:
        return self.clients[0]

    @initialize()
    def first_mint(self) -> None:
        self.mint_one(PAGE)

    @precondition(lambda self: not self.token.model.exists or self.token.model.state in ("spent", "revoked"))
    @rule(origin=st.sampled_from([PAGE, None]))
    def mint(self, origin: str | None) -> None:
        """Sessions of the tokens before go on beside it."""
        self.mint_one(origin)

    @property
    def token(self) -> Token:
        """The newest: what clients redeem."""
        return self.minted[-1]

    def mint_one(self, origin: str | None) -> None:
        keys = TokenKeys.of(secrets.token_bytes(TOKEN_ID_BYTES))
        whose, nonce = claims(origin=origin), secrets.token_bytes(12)
        self.runner.run(TokenStore(self.redis, ENVIRONMENT).put(keys, whose, nonce))
        self.minted.append(Token(keys, Record(origin), keys.seal(whose, nonce)))

    @rule(target=sessions, relay=st.sampled_from([0, 1]), address=st.sampled_from(ADDRESSES))
    def redeem(self, relay: int, address: str) -> Any:
        return self.redeem_from(relay, PAGE, None, address)

    @rule(
        target=sessions,
        relay=st.sampled_from([0, 1]),
        origin=st.sampled_from([PAGE, ELSEWHERE, None]),
        target_=st.sampled_from([None, MODEL, OTHER_MODEL]),
        address=st.sampled_from(ADDRESSES),
    )
    def redeem_from_anywhere(self, relay: int, origin: str | None, target_: str | None, address: str) -> Any:
        return self.redeem_from(relay, origin, target_, address)

    def redeem_from(self, relay: int, origin: str | None, target: str | None, address: str) -> Any:
        token = self.token
        self.count += 1
        session = f"sess_{self.count}"
        ticket = Ticket(token.keys, 0, origin, target, True, "realtime", False, False)
        expected = token.model.redeem(session, origin, target, address)
        redeeming = self.relays[relay].redeem(ticket, session, address)
        if expected != "ok":
            with pytest.raises(Refusal) as caught:
                self.runner.run(redeeming)
            assert caught.value.code == expected
            if isinstance(caught.value, TokenUsed):
                assert caught.value.replay == token.model.replay(origin, address)
            return multiple()
        redemption = self.runner.run(redeeming)
        assert redemption.claims == claims(origin=token.model.origin)
        token.holders.add(session)
        self.latest = Admitted(token, session, redemption)
        return self.latest

    # Any session may do these at any time; the one that was admitted last does them often.

    @rule(admitted=sessions)
    def go_live(self, admitted: Admitted) -> None:
        self.go_live_as(admitted)

    @precondition(lambda self: self.latest is not None)
    @rule()
    def latest_goes_live(self) -> None:
        assert self.latest is not None
        self.go_live_as(self.latest)

    def go_live_as(self, admitted: Admitted) -> None:
        token, session = admitted.token, admitted.session
        may, _ = self.runner.run(admitted.redemption.go_live())
        assert may == token.model.go_live(session)
        if may:
            token.told_live.add(session)

    @rule(admitted=sessions)
    def give_back(self, admitted: Admitted) -> None:
        self.give_back_as(admitted)

    @precondition(lambda self: self.latest is not None)
    @rule()
    def latest_gives_back(self) -> None:
        assert self.latest is not None
        self.give_back_as(self.latest)

    def give_back_as(self, admitted: Admitted) -> None:
        token, session = admitted.token, admitted.session
        went_back = self.runner.run(admitted.redemption.give_back())
        assert went_back == token.model.give_back(session)
        if went_back:
            token.holders.remove(session)

    @rule(admitted=sessions)
    def end(self, admitted: Admitted) -> None:
        self.runner.run(admitted.redemption.end())
        admitted.token.model.end(admitted.session)

    @rule(admitted=consumes(sessions))
    def crash(self, admitted: Admitted) -> None:
        """The session's relay is gone: nothing more is ever heard of it."""
        if self.latest is admitted:
            self.latest = None

    @precondition(lambda self: self.token.model.exists)
    @rule(is_time=SELDOM)
    def revoke(self, is_time: bool) -> None:
        if is_time:
            self.runner.run(Revocations(self.redis, ENVIRONMENT).revoke_token(self.token.keys.token_id))
            self.token.model.revoke()

    @rule(is_time=SELDOM)
    def expire(self, is_time: bool) -> None:
        if is_time:
            self.runner.run(self.delete(self.token))
            self.token.model.exists = False

    async def delete(self, token: Token) -> None:
        await self.redis.delete(token.key)

    @invariant()
    def each_record_is_the_model_s(self) -> None:
        for token in self.minted:
            found, ttl_ms = self.runner.run(self.look(token))
            sealed = found.pop(b"sealed", None)
            assert {name.decode(): value.decode() for name, value in found.items()} == token.fields()
            if token.model.exists:
                assert sealed == token.sealed
                assert 0 < ttl_ms <= token.ttl_ms, "the record's time grew, or was taken off"
                token.ttl_ms = ttl_ms
            else:
                assert ttl_ms == -2, "an expired record came back"

    async def look(self, token: Token) -> tuple[dict[bytes, bytes], int]:
        fields: dict[Any, Any] = await self.redis.hgetall(token.key)
        return fields, int(await self.redis.pttl(token.key))

    @invariant()
    def no_token_is_held_twice(self) -> None:
        for token in self.minted:
            assert len(token.holders) <= 1
            assert len(token.told_live) <= 1 + token.model.gave_back
            assert token.model.gave_back <= MOST_GIVE_BACKS

    def teardown(self) -> None:
        with self.runner:
            for client in self.clients:
                self.runner.run(client.aclose())


def run_many(server: RedisServer, *, examples: int, steps: int) -> None:
    machine = type("TokenStatesOfOneServer", (TokenStates,), {"server": server})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


@pytest.mark.usefixtures("unhurried")
def test_after_any_steps_each_record_and_answer_is_that_of_the_table_of_states(server: RedisServer) -> None:
    run_many(server, examples=100, steps=30)


@pytest.mark.soak
@pytest.mark.usefixtures("unhurried")
def test_after_many_more_steps_each_record_and_answer_is_that_of_the_table_of_states(server: RedisServer) -> None:
    run_many(server, examples=500, steps=80)
