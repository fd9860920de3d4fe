"""What a token must say, and be signed with, to be believed. The signatures are real."""

from __future__ import annotations

import base64
import hmac
import json
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import NOW
from tests.issuer import AUDIENCE, EcKey, Json, RsaKey, assemble, claims_of, ec_key, encode, rsa_key
from token_service.identity import Identity, IdentityRules, InvalidIdentity, UnknownKey, check_claim, verify
from token_service.issuer_keys import read_keys

ISSUER = "https://login.example/"
KEYS = read_keys({"keys": [rsa_key("one").jwk("rsa-1"), ec_key("one").jwk("ec-1")]})
HEADER: Json = {"alg": "RS256", "typ": "JWT", "kid": "rsa-1"}
ALICE = Identity(subject="alice", tenant="oidc")


def rules(**changes: Any) -> IdentityRules:
    usual: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": frozenset({AUDIENCE, "another-name-of-ours"}),
        "algorithms": frozenset({"RS256", "ES256"}),
        "tenant": "oidc",
    }
    return IdentityRules(**usual | changes)


def token(header: Json | bytes = HEADER, key: RsaKey | EcKey | None = None, **changes: Any) -> str:
    return assemble(header, claims_of(ISSUER, NOW, **changes), (key or rsa_key("one")).sign)


def judge(text: str, now: float = NOW, **changes: Any) -> Identity:
    return verify(text, KEYS, rules(**changes), now)


def refused(text: str, now: float = NOW, **changes: Any) -> str:
    with pytest.raises(InvalidIdentity) as caught:
        judge(text, now, **changes)
    return caught.value.reason


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (HEADER, rsa_key("one")),
        ({"alg": "ES256", "kid": "ec-1"}, ec_key("one")),
        ({"alg": "RS256"}, rsa_key("one")),  # the only key that fits needs no name
        (HEADER | {"typ": "at+jwt"}, rsa_key("one")),
        (HEADER | {"typ": "application/AT+JWT"}, rsa_key("one")),
    ],
)
def test_a_good_token_names_its_subject(header: Json, key: RsaKey | EcKey) -> None:
    assert judge(token(header, key)) == ALICE


def test_a_token_signed_by_somebody_else_is_refused() -> None:
    assert refused(token(key=rsa_key("attacker"))) == "signature"
    assert refused(token({"alg": "ES256", "kid": "ec-1"}, ec_key("attacker"))) == "signature"


def test_one_changed_character_makes_it_invalid() -> None:
    good = token()
    for place in range(0, len(good), 7):
        other = "A" if good[place] != "A" else "B"
        with pytest.raises(InvalidIdentity):
            judge(good[:place] + other + good[place + 1 :])


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 0, [], ["RS256"], {"RS256": 1}, "rs256"])
@pytest.mark.parametrize("signature", ["", "c2ln"])
def test_no_algorithm_is_no_signature(alg: object, signature: str) -> None:
    unsigned = assemble(HEADER | {"alg": alg}, claims_of(ISSUER, NOW), lambda _: b"").removesuffix(".")
    assert refused(f"{unsigned}.{signature}") == "algorithm"


@pytest.mark.parametrize("name", ["pem", "pkcs1", "der", "jwk"])
def test_a_public_key_is_no_shared_secret(name: str) -> None:
    """The classic: HS256 with the issuer's public key, in whatever form a library might take it, as the secret."""
    public = rsa_key("one").private.public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "pkcs1": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(rsa_key("one").jwk("rsa-1")).encode(),
    }[name]
    forged = assemble(
        HEADER | {"alg": "HS256"}, claims_of(ISSUER, NOW), lambda data: hmac.new(secret, data, sha256).digest()
    )
    assert refused(forged) == "algorithm"
    # not even where the operator's rules were wrong
    assert refused(forged, algorithms=frozenset({"HS256", "RS256"})) == "algorithm"


def test_an_algorithm_that_is_not_allowed_is_refused_though_the_signature_is_right() -> None:
    assert refused(token(), algorithms=frozenset({"ES256"})) == "algorithm"


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ({"alg": "ES256", "kid": "rsa-1"}, rsa_key("one")),
        ({"alg": "ES256", "kid": "rsa-1"}, ec_key("one")),
        ({"alg": "RS256", "kid": "ec-1"}, ec_key("one")),
        ({"alg": "RS256", "kid": "ec-1"}, rsa_key("one")),
    ],
)
def test_an_algorithm_that_is_not_the_key_s_is_refused(header: Json, key: RsaKey | EcKey) -> None:
    assert refused(token(header, key)) == "key"


