"""What an OIDC issuer publishes: its metadata, and the public keys that its tokens are signed with. Pure.

Only public signature keys come out of here, each with what it may be used for, so that no token can choose how it is
checked (RFC 8725 §3.1). What cannot be used is left out: issuers publish keys for other purposes too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import InvalidKeyError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2_048
MAX_RSA_BITS: Final = 8_192

KEY_KIND: Final = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}
"""Every algorithm there can be, with the one kind of key that it works with. All have a public and a private half:
with a shared secret, or none, whoever can check a token could make one."""


class InvalidMetadata(ValueError):
    """What the issuer published cannot be used; the text is for our log."""


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One public key; ``kind`` is a value of :data:`KEY_KIND`, ``algorithm`` the only one it is for, if it says so."""

    kid: str | None
    kind: str
    algorithm: str | None
    key: PublicKey

    def fits(self, algorithm: str) -> bool:
        """Whether a token signed with ``algorithm`` may be checked with this key."""
        return KEY_KIND[algorithm] == self.kind and self.algorithm in (None, algorithm)


def discovery_url(issuer: str) -> str:
    """Where the issuer's metadata is (OpenID Connect Discovery 1.0 §4)."""
    return issuer.removesuffix("/") + DISCOVERY_PATH


def check_issuer(issuer: str) -> str:
    """The issuer as it was given: tokens name it letter by letter. Raises ValueError, which does not repeat it."""
    if not _is_address(issuer):
        raise ValueError("must be a URL such as https://login.example.com/, without credentials, query or fragment")
    return issuer


def keys_address(metadata: object, issuer: str) -> str:
    """The address of the issuer's keys, from its decoded metadata. Raises InvalidMetadata.

    The metadata must name the very issuer that was asked (OpenID Connect Discovery 1.0 §4.3), and nobody on the way may
    change the keys of an issuer that was asked with TLS.
    """
    try:
        read = msgspec.convert(metadata, type=_Metadata)
    except msgspec.ValidationError as error:
        raise InvalidMetadata("the metadata has no issuer and jwks_uri") from error
    if read.issuer != issuer:
        raise InvalidMetadata("the metadata names another issuer")
    address = read.jwks_uri
    if not _is_address(address, query=True) or (issuer.startswith("https:") and not address.startswith("https:")):
        raise InvalidMetadata("jwks_uri is not an address with TLS")
    return address


def read_keys(document: object) -> tuple[IssuerKey, ...]:
    """The usable keys of a decoded JWKS (RFC 7517). Raises InvalidMetadata if there is none."""
    try:
        published = msgspec.convert(document, type=_Jwks).keys
    except msgspec.ValidationError as error:
        raise InvalidMetadata("the key set is not a JWKS") from error
    keys = tuple(key for item in published if (key := _read_key(item)) is not None)
    if not keys:
        raise InvalidMetadata("the key set has no usable key")
    return keys


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _Jwks(msgspec.Struct):
    keys: Annotated[list[object], msgspec.Meta(max_length=MAX_KEYS)]


class _Jwk(msgspec.Struct):
    kty: str
    kid: str | None = None
    use: str | None = None
    key_ops: list[str] | None = None
    alg: str | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None


# For each key type, the members of its public half: nothing else of a published key is read.
_READERS: Final[dict[str, tuple[Callable[[dict[str, str]], object], Sequence[str]]]] = {
    "RSA": (RSAAlgorithm.from_jwk, ("n", "e")),
    "EC": (ECAlgorithm.from_jwk, ("crv", "x", "y")),
    "OKP": (OKPAlgorithm.from_jwk, ("crv", "x")),
}
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def _read_key(item: object) -> IssuerKey | None:
    try:
        jwk = msgspec.convert(item, type=_Jwk)
        reader, members = _READERS[jwk.kty]
        key = reader({"kty": jwk.kty, **{name: getattr(jwk, name) or "" for name in members}})
    except (msgspec.ValidationError, KeyError, InvalidKeyError, ValueError):
        return None
    is_for_signatures = jwk.use in (None, "sig") and (jwk.key_ops is None or "verify" in jwk.key_ops)
    if not is_for_signatures or not isinstance(key, PublicKey):
        return None
    kind = _kind(key)
    return IssuerKey(jwk.kid, kind, jwk.alg, key) if kind else None


def _kind(key: PublicKey) -> str | None:
    if isinstance(key, RSAPublicKey):
        return "RSA" if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS else None
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name)
    return "Ed25519"


def _is_address(url: str, *, query: bool = False) -> bool:
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return (
        has_place
        and parts.scheme in ("https", "http")
        and "@" not in parts.netloc
        and not parts.fragment
        and (query or not parts.query)
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )
