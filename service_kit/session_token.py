"""The session token: its text, what it stands for, and how both hide from whoever reads Redis.

The token carries a random id and its expiry, nothing else. The claims lie in Redis, sealed with a key that only the
id yields; the record's public name is derived one-way from the same id, so it can revoke a token and never redeem it.
Pure: times, ids and nonces are arguments.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar
from weakref import WeakValueDictionary

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from itsdangerous import BadData, TimestampSigner, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode, want_bytes

TOKEN_PREFIX: Final = "ek_"  # noqa: S105 - OpenAI's public prefix; browser SDKs refuse any other
TOKEN_ID_BYTES: Final = 24
MAX_TOKEN_SECONDS: Final = 300
MAX_TOKEN_CHARS: Final = 512
CLOCK_SKEW_SECONDS: Final = 5
TRANSCRIPTION_TARGET: Final = "intent=transcription"
_NONCE_BYTES: Final = 12
_SHA256: Final = SHA256()


class InvalidToken(Exception):
    """The text is not a token that we signed in this environment, or not in its canonical spelling."""


class TokenExpired(Exception):
    """The token is ours, but its time is over."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, weakref=True):
    """What one session may use; see :class:`service_kit.profiles.ProfileLimits` for ranges and meaning."""

    max_session_seconds: int
    max_input_audio_seconds: int
    max_total_tokens: int
    max_cost_usd: float | None
    max_output_tokens: int
    max_message_bytes: int
    max_messages_per_second: int
    audio_burst_seconds: int
    idle_seconds: int
    max_refused_events_per_minute: int


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a subject or tenant may use per UTC day; None is no limit, and money is in millionths of a dollar."""

    seconds: int | None = None
    tokens: int | None = None
    micro_usd: int | None = None

    @property
    def is_set(self) -> bool:
        """Whether it limits anything."""
        return (self.seconds, self.tokens, self.micro_usd) != (None, None, None)


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, weakref=True):
    """The session the server decided on, and what of it a browser may still set or see.

    ``session`` is OpenAI's session object (``type`` and ``model`` included); ``open_fields`` are dotted paths in it.
    ``client_events`` and ``client_content`` are the types of events and of message parts that a browser may send;
    ``beta_clients`` says whether one may speak the beta protocol.
    """

    session: dict[str, object]
    open_fields: frozenset[str]
    on_locked_field: Literal["narrow", "refuse"]
    hide: frozenset[str]
    client_events: frozenset[str]
    client_content: frozenset[str]
    beta_clients: bool = True

    @property
    def model(self) -> str:
        """The locked model."""
        return str(self.session["model"])

    @property
    def target(self) -> str:
        """What a client may name in the URL: the model, or that it wants a transcription."""
        return TRANSCRIPTION_TARGET if self.session["type"] == "transcription" else self.model


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a token stands for. Times are Unix seconds; ``origin`` None means not bound to one.

    ``trace`` is the place of its mint in a trace, as a ``traceparent``.
    """

    subject: str
    tenant: str
    anonymous: bool
    profile: str
    origin: str | None
    issued_at: int
    expires_at: int
    lock: Lock
    limits: Limits
    max_sessions_per_subject: int | None = None
    max_sessions_per_tenant: int | None = None
    subject_quota: Quota = Quota()
    tenant_quota: Quota = Quota()
    reference_id: str | None = None
    metadata: dict[str, str] = {}
    trace: str | None = None

    @property
    def config_sha256(self) -> str:
        """A fingerprint of lock and limits, for the receipt."""
        encoded = msgspec.json.encode((self.lock, self.limits), order="deterministic")
        return hashlib.sha256(encoded).hexdigest()


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """Everything that one token id yields; no further secret is involved (RFC 5869).

    Attributes:
        token_id: the record's public name; may revoke, never redeem.
    """

    token_id: str
    _seal_key: bytes = field(repr=False)
    _digest_key: bytes = field(repr=False)

    @classmethod
    def of(cls, token_secret: bytes) -> TokenKeys:
        """Derive name and keys from the random id inside the token."""
        extracted = HKDF.extract(_SHA256, None, token_secret)
        return cls(
            "tok_" + urlsafe_b64encode(_expand(extracted, b"name", 18)).decode(),
            _expand(extracted, b"seal", 32),
            _expand(extracted, b"digest", 32),
        )

    def seal(self, claims: Claims, nonce: bytes) -> bytes:
        """Encrypt the claims; ``nonce`` is 12 random bytes."""
        sealed = AESGCM(self._seal_key).encrypt(nonce, msgspec.json.encode(claims), self.token_id.encode())
        return nonce + sealed

    def unseal(self, sealed: bytes) -> Claims:
        """The claims of a sealed record. Raises InvalidToken when the record was altered or is another token's.

        What many tokens of a profile have in common, and nobody changes, is the same object in all that are in use.
        """
        try:
            plain = AESGCM(self._seal_key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.token_id.encode())
            claims = msgspec.json.decode(plain, type=Claims)
        except (InvalidTag, ValueError, msgspec.DecodeError) as error:
            raise InvalidToken from error
        return msgspec.structs.replace(claims, lock=_shared(claims.lock), limits=_shared(claims.limits))

    def digest(self, value: str) -> str:
        """A keyed digest, so that Redis can compare a value that it cannot read."""
        return hmac.digest(self._digest_key, value.encode(), "sha256").hex()[:32]


