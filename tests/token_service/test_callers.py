from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any

import pytest
from pydantic import ValidationError

from service_kit.errors import Refusal
from tests.examples import PAGE
from token_service.callers import Caller, CallerKey, bearer_jwt, identify
from token_service.identity import Identity

BOTH = ("anonymous", "api_key")


def key(text: str = "shop-key", **changes: Any) -> CallerKey:
    usual = {"name": "shop", "sha256": sha256(text.encode()).hexdigest(), "tenant": "acme", "profiles": ["default"]}
    return CallerKey(**usual | changes)


KEYS = (key("other-key", name="other", tenant="umbrella"), key())


def ask(
    *authorization: str, origin: str | None = PAGE, enabled: tuple[str, ...] = BOTH, keys: tuple[CallerKey, ...] = KEYS
) -> Caller:
    return identify(
        authorization=authorization,
        origin=origin,
        address="pseudonym",
        allowed_origins=[PAGE],
        enabled=enabled,
        keys=keys,
    )


def test_nobody_in_particular_is_the_address_on_an_allowed_page() -> None:
    assert ask() == Caller(kind="anonymous", tenant="anonymous", subject="pseudonym", origin=PAGE)


@pytest.mark.parametrize("origin", [None, "", "null", "*", "http://evil.example", f"{PAGE}/", PAGE.upper(), f"{PAGE}0"])
def test_an_anonymous_caller_needs_an_allowed_origin(origin: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        ask(origin=origin)
    assert caught.value.code == "origin_not_allowed"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_is_found_by_its_hash(scheme: str) -> None:
    caller = ask(f"{scheme} shop-key", origin=None)
    assert (caller.kind, caller.tenant, caller.subject, caller.origin) == ("api_key", "acme", "shop", None)
    assert caller.key == KEYS[1]


@pytest.mark.parametrize(
    "authorization",
    [
        ("Bearer wrong",),
        ("Bearer shop-key ",),
        ("Bearer  shop-key",),
        ("Bearer SHOP-KEY",),
        ("Bearer",),
        ("Bearer ",),
        ("",),
        (" ",),
        ("shop-key",),
        ("Basic shop-key",),
        ("Bearer shop-key, Bearer shop-key",),
        ("Bearer shop-key", "Bearer shop-key"),
        ("Bearer wrong", "Bearer shop-key"),
        (f"Bearer {sha256(b'shop-key').hexdigest()}",),
        ("Bearer ek_anything",),
        ("Bearer \udcff\udcfe",),
        ("Bearer é",),
        ("Bearer " + "k" * 8_000,),
    ],
)
def test_a_wrong_credential_is_refused_and_never_anonymous(authorization: tuple[str, ...]) -> None:
    with pytest.raises(Refusal) as caught:
        ask(*authorization)
    assert caught.value.code == "invalid_token"


def test_a_session_token_never_mints_even_as_a_key() -> None:
    with pytest.raises(Refusal) as caught:
        ask("Bearer ek_key", keys=(key("ek_key"),))
    assert caught.value.code == "invalid_token"


def test_a_right_key_is_refused_where_keys_are_not_enabled() -> None:
    with pytest.raises(Refusal) as caught:
        ask("Bearer shop-key", enabled=("anonymous",))
    assert caught.value.code == "invalid_token"


def test_nobody_is_refused_where_anonymous_is_not_enabled() -> None:
    with pytest.raises(Refusal) as caught:
        ask(enabled=("api_key",))
    assert caught.value.code == "invalid_token"


def test_every_hash_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """In constant time: neither the place of a key in the list nor a near miss shows."""
    compared = []
    compare = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    ask("Bearer other-key")
    assert compared == [entry.hash for entry in KEYS]


JWT = "Bearer eyJh.eyJp.c2ln"
ALICE = Identity(subject="alice", tenant="contoso", roles=frozenset({"voice"}))


def ask_with_jwt(
    *authorization: str,
    identity: Identity | None = ALICE,
    origin: str | None = PAGE,
    enabled: tuple[str, ...] = (*BOTH, "oidc"),
    keys: tuple[CallerKey, ...] = KEYS,
    oidc_tenants: tuple[str, ...] = (),
) -> Caller:
    return identify(
        authorization=authorization or (JWT,),
        origin=origin,
        address="pseudonym",
        allowed_origins=[PAGE],
        enabled=enabled,
        keys=keys,
        identity=identity,
        oidc_tenants=oidc_tenants,
    )


def test_an_identity_is_an_oidc_caller() -> None:
    assert ask_with_jwt() == Caller(
        kind="oidc", tenant="contoso", subject="alice", origin=PAGE, roles=frozenset({"voice"})
    )


def test_an_oidc_caller_without_an_origin_is_no_page_and_unbound() -> None:
    assert ask_with_jwt(origin=None).origin is None


@pytest.mark.parametrize("origin", ["", "null", "*", "http://evil.example", f"{PAGE}/"])
def test_an_oidc_caller_on_a_page_needs_an_allowed_one(origin: str) -> None:
    with pytest.raises(Refusal) as caught:
        ask_with_jwt(origin=origin)
    assert caught.value.code == "origin_not_allowed"


@pytest.mark.parametrize(("identity", "enabled"), [(None, (*BOTH, "oidc")), (ALICE, BOTH)])
def test_a_jwt_that_proves_nothing_is_refused_and_never_anonymous(
    identity: Identity | None, enabled: tuple[str, ...]
) -> None:
    with pytest.raises(Refusal) as caught:
        ask_with_jwt(identity=identity, enabled=enabled)
    assert caught.value.code == "invalid_token"


# The credential of the Authorization header's lines that is a JWT, by its shape alone.
@pytest.mark.parametrize(
    ("authorization", "jwt"),
    [
        ([JWT], "eyJh.eyJp.c2ln"),
        (["bearer a.b.c"], "a.b.c"),
        (["Bearer a.b."], "a.b."),
        (["Bearer a.b"], None),
        (["Bearer a..c"], None),
        (["Bearer a.b.c.d.e"], None),
        (["Bearer a.b.c="], None),
        (["Bearer a.b.c\n"], None),
        (["Bearer a.b. c"], None),
        (["Bearer  a.b.c"], None),
        (["Bearer a.b.é"], None),
        (["Bearer ek_a.b.c"], None),
        (["Basic a.b.c"], None),
        ([JWT, JWT], None),
        (["Bearer ak_abc"], None),
        (["Bearer"], None),
        ([""], None),
        ([], None),
    ],
)
def test_the_shape_alone_tells_a_jwt(authorization: list[str], jwt: str | None) -> None:
    assert bearer_jwt(authorization) == jwt


def test_a_jwt_is_never_looked_up_as_a_key_and_no_key_is_read_as_a_jwt() -> None:
    with pytest.raises(Refusal):
        ask_with_jwt(identity=None, keys=(key("eyJh.eyJp.c2ln"),))
    assert ask_with_jwt(f"Bearer {'shop-key'}", identity=ALICE, origin=None).kind == "api_key"


# A tenant that the issuer names, those that the operator lists, and whether it may be used. Keys: acme, umbrella.
@pytest.mark.parametrize(
    ("tenant", "listed", "allowed"),
    [
        ("contoso", (), True),
        ("acme", (), False),
        ("umbrella", (), False),
        ("anonymous", (), False),
        ("anonymous", ("anonymous",), False),
        ("Acme", (), True),
        ("contoso", ("fabrikam",), False),
        ("fabrikam", ("fabrikam",), True),
        ("acme", ("fabrikam",), False),
        ("acme", ("fabrikam", "acme"), True),
    ],
)
def test_the_issuer_cannot_name_everybody_s_tenant_nor_a_key_s_unless_listed(
    tenant: str, listed: tuple[str, ...], allowed: bool
) -> None:
    identity = Identity(subject="alice", tenant=tenant)
    if allowed:
        assert ask_with_jwt(identity=identity, oidc_tenants=listed).tenant == tenant
        return
    with pytest.raises(Refusal) as caught:
        ask_with_jwt(identity=identity, oidc_tenants=listed)
    assert caught.value.code == "invalid_token"


@pytest.mark.parametrize(
    ("enabled", "said"),
    [
        (("api_key",), "Send an API key of this service."),
        (("oidc",), "Send a token of its identity provider."),
        (("api_key", "oidc"), "Send an API key of this service or a token of its identity provider."),
    ],
)
def test_a_refusal_says_what_to_send(enabled: tuple[str, ...], said: str) -> None:
    for authorization in ((), ("Bearer wrong",)):
        with pytest.raises(Refusal) as caught:
            ask(*authorization, enabled=enabled)
        assert caught.value.message.endswith(said)


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "9f86"},
        {"sha256": "z" * 64},
        {"sha256": "a" * 65},
        {"name": ""},
        {"tenant": ""},
        {"tenant": "anonymous"},
        {"profiles": []},
        {"profiles": ["Not A Name"]},
        {"max_session_seconds": 0},
        {"max_session_seconds": 3_601},
        {"max_session_seconds": True},
        {"max_session_seconds": "60"},
        {"profiles": "default"},
        {"max_cost_usd": 0},
        {"max_total_tokens": -1},
        {"max_sesion_seconds": 60},
        {"key": "shop-key"},
    ],
)
def test_a_key_entry_is_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        key(**changes)


def test_a_key_entry_does_not_print_its_hash() -> None:
    assert key().sha256.get_secret_value() not in repr(key()) + str(key()) + key().model_dump_json()