def test_a_key_that_says_its_algorithm_is_for_no_other() -> None:
    keys = read_keys({"keys": [rsa_key("one").jwk("rsa-1", alg="RS512")]})
    with pytest.raises(InvalidIdentity, match="key"):
        verify(token(), keys, rules(), NOW)


@pytest.mark.parametrize("kid", ["rsa-2", "", "RSA-1", "rsa-1 ", "../rsa-1", "rsa-1\x00", "' OR 1=1", "é"])
def test_an_unknown_key_is_told_apart(kid: str) -> None:
    with pytest.raises(UnknownKey):
        judge(token(HEADER | {"kid": kid}))


@pytest.mark.parametrize("kid", [1, [], ["rsa-1"], {"rsa-1": 1}, True])
def test_a_key_s_name_is_a_text(kid: object) -> None:
    assert refused(token(HEADER | {"kid": kid})) == "key"


def test_without_a_name_there_must_be_one_key_that_fits() -> None:
    keys = read_keys({"keys": [rsa_key("one").jwk("rsa-1"), rsa_key("two").jwk("rsa-2")]})
    with pytest.raises(InvalidIdentity, match="key"):
        verify(token({"alg": "RS256"}), keys, rules(), NOW)


def test_a_token_that_cannot_be_valid_does_not_ask_for_newer_keys() -> None:
    """An unknown key makes us ask the issuer, so everything else is judged before."""
    unknown = HEADER | {"kid": "unknown"}
    for changes in ({"iss": "https://evil.example"}, {"aud": "other"}, {"exp": NOW - 100}, {"sub": None}):
        assert refused(token(unknown, **changes)) != "unknown key"


ATTACKER = rsa_key("attacker")


@pytest.mark.parametrize(
    "injected",
    [
        {"jwk": ATTACKER.jwk("rsa-1")},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/chain.pem"},
        {"x5c": [base64.b64encode(b"certificate").decode()]},
        {"x5t": "thumbprint"},
    ],
)
def test_a_token_cannot_bring_its_key(injected: Json) -> None:
    assert refused(token(HEADER | injected, ATTACKER)) == "signature"
    assert judge(token(HEADER | injected)) == ALICE  # not read: some issuers send them


def test_a_token_cannot_bring_its_key_under_a_new_name() -> None:
    with pytest.raises(UnknownKey):
        judge(token({"alg": "RS256", "kid": "mine", "jwk": ATTACKER.jwk("mine")}, ATTACKER))


@pytest.mark.parametrize(
    "header",
    [
        {"crit": []},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": ""},
        {"typ": None},
        {"typ": 1},
    ],
)
def test_tokens_of_another_kind_are_refused(header: Json) -> None:
    assert refused(token(HEADER | header)) in ("extension", "type")


@pytest.mark.parametrize(
    "issuer",
    [
        "https://evil.example/",
        "https://login.example",
        "https://LOGIN.example/",
        "http://login.example/",
        "",
        1,
        [ISSUER],
    ],
)
def test_another_issuer_is_refused(issuer: object) -> None:
    assert refused(token(iss=issuer)) == "issuer"
    assert refused(token(iss=None)) == "issuer"


@pytest.mark.parametrize(
    "audience", [AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE], "another-name-of-ours"]
)
def test_a_token_may_be_for_others_too(audience: object) -> None:
    assert judge(token(aud=audience, azp="client-of-the-page")) == ALICE


@pytest.mark.parametrize(
    "audience",
    [
        "client-of-another-page",
        "",
        AUDIENCE.upper(),
        f"{AUDIENCE} ",
        f"x {AUDIENCE}",
        [],
        ["other"],
        [AUDIENCE, 1],
        [[AUDIENCE]],
        {AUDIENCE: 1},
        1,
        True,
        "*",
        ["*"],
    ],
)
def test_a_token_for_somebody_else_is_refused(audience: object) -> None:
    """An ID token of another client of the same issuer has a good signature, and another audience."""
    assert refused(token(aud=audience)) == "audience"
    assert refused(token(aud=None)) == "audience"


def test_a_token_that_is_bound_to_its_holder_s_key_is_no_bearer_token() -> None:
    assert refused(token(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})) == "bound"