_Part = TypeVar("_Part", Lock, Limits)
_in_use: Final[WeakValueDictionary[bytes, Any]] = WeakValueDictionary()


def _shared(part: _Part) -> _Part:
    """One that is equal and in use already, or this one. Of what nobody uses any more nothing is kept."""
    digest = hashlib.sha256(msgspec.json.encode(part, order="deterministic")).digest()
    same: _Part = _in_use.setdefault(digest, part)
    return same


def _expand(extracted: bytes, label: bytes, length: int) -> bytes:
    return HKDFExpand(_SHA256, length, b"airlock/token/v1/" + label).derive(extracted)


@dataclass(frozen=True, slots=True)
class SessionToken:
    """A token that was proven ours: the random id, and when it expires (Unix seconds)."""

    secret: bytes = field(repr=False)
    expires_at: int


class SessionTokenCodec:
    """Turns a token into text and back, for one environment and a ring of signing keys.

    ``keys`` run from oldest to newest: the newest signs, every one verifies. The environment is part of the salt, so
    that a staging token fails in production.
    """

    def __init__(self, keys: Sequence[str], environment: str) -> None:
        self._salt = f"airlock/session-token/v1/{environment}"
        self.use_keys(keys)

    def use_keys(self, keys: Sequence[str]) -> None:
        """Go by this ring from now on; what a key that has left it signed is not ours any more."""
        self._serializer = _Serializer(
            list(keys),
            salt=self._salt,
            signer=_Signer,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        signer = self._serializer.make_signer(self._serializer.salt)
        assert isinstance(signer, _Signer)  # noqa: S101 - narrows itsdangerous' declared type
        self._signer = signer

    def encode(self, token: SessionToken, now: float) -> str:
        """The token's only accepted spelling, signed at ``now``."""
        self._signer.now = int(now)
        payload = self._serializer.dump_payload([base64_encode(token.secret).decode(), token.expires_at])
        return TOKEN_PREFIX + self._signer.sign(payload).decode()

    def decode(self, unverified: str, now: float) -> SessionToken:
        """Prove a token genuine and in time, without I/O.

        Two services' clocks may differ by 5 s; the exact end of a token's life is its record's, in Redis.
        Raises InvalidToken or TokenExpired.
        """
        if len(unverified) > MAX_TOKEN_CHARS or not unverified.isascii() or not unverified.startswith(TOKEN_PREFIX):
            raise InvalidToken
        signed = want_bytes(unverified.removeprefix(TOKEN_PREFIX))
        try:
            payload, issued_at = self._signer.unsign_at(signed)
            _require_canonical(signed)
            secret_text, expires_at = self._serializer.load_payload(payload)
            secret = base64_decode(secret_text)
        except (BadData, ValueError, TypeError) as error:
            raise InvalidToken from error
        if not isinstance(expires_at, int) or len(secret) != TOKEN_ID_BYTES:
            raise InvalidToken
        if issued_at > now + CLOCK_SKEW_SECONDS or expires_at - issued_at > MAX_TOKEN_SECONDS:
            raise InvalidToken
        if now >= expires_at + CLOCK_SKEW_SECONDS:
            raise TokenExpired
        return SessionToken(secret, expires_at)


class _Serializer(URLSafeSerializer):
    """itsdangerous' serializer, without the attempt to compress what is random: it costs more than signing does."""

    def dump_payload(self, obj: object) -> bytes:
        return base64_encode(msgspec.json.encode(obj))


class _Signer(TimestampSigner):
    """itsdangerous' timestamp signer with the clock as a value, so that minting is a pure function."""

    now: int = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._derived: dict[bytes, bytes] = {}

    def derive_key(self, secret_key: str | bytes | None = None) -> bytes:
        """The same for the same key, so it is derived once."""
        secret = self.secret_key if secret_key is None else want_bytes(secret_key)
        if secret not in self._derived:
            self._derived[secret] = super().derive_key(secret)
        return self._derived[secret]

    def get_timestamp(self) -> int:
        return self.now

    def unsign_at(self, signed: bytes) -> tuple[bytes, int]:
        """The payload and the Unix second of its signature. Raises BadSignature."""
        payload, at = self.unsign(signed, return_timestamp=True)
        return payload, int(at.timestamp())


def _require_canonical(signed: bytes) -> None:
    """Refuse other spellings of the same signature.

    base64 ignores the unused low bits of the last character, added padding and foreign characters, so one token has
    several texts that verify. Payload and timestamp are under the signature; only the signature's own text is not.
    """
    signature = signed.rpartition(b".")[2]
    if base64_encode(base64_decode(signature)) != signature:
        raise ValueError("not canonical")
