from __future__ import annotations

import secrets
import string
import weakref
from base64 import urlsafe_b64encode
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service_kit.session_token import (
    TOKEN_ID_BYTES,
    TOKEN_PREFIX,
    Claims,
    InvalidToken,
    SessionToken,
    SessionTokenCodec,
    TokenExpired,
    TokenKeys,
)
from service_kit.token_record import minted_fields, record_key
from tests.examples import KEY, NOW, OTHER_KEY, claims

SECRET = bytes(range(TOKEN_ID_BYTES))
TOKEN = SessionToken(SECRET, NOW + 300)
CODEC = SessionTokenCodec([KEY], "test")
TEXT = CODEC.encode(TOKEN, NOW)
NONCE = bytes(12)


def test_token_is_read_back() -> None:
    assert CODEC.decode(TEXT, NOW) == TOKEN
    assert TEXT.startswith(TOKEN_PREFIX)
    assert len(TEXT) <= 512


def test_token_shows_neither_key_nor_claims() -> None:
    assert KEY not in TEXT
    assert repr(TOKEN).count("secret") == 0


@pytest.mark.parametrize("index", range(len(TEXT)))
def test_any_changed_character_is_refused(index: int) -> None:
    for other in ("A", "b", "-", ".", "="):
        if TEXT[index] != other:
            with pytest.raises(InvalidToken):
                CODEC.decode(TEXT[:index] + other + TEXT[index + 1 :], NOW)


@pytest.mark.parametrize("last", sorted(set(string.ascii_letters + string.digits + "-_") - {TEXT[-1]}))
def test_another_spelling_of_the_last_character_is_refused(last: str) -> None:
    """base64 ignores the low bits of the last character, so some of these hold the very same signature."""
    with pytest.raises(InvalidToken):
        CODEC.decode(TEXT[:-1] + last, NOW)


@pytest.mark.parametrize(
    "alias",
    [
        TEXT + "=",
        TEXT + "==",
        TEXT + "\n",
        TEXT + " ",
        " " + TEXT,
        TEXT + "\0",
        TEXT + "!",
        TEXT.replace("ek_", "EK_"),
        TEXT.replace("ek_", "ek_ek_"),
        TEXT.replace("ek_", ""),
        TEXT.replace(".", "..", 1),
        TEXT[:-1],
        TEXT + "." + TEXT.rpartition(".")[2],
        "",
        "ek_",
        "ek_..",
        "ek_é",
        "ek_" + "a" * 10_000,
        "sk-proj-123",
    ],
)
def test_alias_or_nonsense_is_refused(alias: str) -> None:
    with pytest.raises(InvalidToken):
        CODEC.decode(alias, NOW)


def test_another_environment_s_token_is_refused() -> None:
    with pytest.raises(InvalidToken):
        SessionTokenCodec([KEY], "production").decode(TEXT, NOW)


def test_another_key_s_token_is_refused() -> None:
    with pytest.raises(InvalidToken):
        SessionTokenCodec([OTHER_KEY], "test").decode(TEXT, NOW)


def test_rotation_signs_with_the_newest_key_and_accepts_the_older() -> None:
    rotated = SessionTokenCodec([KEY, OTHER_KEY], "test")
    assert rotated.decode(TEXT, NOW) == TOKEN
    fresh = rotated.encode(TOKEN, NOW)
    assert SessionTokenCodec([OTHER_KEY], "test").decode(fresh, NOW) == TOKEN
    with pytest.raises(InvalidToken):
        CODEC.decode(fresh, NOW)


@pytest.mark.parametrize("now", [NOW - 5, NOW, NOW + 299, NOW + 304, NOW + 304.9])
def test_clocks_may_differ_by_five_seconds(now: float) -> None:
    assert CODEC.decode(TEXT, now) == TOKEN


@pytest.mark.parametrize("now", [NOW - 6, NOW - 301])
def test_a_token_from_the_future_is_refused(now: float) -> None:
    with pytest.raises(InvalidToken):
        CODEC.decode(TEXT, now)


@pytest.mark.parametrize("now", [NOW + 305, NOW + 601, NOW + 10**9])
def test_an_expired_token_is_told_apart(now: float) -> None:
    with pytest.raises(TokenExpired):
        CODEC.decode(TEXT, now)


@pytest.mark.parametrize("expires_at", [NOW + 301, NOW + 7_200, 2**62])
def test_a_signed_lifetime_over_five_minutes_is_refused(expires_at: int) -> None:
    text = CODEC.encode(SessionToken(SECRET, expires_at), NOW)
    with pytest.raises(InvalidToken):
        CODEC.decode(text, NOW)


@pytest.mark.parametrize("payload", [["short", NOW], ["", NOW], "text", [1, NOW], [None, None], {}, [], ["a"], None])
def test_a_signed_payload_of_another_shape_is_refused(payload: object) -> None:
    """Nobody but us signs; still, a bug of tomorrow must not become an exception here."""
    signer = CODEC._signer
    signer.now = NOW
    text = TOKEN_PREFIX + signer.sign(CODEC._serializer.dump_payload(payload)).decode()
    with pytest.raises(InvalidToken):
        CODEC.decode(text, NOW)


def test_ten_thousand_ids_give_ten_thousand_names() -> None:
    assert len({TokenKeys.of(secrets.token_bytes(TOKEN_ID_BYTES)).token_id for _ in range(10_000)}) == 10_000


def test_the_public_name_is_not_in_the_token_nor_the_token_in_the_name() -> None:
    keys = TokenKeys.of(SECRET)
    assert keys.token_id.startswith("tok_")
    assert keys.token_id.removeprefix("tok_") not in TEXT
    assert "key" not in repr(keys)


