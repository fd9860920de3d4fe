"""Redeeming a token, exactly once across any number of relays, and what becomes of its record afterwards.

Each step is one atomic script on one key (DESIGN: "Session token and Redis", the table of states). An unknown outcome
is a refusal and is never retried or given back: Redis may have counted it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from relay.admission import Ticket
from service_kit.errors import Refusal, Retry
from service_kit.redis_asking import Question
from service_kit.redis_client import RedisClient, RedisUnavailable, Script
from service_kit.session_token import Claims, InvalidToken
from service_kit.token_record import record_key

MAX_GIVE_BACKS: Final = 2
RETRY_AFTER_SECONDS: Final = 2

_REDEEM: Final = """
-- KEYS[1]  the token's record
-- ARGV     session id, digest of the Origin or '', digest of the model or '', digest of the address
-- returns  {'ok', sealed claims, Redis' clock in milliseconds, the record's time left in milliseconds},
--          {'used', session that redeemed it, 1 if that is live, 1 if it came from elsewhere},
--          or {one of 'expired' 'revoked' 'origin' 'model'}
-- The state is judged before the Origin, so that a replay from elsewhere is seen as one.
local record = redis.call('HMGET', KEYS[1], 'state', 'origin', 'model', 'sealed')
local state = record[1]
if not state then return {'expired'} end
if state == 'revoked' then return {'revoked'} end
if state ~= 'minted' then
  redis.call('HSET', KEYS[1], 'replayed', 1)
  local first = redis.call('HMGET', KEYS[1], 'session', 'ended', 'first_origin', 'first_address')
  local is_live = state == 'spent' and not first[2]
  local is_elsewhere = first[3] ~= ARGV[2] or first[4] ~= ARGV[4]
  return {'used', first[1], is_live and 1 or 0, is_elsewhere and 1 or 0}
