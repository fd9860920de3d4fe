"""Redeeming a token, exactly once across any number of relays, and what becomes of its record afterwards.

Each step is one atomic script on one key (DESIGN: "Session token and Redis", the table of states). An unknown outcome
is a refusal and is never retried or given back: Redis may have counted it.
"""

from __future__ import annotations

from typing import Final

from relay.admission import Ticket
from service_kit.errors import Refusal
from service_kit.redis_client import RedisClient, RedisUnavailable, Script
from service_kit.session_token import Claims, InvalidToken
from service_kit.token_record import record_key

MAX_GIVE_BACKS: Final = 2
RETRY_AFTER_SECONDS: Final = 2

_REDEEM: Final = """
-- KEYS[1]  the token's record
-- ARGV     session id, digest of the Origin or '', digest of the model or '', digest of the address
-- returns  {'ok', sealed claims}, or {one of 'expired' 'used' 'revoked' 'origin' 'model'}
-- The state is judged before the Origin, so that a replay from elsewhere is seen as one.
local record = redis.call('HMGET', KEYS[1], 'state', 'origin', 'model', 'sealed')
local state = record[1]
if not state then return {'expired'} end
if state == 'revoked' then return {'revoked'} end
if state ~= 'minted' then
  redis.call('HSET', KEYS[1], 'replayed', 1)
  return {'used'}
end
if record[2] ~= '' and record[2] ~= ARGV[2] then return {'origin'} end
if ARGV[3] ~= '' and record[3] ~= ARGV[3] then return {'model'} end
redis.call('HSET', KEYS[1], 'state', 'redeemed', 'session', ARGV[1], 'first_origin', ARGV[2], 'first_address', ARGV[4])
return {'ok', record[4]}
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

_REFUSALS: Final = {
    b"expired": "token_expired",
    b"used": "token_used",
    b"revoked": "token_revoked",
    b"origin": "origin_not_allowed",
    b"model": "model_mismatch",
}


class Redemption:
    """One token redeemed by one session.

    Attributes:
        claims: what the token stands for.
    """

    def __init__(self, scripts: Redemptions, key: str, session_id: str, claims: Claims) -> None:
        self._scripts = scripts
        self._key = key
        self._session_id = session_id
        self.claims = claims

    async def go_live(self) -> bool:
        """The lock is confirmed: the token is spent for good. False if it was revoked meanwhile.

        Raises RedisUnavailable; the session then goes on under its lease.
        """
        return bool(await self._scripts.live(self._key, self._session_id) != b"revoked")

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
    """The scripts that change a token's state on behalf of a session."""

    def __init__(self, redis: RedisClient, environment: str) -> None:
        self._environment = environment
        self._redeem = Script(redis, _REDEEM)
        self.live = Script(redis, _GO_LIVE)
        self.back = Script(redis, _GIVE_BACK)
        self.over = Script(redis, _END)

    async def redeem(self, ticket: Ticket, session_id: str, address: str) -> Redemption:
        """Use the token, once. Raises Refusal; then nothing was spent, unless Redis did not answer."""
        keys = ticket.keys
        key = record_key(self._environment, keys.token_id)
        try:
            outcome = await self._redeem(
                key,
                session_id,
                keys.digest(ticket.origin) if ticket.origin else "",
                keys.digest(ticket.target) if ticket.target else "",
                keys.digest(address),
            )
        except RedisUnavailable as error:
            raise Refusal("unavailable", retry_after=RETRY_AFTER_SECONDS) from error
        if outcome[0] != b"ok":
            raise Refusal(_REFUSALS[outcome[0]])
        try:
            claims = keys.unseal(outcome[1])
        except InvalidToken as error:
            raise Refusal("invalid_token") from error
        return Redemption(self, key, session_id, claims)