def test_the_keys_are_those_of_hkdf() -> None:
    """RFC 5869 without a salt; of it the first half is done once for all three."""

    def derived(label: bytes, length: int) -> bytes:
        return HKDF(SHA256(), length, None, b"airlock/token/v1/" + label).derive(SECRET)

    keys = TokenKeys.of(SECRET)
    assert keys.token_id == "tok_" + urlsafe_b64encode(derived(b"name", 18)).decode()
    assert keys._seal_key == derived(b"seal", 32)
    assert keys._digest_key == derived(b"digest", 32)


def test_claims_are_sealed_and_unsealed() -> None:
    keys = TokenKeys.of(SECRET)
    sealed = keys.seal(claims(), NONCE)
    assert keys.unseal(sealed) == claims()
    assert b"canary" not in sealed


def test_tokens_of_a_profile_share_lock_and_limits_for_as_long_as_they_are_in_use() -> None:
    def unsealed(number: int, **changes: Any) -> Claims:
        keys = TokenKeys.of(bytes([number]) * TOKEN_ID_BYTES)
        return keys.unseal(keys.seal(claims(**changes), NONCE))

    shorter = msgspec.structs.replace(claims().limits, max_session_seconds=11)
    one, same, other = unsealed(1), unsealed(2, subject="other"), unsealed(3, limits=shorter)
    assert one.lock is same.lock is other.lock
    assert one.limits is same.limits
    assert other.limits == shorter
    kept = [weakref.ref(part) for part in (one.lock, one.limits, other.limits)]
    del one, same, other
    assert [part() for part in kept] == [None, None, None]


def test_what_is_shared_is_what_was_sealed_also_where_python_calls_another_equal() -> None:
    keys, numbers = TokenKeys.of(SECRET), [1, 1.0, True]
    locks = [msgspec.structs.replace(claims().lock, session={"x": number}) for number in numbers]
    unsealed = [keys.unseal(keys.seal(claims(lock=lock), NONCE)) for lock in locks]
    assert [type(each.lock.session["x"]) for each in unsealed] == [int, float, bool]


def test_an_altered_record_is_refused() -> None:
    keys = TokenKeys.of(SECRET)
    sealed = keys.seal(claims(), NONCE)
    for index in range(0, len(sealed), 7):
        with pytest.raises(InvalidToken):
            keys.unseal(sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :])
    for cut in (b"", sealed[:5], sealed[:12], sealed[:-1]):
        with pytest.raises(InvalidToken):
            keys.unseal(cut)


def test_another_token_s_record_is_refused() -> None:
    sealed = TokenKeys.of(SECRET).seal(claims(), NONCE)
    with pytest.raises(InvalidToken):
        TokenKeys.of(SECRET[::-1]).unseal(sealed)


def test_the_name_is_under_the_seal() -> None:
    keys = TokenKeys.of(SECRET)
    moved = TokenKeys("tok_other", keys._seal_key, keys._digest_key)
    with pytest.raises(InvalidToken):
        moved.unseal(keys.seal(claims(), NONCE))


def test_digests_depend_on_the_token() -> None:
    keys, others = TokenKeys.of(SECRET), TokenKeys.of(SECRET[::-1])
    assert keys.digest("https://example.com") == keys.digest("https://example.com")
    assert keys.digest("https://example.com") != others.digest("https://example.com")


def test_record_shows_state_and_digests_only() -> None:
    keys = TokenKeys.of(SECRET)
    fields = minted_fields(keys, claims(), NONCE)
    assert fields.keys() == {"state", "sealed", "origin", "model"}
    assert fields["state"] == "minted"
    assert fields["origin"] == keys.digest("http://localhost:8080")
    assert minted_fields(keys, claims(origin=None), NONCE)["origin"] == ""
    assert record_key("test", keys.token_id) == f"airlock:test:token:{keys.token_id}"


def test_fingerprint_covers_lock_and_limits_and_nothing_else() -> None:
    usual = claims()
    limits = msgspec.structs.replace(usual.limits, max_total_tokens=1)
    assert usual.config_sha256 == claims(subject="other", origin=None).config_sha256
    assert usual.config_sha256 != claims(limits=limits).config_sha256


STEPS = [["old"], ["new", "old"], ["old", "new"], ["new"]]
"""Of docs/secrets.md: what each replica's ring is, before and after each."""


@pytest.mark.parametrize("step", range(len(STEPS) - 1))
@pytest.mark.parametrize(
    ("signer_is_late", "verifier_is_late"), [(False, False), (False, True), (True, False), (True, True)]
)
def test_the_documented_steps_are_safe_in_whatever_order_replicas_take_them(
    step: int, signer_is_late: bool, verifier_is_late: bool
) -> None:
    mint, relay = (
        SessionTokenCodec(STEPS[step if is_late else step + 1], "test")
        for is_late in (signer_is_late, verifier_is_late)
    )
    assert relay.decode(mint.encode(TOKEN, NOW), NOW) == TOKEN


def test_a_ring_may_change_while_a_codec_lives() -> None:
    codec = SessionTokenCodec(["old"], "test")
    of_before = codec.encode(TOKEN, NOW)
    codec.use_keys(["old", "new"])
    assert codec.decode(of_before, NOW) == TOKEN
    assert codec.encode(TOKEN, NOW) != of_before
    codec.use_keys(["new"])
    with pytest.raises(InvalidToken):
        codec.decode(of_before, NOW)


def test_to_begin_with_the_new_key_last_would_refuse_tokens() -> None:
    """Why the documented steps are those."""
    ahead, behind = SessionTokenCodec(["old", "new"], "test"), SessionTokenCodec(["old"], "test")
    with pytest.raises(InvalidToken):
        behind.decode(ahead.encode(TOKEN, NOW), NOW)