end
if record[2] ~= '' and record[2] ~= ARGV[2] then return {'origin'} end
if ARGV[3] ~= '' and record[3] ~= ARGV[3] then return {'model'} end
redis.call('HSET', KEYS[1], 'state', 'redeemed', 'session', ARGV[1], 'first_origin', ARGV[2], 'first_address', ARGV[4])
local time = redis.call('TIME')
return {'ok', record[4], time[1] * 1000 + math.floor(time[2] / 1000), redis.call('PTTL', KEYS[1])}
"""

_GO_LIVE: Final = """
-- KEYS[1]  the token's record          ARGV  session id
-- returns  'revoked' if an operator was faster, else 'ok' (also when the record's time was over meanwhile)
local record = redis.call('HMGET', KEYS[1], 'state', 'session')
if record[1] == 'revoked' then return 'revoked' end
if record[1] == 'redeemed' and record[2] == ARGV[1] then redis.call('HSET', KEYS[1], 'state', 'spent') end
return 'ok'
"""

_GIVE_BACK: Final = """
-- KEYS[1]  the token's record          ARGV  session id, how often a token may go back
-- returns  1 if the token can be redeemed again, else 0
local record = redis.call('HMGET', KEYS[1], 'state', 'session', 'replayed', 'gave_back')
if record[1] ~= 'redeemed' or record[2] ~= ARGV[1] or record[3] then return 0 end
if tonumber(record[4] or '0') >= tonumber(ARGV[2]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'gave_back', 1)
redis.call('HSET', KEYS[1], 'state', 'minted')
redis.call('HDEL', KEYS[1], 'session', 'first_origin', 'first_address')
return 1
"""

_END: Final = """
-- KEYS[1]  the token's record          ARGV  session id
-- marks the token's session as over, so that a later replay is no alarm
local record = redis.call('HMGET', KEYS[1], 'state', 'session')
if record[1] == 'spent' and record[2] == ARGV[1] then redis.call('HSET', KEYS[1], 'ended', 1) end
"""

_IS_LIVE: Final = """
-- KEYS[1]  the token's record          ARGV  session id
-- returns  1 if this session spent the token and is not over, as far as Redis was told
local record = redis.call('HMGET', KEYS[1], 'state', 'session', 'ended')
if record[1] == 'spent' and record[2] == ARGV[1] and not record[3] then return 1 end
return 0
"""

_REFUSALS: Final = {
    b"expired": "token_expired",
    b"revoked": "token_revoked",
    b"origin": "origin_not_allowed",
    b"model": "model_mismatch",
}


@dataclass(frozen=True, slots=True)
class Replay:
    """A used token that came again.

    Attributes:
        session_id: the session that redeemed it first.
        is_live: that session is live, as far as Redis was told.
        is_elsewhere: it came from another Origin or address than the first time.
    """

    session_id: str
    is_live: bool
    is_elsewhere: bool


class TokenUsed(Refusal):
    """``token_used``, and what is known of both times."""

    def __init__(self, replay: Replay) -> None:
        super().__init__("token_used")
        self.replay = replay


class Redemption:
    """One token redeemed by one session.

    Attributes:
        claims: what the token stands for.
        minted_ms: when it was minted, by Redis' clock.
    """

    def __init__(self, scripts: Redemptions, key: str, session_id: str, claims: Claims, minted_ms: int) -> None:
        self._scripts = scripts
        self._key = key
        self._session_id = session_id
        self.claims = claims
        self.minted_ms = minted_ms

    async def go_live(self, *along: Question) -> tuple[bool, list[Any]]:
        """The lock is confirmed: the token is spent for good. False if it was revoked meanwhile.

        Beside it the answers to what is asked ``along``. Raises RedisUnavailable; the session then goes on under its
        lease.
        """
        state, *answers = await self._scripts.redis.ask_all(
            self._scripts.live.question(self._key, self._session_id), *along
        )
        return state != b"revoked", answers

    async def give_back(self) -> bool:
        """Make the token redeemable again, because its session never became live; False if it may not be."""
        try:
            return bool(await self._scripts.back(self._key, self._session_id, MAX_GIVE_BACKS) == 1)
        except RedisUnavailable:
            return False

    async def end(self) -> None:
        """Note that the session is over. Raises RedisUnavailable; the record then runs out by itself."""
        await self._scripts.over(self._key, self._session_id)


class Redemptions:
    """The scripts that change a token's state on behalf of a session.

    ``wait_replicas`` is how many replicas must confirm a redemption before it admits anybody.
    """

    def __init__(self, redis: RedisClient, environment: str, wait_replicas: int = 0) -> None:
        self._environment = environment
        self._wait_replicas = wait_replicas
        self.redis = redis
        self._redeem = Script(redis, _REDEEM)
        self.live = Script(redis, _GO_LIVE)
        self.back = Script(redis, _GIVE_BACK)
        self.over = Script(redis, _END)
        self._is_live = Script(redis, _IS_LIVE)

    async def redeem(self, ticket: Ticket, session_id: str, address: str) -> Redemption:
        """Use the token, once. Raises Refusal, TokenUsed; then nothing was spent, unless Redis did not answer."""
        keys = ticket.keys
        key = record_key(self._environment, keys.token_id)
        arguments = (
            session_id,
            keys.digest(ticket.origin) if ticket.origin else "",
            keys.digest(ticket.target) if ticket.target else "",
            keys.digest(address),
        )
        try:
            if self._wait_replicas:
                outcome, is_confirmed = await self._redeem.confirmed(self._wait_replicas, key, *arguments)
            else:
                outcome, is_confirmed = await self._redeem(key, *arguments), True
        except RedisUnavailable as error:
            raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS) from error
        if outcome[0] == b"used":
            raise TokenUsed(Replay(outcome[1].decode(), is_live=bool(outcome[2]), is_elsewhere=bool(outcome[3])))
        if outcome[0] != b"ok":
            raise Refusal(_REFUSALS[outcome[0]])
        if not is_confirmed:  # spent all the same: a replica may know of it, and must not be contradicted
            raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS, retry=Retry.NEW_TOKEN)
        try:
            claims = keys.unseal(outcome[1])
        except InvalidToken as error:
            raise Refusal("invalid_token") from error
        # The record was made with the token's lifetime as its own, so what is left of it tells its age by Redis' clock.
        lived_ms = (claims.expires_at - claims.issued_at) * 1000 - int(outcome[3])
        return Redemption(self, key, session_id, claims, minted_ms=int(outcome[2]) - lived_ms)

    async def is_live(self, token_id: str, session_id: str) -> bool:
        """Whether the session that spent this token goes on. Raises RedisUnavailable."""
        return bool(await self._is_live(record_key(self._environment, token_id), session_id))
