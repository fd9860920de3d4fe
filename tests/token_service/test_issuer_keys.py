"""What is read of an issuer's metadata and keys, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.issuer import EcKey, Json, RsaKey, ec_key, encode, rsa_key
from token_service.issuer_keys import InvalidMetadata, check_issuer, discovery_url, keys_address, read_keys

ISSUER = "https://login.example/tenant/v2.0"
GOOD = rsa_key("one").jwk("good")


def metadata(**changes: object) -> Json:
    return {"issuer": ISSUER, "jwks_uri": "https://keys.example/jwks?v=1", "id_token_signing_alg": ["RS256"]} | changes


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://login.example", "https://login.example/.well-known/openid-configuration"),
        ("https://login.example/", "https://login.example/.well-known/openid-configuration"),
        ("https://login.example/t/v2.0", "https://login.example/t/v2.0/.well-known/openid-configuration"),
    ],
)
def test_where_the_metadata_is(issuer: str, url: str) -> None:
    assert discovery_url(issuer) == url
    assert check_issuer(issuer) == issuer  # with or without its slash, as the tokens name it


def test_the_keys_may_be_on_another_host() -> None:
    assert keys_address(metadata(), ISSUER) == "https://keys.example/jwks?v=1"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"issuer": f"{ISSUER}/"},
        {"issuer": "https://login.example/{tenantid}/v2.0"},
        {"issuer": None},
        {"jwks_uri": "http://keys.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "ftp://keys.example/"},
        {"jwks_uri": "//keys.example/jwks"},
        {"jwks_uri": "/jwks"},
        {"jwks_uri": "https://user:password@keys.example/jwks"},
        {"jwks_uri": "https://keys.example/jwks#fragment"},
        {"jwks_uri": "https://keys.example/ jwks"},
        {"jwks_uri": "https://keys.example/\r\nHost:evil"},
        {"jwks_uri": "https://keys.example/\x00"},
        {"jwks_uri": "https://kéys.example/"},
        {"jwks_uri": "https://["},
        {"jwks_uri": ""},
        {"jwks_uri": None},
        {"jwks_uri": ["https://keys.example/jwks"]},
    ],
)
def test_metadata_that_cannot_be_believed(changes: Json) -> None:
    with pytest.raises(InvalidMetadata):
        keys_address(metadata(**changes), ISSUER)


@pytest.mark.parametrize("document", [None, [], "text", 1, {}])
def test_metadata_is_an_object(document: object) -> None:
    with pytest.raises(InvalidMetadata):
        keys_address(document, ISSUER)


def test_without_tls_the_keys_may_come_without_tls_too() -> None:
    issuer = "http://127.0.0.1:9000"
    address = "http://127.0.0.1:9000/keys"
    assert keys_address({"issuer": issuer, "jwks_uri": address}, issuer) == address


def okp(**changes: Any) -> Json:
    public = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(public)} | changes


@pytest.mark.parametrize(
    ("jwk", "kind", "algorithm"),
    [
        (GOOD, "RSA", None),
        (rsa_key("one").jwk("good", alg="RS256", key_ops=["verify"]), "RSA", "RS256"),
        (rsa_key("one").jwk("good", x5c=["x"], x5t="y", issuer="z"), "RSA", None),
        (ec_key("one").jwk("good"), "P-256", None),
        (EcKey(ec.SECP384R1(), "P-384").jwk("good"), "P-384", None),
        (EcKey(ec.SECP521R1(), "P-521").jwk("good"), "P-521", None),
        (okp(), "Ed25519", None),
    ],
)
def test_public_signature_keys_are_read(jwk: Json, kind: str, algorithm: str | None) -> None:
    (key,) = read_keys({"keys": [jwk]})
    assert (key.kid, key.kind, key.algorithm) == (jwk["kid"], kind, algorithm)


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "kid": "shared", "k": encode(b"secret" * 8), "alg": "HS256"},
        rsa_key("one").jwk("for encryption") | {"use": "enc"},
        rsa_key("one").jwk("for encryption", key_ops=["wrapKey"]),
        RsaKey(1_024).jwk("short"),
        rsa_key("one").jwk("broken") | {"n": "!"},
        rsa_key("one").jwk("broken") | {"n": ""},
        rsa_key("one").jwk("broken") | {"n": 5},
        rsa_key("one").jwk("broken") | {"e": encode(b"\x01")},
        {"kty": "RSA", "kid": "empty"},
        ec_key("one").jwk("broken") | {"x": encode(bytes(32))},
        ec_key("one").jwk("broken") | {"crv": "P-384"},
        EcKey(ec.SECP256K1(), "secp256k1").jwk("odd curve"),
        okp(crv="Ed448"),
        okp(crv="X25519"),
        {"kty": "AKP", "kid": "of the future", "alg": "ML-DSA-44", "pub": "x"},
        {"kid": "no type"},
        {"kty": ["RSA"]},
        "text",
        None,
        [],
    ],
)
def test_what_cannot_be_used_is_left_out(jwk: object) -> None:
    (key,) = read_keys({"keys": [jwk, GOOD, jwk]})
    assert key.kid == "good"
    with pytest.raises(InvalidMetadata, match="no usable key"):
        read_keys({"keys": [jwk]})


def test_a_private_key_is_not_kept() -> None:
    """An issuer that publishes one has other worries, but it does not get into our memory."""
    d = rsa_key("one").private.private_numbers().d
    (key,) = read_keys({"keys": [GOOD | {"d": encode(d.to_bytes(256))}]})
    assert not hasattr(key.key, "private_numbers")


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [GOOD] * 101}])
def test_a_key_set_is_a_list_of_keys(document: object) -> None:
    with pytest.raises(InvalidMetadata):
        read_keys(document)
