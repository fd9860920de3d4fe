"""The Redis record of one token: its key, its fields, and what each may reveal.

One hash per token at ``airlock:<environment>:token:<token_id>``, with the token's own lifetime as TTL. Outside the seal
stand only:

========== ==========================================================================================
state      ``minted``, ``redeemed``, ``spent`` or ``revoked`` (DESIGN: "Session token and Redis")
sealed     the claims, encrypted with a key that only the token yields
origin     keyed digest of the bound Origin; empty when unbound
model      keyed digest of the locked model (or of ``intent=transcription``)
session    id of the session that redeemed it
gave_back  how often it went back from ``redeemed`` to ``minted``
ended      1 when the session that spent it is over
replayed   1 when it was presented again
first_origin, first_address   keyed digests of who redeemed it first
========== ==========================================================================================
"""

from __future__ import annotations

from service_kit.session_token import Claims, TokenKeys


def record_key(environment: str, token_id: str) -> str:
    """The Redis key of a token's record."""
    return f"airlock:{environment}:token:{token_id}"


def minted_fields(keys: TokenKeys, claims: Claims, nonce: bytes) -> dict[str, str | bytes]:
    """The fields of a fresh record; ``nonce`` is 12 random bytes."""
    return {
        "state": "minted",
        "sealed": keys.seal(claims, nonce),
        "origin": keys.digest(claims.origin) if claims.origin else "",
        "model": keys.digest(claims.lock.target),
    }