# Clocks may differ by 60 s; beyond that a token is over, or not begun.
@pytest.mark.parametrize(
    ("claim", "value", "reason"),
    [
        ("exp", NOW - 59, None),
        ("exp", NOW - 60, "expired"),
        ("exp", NOW - 86_400, "expired"),
        ("exp", -1, "expired"),
        ("exp", 0, "expired"),
        ("exp", None, "times"),
        ("exp", str(NOW + 300), "times"),
        ("exp", True, "times"),
        ("exp", [NOW + 300], "times"),
        ("exp", NOW + 300.5, None),
        ("nbf", NOW + 60, None),
        ("nbf", NOW + 61, "not yet valid"),
        ("nbf", None, None),
        ("nbf", "0", "times"),
        ("nbf", False, "times"),
        ("iat", NOW + 60, None),
        ("iat", NOW + 61, "issued in the future"),
        ("iat", NOW * 1_000, "issued in the future"),
        ("iat", None, None),
        ("iat", {}, "times"),
    ],
)
def test_times(claim: str, value: object, reason: str | None) -> None:
    changes: dict[str, Any] = {claim: value}
    text = token(**changes)
    if reason is None:
        assert judge(text) == ALICE
    else:
        assert refused(text) == reason


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "null"])
def test_a_time_is_a_number(literal: str) -> None:
    claims = json.dumps(claims_of(ISSUER, NOW)).replace(str(NOW + 300), literal).encode()
    assert refused(assemble(HEADER, claims, rsa_key("one").sign)) in ("json", "times")


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [True, False, str(NOW + 60), "", [NOW], {"now": NOW}])
def test_whatever_else_stands_for_a_time_is_refused(claim: str, value: object) -> None:
    changes: dict[str, Any] = {claim: value}
    assert refused(token(**changes)) == "times"


@pytest.mark.parametrize("subject", [None, "", 1, [], ["alice"], {"a": 1}, True, "a" * 257])
def test_a_subject_is_a_text(subject: object) -> None:
    assert refused(token(sub=subject)) == "subject"


@pytest.mark.parametrize(
    "subject", ["a" * 256, "auth0|5f7c", "ålïçé", "🦊", "*", "{tag}", "a:b", "x\r\nSET y", "\u202e", "\x00", "' OR 1=1"]
)
def test_a_subject_may_hold_anything(subject: str) -> None:
    assert judge(token(sub=subject)).subject == subject


@pytest.mark.parametrize(
    ("name", "claims", "subject"),
    [
        ("oid", {"oid": "object-id"}, "object-id"),
        ("https://voice.example/user", {"https://voice.example/user": "bob"}, "bob"),
        ("user.profile.id", {"user": {"profile": {"id": "carol"}}}, "carol"),
        ("user.id", {"user.id": "flat", "user": {"id": "nested"}}, "nested"),
        ("user.id", {"user.id": "flat"}, None),
        ("user.id", {"user": "text"}, None),
        ("user.id", {"user": [{"id": "listed"}]}, None),
        ("oid", {}, None),
    ],
)
def test_the_subject_s_claim_is_configurable(name: str, claims: Json, subject: str | None) -> None:
    text = token(**claims)
    if subject is None:
        assert refused(text, subject_claim=name) == "subject"
    else:
        assert judge(text, subject_claim=name).subject == subject


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b"])
def test_a_claim_has_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="name of a claim"):
        check_claim(name)


@pytest.mark.parametrize(
    ("claims", "tenant"),
    [
        ({"tid": "9188040d-6c67"}, "9188040d-6c67"),
        ({"tid": "ünïcode"}, "ünïcode"),
        ({}, None),
        ({"tid": ""}, None),
        ({"tid": ["a"]}, None),
        ({"tid": "a" * 129}, None),
        ({"tid": "a\nb"}, None),
        ({"tid": "a\u202eb"}, None),
        ({"tid": "\x00"}, None),
    ],
)
def test_a_tenant_is_a_printable_text(claims: Json, tenant: str | None) -> None:
    if tenant is None:
        assert refused(token(**claims), tenant_claim="tid") == "tenant"
    else:
        assert judge(token(**claims), tenant_claim="tid").tenant == tenant


def test_without_a_tenant_claim_the_token_has_no_say() -> None:
    assert judge(token(tid="acme", tenant="acme")).tenant == "oidc"


@pytest.mark.parametrize(
    ("name", "claims", "roles"),
    [
        ("roles", {"roles": ["voice", "admin"]}, {"voice", "admin"}),
        ("roles", {"roles": "voice"}, {"voice"}),
        ("roles", {"roles": "voice admin"}, {"voice admin"}),
        ("scp", {"scp": "openid voice"}, {"openid", "voice"}),
        ("scope", {"scope": "openid voice"}, {"openid", "voice"}),
        ("permissions", {"permissions": ["mint:voice"]}, {"mint:voice"}),
        ("realm_access.roles", {"realm_access": {"roles": ["voice"]}}, {"voice"}),
        ("https://voice.example/roles", {"https://voice.example/roles": ["voice"]}, {"voice"}),
        ("cognito:groups", {"cognito:groups": ["voice"]}, {"voice"}),
        ("roles", {}, set()),
        ("roles", {"roles": None}, set()),
        ("roles", {"roles": {"voice": True}}, set()),
        ("roles", {"roles": [["voice"], {"voice": 1}, 1, None, "admin"]}, {"admin"}),
        ("roles", {"roles": True}, set()),
    ],
)
def test_roles_are_texts_in_a_list_or_one_text(name: str, claims: Json, roles: set[str]) -> None:
    assert judge(token(**claims), roles_claim=name).roles == roles


@pytest.mark.parametrize(
    "extra",
    [
        b',"sub":"mallory"}',
        b',"aud":"other"}',
        b',"exp":99999999999}',
        b',"s\\u0075b":"mallory"}',
        b',"x":{"a":1,"a":2}}',
        b"} ",
        b"}\n{}",
        b"}x",
    ],
)
def test_claims_are_read_strictly(extra: bytes) -> None:
    """Duplicate keys mean one thing to us and perhaps another to whoever wrote or signed them."""
    claims = json.dumps(claims_of(ISSUER, NOW)).encode().removesuffix(b"}") + extra
    text = assemble(HEADER, claims, rsa_key("one").sign)
    if extra == b"} ":
        assert judge(text) == ALICE
    else:
        assert refused(text) == "json"


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"RS256","kid":"rsa-1","alg":"none"}',
        b'{"alg":"none","kid":"rsa-1","alg":"RS256"}',
        b'{"alg":"RS256","kid":"evil","kid":"rsa-1"}',
        b'\xef\xbb\xbf{"alg":"RS256"}',
        b'{"alg":"RS256","x":"\xff"}',
        b'{"alg":"RS256","x":"\\ud800"}',
        b"[]",
        b'"RS256"',
        b"null",
        b"{",
        b"[" * 5_000,
    ],
)
def test_a_header_is_read_strictly(header: bytes) -> None:
    assert refused(assemble(header, claims_of(ISSUER, NOW), rsa_key("one").sign)) == "json"


@pytest.mark.parametrize(
    "claims", [b"[]", b"null", b'"text"', b"1", b"{", b'{"sub":"\\ud800"}', b'{"a":' * 40 + b"1" + b"}" * 40]
)
def test_claims_are_an_object(claims: bytes) -> None:
    assert refused(assemble(HEADER, claims, rsa_key("one").sign)) == "json"


@pytest.mark.parametrize("where", ["header", "claims", "signature", "start", "end"])
@pytest.mark.parametrize("white", [" ", "\n", "\r\n", "\t", "\x0b", "\u00a0", "%20", "+", "/", "="])
def test_nothing_may_stand_between_the_characters(where: str, white: str) -> None:
    header, claims, signature = token().split(".")
    text = {
        "header": f"{header[:5]}{white}{header[5:]}.{claims}.{signature}",
        "claims": f"{header}.{claims[:5]}{white}{claims[5:]}.{signature}",
        "signature": f"{header}.{claims}.{signature[:5]}{white}{signature[5:]}",
        "start": f"{white}{header}.{claims}.{signature}",
        "end": f"{header}.{claims}.{signature}{white}",
    }[where]
    assert refused(text) == "shape"


def test_an_encrypted_or_a_json_token_has_another_shape() -> None:
    header, claims, signature = token().split(".")
    for text in (
        f"{header}..{encode(b'iv')}.{claims}.{signature}",
        f"{header}.{claims}",
        f"{header}.{claims}.{signature}.",
        json.dumps({"protected": header, "payload": claims, "signature": signature}),
        "",
        "..",
    ):
        assert refused(text) == "shape"


@given(
    st.text(max_size=60)
    | st.from_regex(r"[A-Za-z0-9_-]{1,30}\.[A-Za-z0-9_-]{1,30}\.[A-Za-z0-9_-]{0,30}", fullmatch=True)
)
def test_whatever_comes_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(InvalidIdentity):
        judge(text)


@given(
    st.dictionaries(
        st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "roles", "cnf", "tid"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4),
    )
)
def test_whatever_is_signed_is_judged(changes: dict[str, object]) -> None:
    """Somebody who can have anything signed still cannot make it fail in another way."""
    claims = claims_of(ISSUER, NOW) | changes
    text = assemble(HEADER, json.dumps(claims).encode(), rsa_key("one").sign)
    try:
        identity = judge(text, tenant_claim="tid")
    except InvalidIdentity:
        return
    assert claims["iss"] == ISSUER
    assert identity.subject == claims["sub"]
