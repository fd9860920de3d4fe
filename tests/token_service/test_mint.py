"""Who may ask for what."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest

from service_kit.errors import Refusal
from service_kit.prices import Price, PriceList, TranscriptionPrice
from service_kit.session_token import Claims, Quota
from service_kit.upstreams import UpstreamSettings, upstreams_of_environment
from tests.examples import NOW, PAGE, profiles
from token_service.beta_mint import beta_answer
from token_service.callers import Caller, CallerKey
from token_service.ceilings import Ceilings
from token_service.mint import decide_claims
from token_service.mint_request import parse_mint_request
from token_service.mint_response import mint_response

OPENAI = upstreams_of_environment(azure_endpoint=None, openai_base_url=None)
BROWSER = Caller(kind="anonymous", tenant="anonymous", subject="pseudonym", origin=PAGE)
OIDC = Caller(kind="oidc", tenant="umbrella", subject="alice", origin=PAGE, roles=frozenset({"voice"}))


CEILINGS = Ceilings(
    mints_per_minute=30,
    mints_per_minute_of_tenant=6_000,
    sessions=3,
    sessions_of_tenant=1_000,
    subject_quota=Quota(),
    tenant_quota=Quota(),
)


def trusted(**changes: Any) -> Caller:
    usual = {
        "name": "shop",
        "sha256": sha256(b"shop-key").hexdigest(),
        "tenant": "acme",
        "profiles": ["default", "trusted", "dictation"],
    }
    key = CallerKey(**usual | changes)
    return Caller(kind="api_key", tenant=key.tenant, subject=key.name, key=key)


def mint(body: object, caller: Caller = BROWSER) -> Claims:
    return decide_claims(
        parse_mint_request(body),
        caller,
        profiles().profiles,
        prices=profiles().price_list,
        upstreams=OPENAI,
        allowed_origins=[PAGE, "https://b.example"],
        now=NOW,
        ceilings=CEILINGS,
    )


def refusal(body: object, caller: Caller = BROWSER) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as caught:
        mint(body, caller)
    return caught.value.code, caught.value.param


def test_a_browser_gets_the_default_profile_bound_to_its_page() -> None:
    claims = mint({})
    profile = profiles().profiles["default"]
    assert claims == Claims(
        subject="pseudonym",
        tenant="anonymous",
        anonymous=True,
        profile="default",
        origin=PAGE,
        issued_at=NOW,
        expires_at=NOW + 300,
        lock=profile.lock(),
        limits=profile.session_limits,
    )


def test_a_key_gets_the_default_profile_unbound() -> None:
    claims = mint({}, trusted())
    assert (claims.subject, claims.tenant, claims.anonymous) == ("shop", "acme", False)
    assert claims.origin is None
    assert claims.profile == "default"


@pytest.mark.parametrize(
    ("seconds", "lifetime"), [(10, 10), (299, 299), (300, 300), (301, 300), (600, 300), (7_200, 300)]
)
def test_lifetime_is_lowered_to_five_minutes(seconds: int, lifetime: int) -> None:
    claims = mint({"expires_after": {"anchor": "created_at", "seconds": seconds}})
    assert claims.expires_at - claims.issued_at == lifetime


def test_lifetime_is_lowered_to_the_profile_s() -> None:
    claims = mint({"airlock": {"profile": "dictation"}, "expires_after": {"seconds": 600}})
    assert claims.expires_at == NOW + 60


# Bodies no caller may send: what is wrong, and how it is told.
MALFORMED: list[tuple[object, str, str | None]] = [
    ([], "invalid_request", None),
    ("text", "invalid_request", None),
    (None, "invalid_request", None),
    ({"expires_after": {"seconds": 9}}, "invalid_request", "expires_after.seconds"),
    ({"expires_after": {"seconds": 7_201}}, "invalid_request", "expires_after.seconds"),
    ({"expires_after": {"seconds": -1}}, "invalid_request", "expires_after.seconds"),
    ({"expires_after": {"seconds": "60"}}, "invalid_request", "expires_after.seconds"),
    ({"expires_after": {"seconds": 60.5}}, "invalid_request", "expires_after.seconds"),
    ({"expires_after": {"seconds": True}}, "invalid_request", "expires_after.seconds"),
    ({"expires_after": {"seconds": None}}, "invalid_request", "expires_after.seconds"),
    ({"expires_after": {"seconds": 2**63}}, "invalid_request", "expires_after.seconds"),
    ({"expires_after": {"anchor": "now"}}, "invalid_request", "expires_after.anchor"),
    ({"expires_after": {"minutes": 1}}, "unsupported_parameter", "expires_after.minutes"),
    ({"expires_after": 60}, "invalid_request", "expires_after"),
    ({"session": []}, "invalid_request", "session"),
    ({"session": "realtime"}, "invalid_request", "session"),
    ({"session": {"type": "translation"}}, "invalid_request", "session.type"),
    ({"session": {"type": []}}, "invalid_request", "session.type"),
    ({"session": {"type": "transcription"}, "airlock": {"profile": "default"}}, "invalid_request", "session.type"),
    ({"session": {"temperature": 1}}, "unsupported_parameter", "session.temperature"),
    ({"session": {"audio": {"output": {"volume": 1}}}}, "unsupported_parameter", "session.audio.output.volume"),
    ({"session": {"audio.output.voice": "ash"}}, "unsupported_parameter", "session.audio.output.voice"),
    ({"session": {"audio": []}}, "invalid_request", "session.audio"),
    ({"session": {"audio": {"output": {"voice": 1}}}}, "invalid_request", "session.audio.output.voice"),
    ({"session": {"output_modalities": ["video"]}}, "invalid_request", "session.output_modalities"),
    ({"airlock": []}, "invalid_request", "airlock"),
    ({"airlock": {"profile": "nobody"}}, "invalid_request", "airlock.profile"),
    ({"airlock": {"profile": ""}}, "invalid_request", "airlock.profile"),
    ({"airlock": {"profile": 1}}, "invalid_request", "airlock.profile"),
    ({"airlock": {"tenant": "acme"}}, "unsupported_parameter", "airlock.tenant"),
    ({"airlock": {"max_session_seconds": 0}}, "invalid_request", "airlock.max_session_seconds"),
    ({"airlock": {"max_session_seconds": "60"}}, "invalid_request", "airlock.max_session_seconds"),
    ({"airlock": {"max_session_seconds": 601}}, "invalid_request", "airlock.max_session_seconds"),
    ({"airlock": {"max_input_audio_seconds": 601}}, "invalid_request", "airlock.max_input_audio_seconds"),
    ({"airlock": {"max_total_tokens": 200_001}}, "invalid_request", "airlock.max_total_tokens"),
    ({"airlock": {"max_cost_usd": 2.01}}, "invalid_request", "airlock.max_cost_usd"),
    ({"airlock": {"max_cost_usd": 0}}, "invalid_request", "airlock.max_cost_usd"),
    ({"token": "x"}, "unsupported_parameter", "token"),
    ({"model": "gpt-realtime-2.1"}, "unsupported_parameter", "model"),
]


@pytest.mark.parametrize("caller", [BROWSER, OIDC, trusted()], ids=["browser", "oidc", "key"])
@pytest.mark.parametrize(("body", "code", "param"), MALFORMED)
def test_malformed_or_excessive_for_everybody(body: object, code: str, param: str | None, caller: Caller) -> None:
    assert refusal(body, caller) == (code, param)


# What only a trusted caller may send; the fields of `session` are those the default profile does not open.
TRUSTED_ONLY: list[tuple[dict[str, Any], str, str]] = [
    ({"session": {"instructions": "x"}}, "unsupported_parameter", "session.instructions"),
    ({"session": {"tools": []}}, "unsupported_parameter", "session.tools"),
    ({"session": {"tool_choice": "none"}}, "unsupported_parameter", "session.tool_choice"),
    ({"session": {"prompt": {"id": "pmpt_1"}}}, "unsupported_parameter", "session.prompt"),
    ({"session": {"tracing": "auto"}}, "unsupported_parameter", "session.tracing"),
    ({"session": {"include": []}}, "unsupported_parameter", "session.include"),
    ({"session": {"max_output_tokens": 10}}, "unsupported_parameter", "session.max_output_tokens"),
    ({"session": {"audio": {"output": {"speed": 1.5}}}}, "unsupported_parameter", "session.audio.output.speed"),
    ({"session": {"model": "gpt-realtime-2"}}, "model_mismatch", "session.model"),
    ({"airlock": {"profile": "trusted"}}, "invalid_request", "airlock.profile"),
    ({"airlock": {"subject": "alice"}}, "unsupported_parameter", "airlock.subject"),
    ({"airlock": {"origin": PAGE}}, "unsupported_parameter", "airlock.origin"),
    ({"airlock": {"reference_id": "order-1"}}, "unsupported_parameter", "airlock.reference_id"),
    ({"airlock": {"metadata": {}}}, "unsupported_parameter", "airlock.metadata"),
]


@pytest.mark.parametrize("caller", [BROWSER, OIDC], ids=["anonymous", "oidc"])
@pytest.mark.parametrize(("body", "code", "param"), TRUSTED_ONLY)
def test_a_browser_is_refused_what_a_key_may_have(body: dict[str, Any], code: str, param: str, caller: Caller) -> None:
    assert refusal(body, caller) == (code, param)
    mint(body, trusted())


def test_an_oidc_caller_gets_the_default_profile_for_itself_bound_to_its_page() -> None:
    claims = mint({}, OIDC)
    assert (claims.subject, claims.tenant, claims.anonymous) == ("alice", "umbrella", False)
    assert (claims.profile, claims.origin) == ("default", PAGE)
    assert claims.limits == mint({}).limits
    no_page = Caller(kind="oidc", tenant="umbrella", subject="alice")
    assert mint({}, no_page).origin is None


@pytest.mark.parametrize(
    ("roles", "allowed"), [([], False), (["Voice"], False), (["voice"], True), (["x", "admin"], True)]
)
def test_roles_decide_an_oidc_caller_s_profiles(roles: list[str], allowed: bool) -> None:
    caller = Caller(kind="oidc", tenant="umbrella", subject="alice", roles=frozenset(roles))
    named = {"airlock": {"profile": "staff"}}
    if allowed:
        assert mint(named, caller).profile == "staff"
    else:
        assert refusal(named, caller) == ("invalid_request", "airlock.profile")
    assert mint({}, caller).profile == "default"  # asks for no role


def test_roles_are_asked_of_oidc_callers_only() -> None:
    named = {"airlock": {"profile": "staff"}}
    assert mint(named).profile == "staff"
    assert mint(named, trusted(profiles=["staff"])).profile == "staff"


def test_a_profile_may_be_for_some_tenants_of_the_issuer_only() -> None:
    acme = profiles().profiles["acme"].model_copy(update={"callers": ("oidc",)})

    def ask(tenant: str) -> Claims:
        caller = Caller(kind="oidc", tenant=tenant, subject="alice")
        return decide_claims(
            parse_mint_request({"airlock": {"profile": "acme"}}),
            caller,
            {"acme": acme},
            prices=profiles().price_list,
            upstreams=OPENAI,
            allowed_origins=[],
            now=NOW,
            ceilings=CEILINGS,
        )

    assert ask("acme").tenant == "acme"
    with pytest.raises(Refusal) as caught:
        ask("umbrella")
    assert caught.value.param == "airlock.profile"


@pytest.mark.parametrize("model", ["", None, 1, ["gpt-realtime-2.1"]])
def test_a_model_is_a_name(model: object) -> None:
    assert refusal({"session": {"model": model}})[1] == "session.model"
    assert refusal({"session": {"model": model}}, trusted()) == ("invalid_request", "session.model")


def test_a_browser_may_name_the_type_and_model_it_gets_anyway() -> None:
    claims = mint({"session": {"type": "realtime", "model": "gpt-realtime-2.1"}})
    assert claims.lock == profiles().profiles["default"].lock()


def test_what_a_browser_fills_is_set_and_stays_open() -> None:
    vad = {"type": "semantic_vad", "eagerness": "low"}
    body = {"session": {"audio": {"output": {"voice": "cedar"}, "input": {"turn_detection": vad}}}}
    lock, usual = mint(body).lock, mint({}).lock
    assert lock.session == usual.session | {"audio": {"output": {"voice": "cedar"}, "input": {"turn_detection": vad}}}
    assert lock.open_fields == usual.open_fields
    assert lock.session["instructions"] == "canary-instructions"


def test_a_browser_s_values_are_the_client_s_kind() -> None:
    """An open field is open to what a client may set there, not to all a server may."""
    open_tools = profiles().profiles["default"].model_copy(update={"open_fields": ("tools",)})
    body = {"session": {"tools": [{"type": "mcp", "server_label": "s", "server_url": "https://evil.example"}]}}
    with pytest.raises(Refusal) as caught:
        decide_claims(
            parse_mint_request(body),
            BROWSER,
            {"default": open_tools},
            prices=profiles().price_list,
            upstreams=OPENAI,
            allowed_origins=[PAGE],
            now=NOW,
            ceilings=CEILINGS,
        )
    assert (caught.value.code, caught.value.param) == ("invalid_request", "session.tools")


def test_an_open_token_cap_is_still_lowered_to_the_limit() -> None:
    capped = profiles().profiles["default"].model_copy(update={"open_fields": ("max_output_tokens",)})
    capped = capped.model_copy(update={"limits": capped.limits.model_copy(update={"max_output_tokens": 100})})
    body = parse_mint_request({"session": {"max_output_tokens": "inf"}})
    claims = decide_claims(
        body,
        BROWSER,
        {"default": capped},
        prices=profiles().price_list,
        upstreams=OPENAI,
        allowed_origins=[PAGE],
        now=NOW,
        ceilings=CEILINGS,
    )
    assert claims.lock.session["max_output_tokens"] == 100


def test_a_key_s_session_becomes_the_lock() -> None:
    body = {"session": {"type": "realtime", "model": "gpt-realtime-2", "audio": {"output": {"voice": "ash"}}}}
    lock = mint(body, trusted()).lock
    assert lock.model == "gpt-realtime-2"
    assert "instructions" not in lock.session
    assert lock.session["audio"] == {"output": {"voice": "ash"}}
    assert lock.open_fields == {"audio.input.turn_detection", "output_modalities"}
    assert lock.session["max_output_tokens"] == 4_096


def test_a_key_s_session_without_model_gets_the_profile_s() -> None:
    assert mint({"session": {"instructions": "x"}}, trusted()).lock.model == "gpt-realtime-2.1"


def test_without_default_a_key_s_first_profile_applies() -> None:
    assert mint({}, trusted(profiles=["trusted", "dictation"])).profile == "trusted"
    assert mint({"session": {}}, trusted(profiles=["dictation"])).lock.session["type"] == "transcription"


@pytest.mark.parametrize("name", ["acme", "trusted", "nobody"])
def test_absent_and_forbidden_profiles_look_alike(name: str) -> None:
    with pytest.raises(Refusal) as absent:
        mint({"airlock": {"profile": "nobody"}})
    with pytest.raises(Refusal) as caught:
        mint({"airlock": {"profile": name}})
    assert caught.value.body("req_1") == absent.value.body("req_1")


def test_a_profile_may_be_for_some_tenants_only() -> None:
    named = {"airlock": {"profile": "acme"}}
    assert mint(named, trusted(profiles=["acme"])).profile == "acme"
    assert refusal(named, trusted(profiles=["acme"], tenant="umbrella")) == ("invalid_request", "airlock.profile")


def test_a_key_has_only_its_own_profiles() -> None:
    assert refusal({"airlock": {"profile": "acme"}}, trusted()) == ("invalid_request", "airlock.profile")


def test_a_browser_may_tighten_limits() -> None:
    options = {"max_session_seconds": 60, "max_input_audio_seconds": 1, "max_total_tokens": 5, "max_cost_usd": 1}
    limits = mint({"airlock": options}).limits
    assert {name: getattr(limits, name) for name in options} == options


# A key's ceiling, what it asks for, what it gets (None: refused). The profile's limit is 600.
@pytest.mark.parametrize(
    ("ceiling", "asked", "got"),
    [
        (None, None, 600),
        (None, 600, 600),
        (None, 601, None),
        (1_800, None, 600),
        (1_800, 1_800, 1_800),
        (1_800, 1_801, None),
        (60, None, 60),
        (60, 60, 60),
        (60, 61, None),
    ],
)
def test_a_key_s_ceiling_bounds_what_it_may_ask_for(ceiling: int | None, asked: int | None, got: int | None) -> None:
    body = {"airlock": {"max_session_seconds": asked}}
    caller = trusted(max_session_seconds=ceiling)
    if got is None:
        assert refusal(body, caller) == ("invalid_request", "airlock.max_session_seconds")
    else:
        assert mint(body, caller).limits.max_session_seconds == got


@pytest.mark.parametrize(("ceiling", "asked", "got"), [(None, None, None), (None, 50.0, 50.0), (5, None, 5), (5, 4, 4)])
def test_a_profile_without_cost_cap_leaves_it_to_the_key(
    ceiling: float | None, asked: float | None, got: float | None
) -> None:
    body = {"airlock": {"profile": "trusted", "max_cost_usd": asked}}
    assert mint(body, trusted(max_cost_usd=ceiling)).limits.max_cost_usd == got


def test_a_cost_is_limited_only_where_it_can_be_counted() -> None:
    unpriced = {"session": {"model": "gpt-of-tomorrow"}}
    assert refusal(unpriced, trusted()) == ("invalid_request", "session.model")
    assert mint(unpriced | {"airlock": {"profile": "trusted"}}, trusted()).limits.max_cost_usd is None
    asked = {"airlock": {"profile": "dictation", "max_cost_usd": 1}}
    assert refusal(asked) == ("invalid_request", "airlock.max_cost_usd")


def test_a_model_that_no_upstream_has_is_refused() -> None:
    azure, other = (
        UpstreamSettings(
            name=name, kind="azure", base_url="https://x/openai/v1", auth="secret:x", models={model: f"{name}-voice"}
        )
        for name, model in (("sweden", "gpt-realtime-2.1"), ("france", "gpt-realtime-2"))
    )

    def minted(upstreams: Sequence[UpstreamSettings], model: str) -> Claims:
        request = parse_mint_request({"session": {"model": model}, "airlock": {"profile": "trusted"}})
        prices = profiles().price_list
        return decide_claims(
            request,
            trusted(),
            profiles().profiles,
            prices=prices,
            upstreams=upstreams,
            allowed_origins=[],
            now=NOW,
            ceilings=CEILINGS,
        )

    for upstreams in ([azure, other], [other, *OPENAI], OPENAI):
        assert minted(upstreams, "gpt-realtime-2").lock.model == "gpt-realtime-2"
    assert minted([azure, *OPENAI], "gpt-of-tomorrow").lock.model == "gpt-of-tomorrow"
    for upstreams, model in (([azure], "gpt-realtime-2"), ([azure, other], "france-voice"), ([azure, other], "x")):
        with pytest.raises(Refusal) as caught:
            minted(upstreams, model)
        assert (caught.value.code, caught.value.param) == ("invalid_request", "session.model")


def test_a_cost_is_counted_with_the_prices_of_this_deployment() -> None:
    row = dict.fromkeys(Price.model_fields, 1.0)
    prices = PriceList({"gpt-of-tomorrow": Price(**row)}, {"gpt-transcribe": TranscriptionPrice(minute=0.006)})

    def minted(body: object) -> Claims:
        request = parse_mint_request(body)
        known = profiles().profiles
        return decide_claims(
            request,
            trusted(),
            known,
            prices=prices,
            upstreams=OPENAI,
            allowed_origins=[PAGE],
            now=NOW,
            ceilings=CEILINGS,
        )

    assert minted({"session": {"model": "gpt-of-tomorrow"}}).limits.max_cost_usd == 2.0
    said = {"audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}}
    asked = {"airlock": {"profile": "dictation", "max_cost_usd": 1}}
    assert minted(asked | {"session": said}).limits.max_cost_usd == 1
    with pytest.raises(Refusal, match="invalid_request"):
        minted(asked)  # its transcription model is open to the client


def test_a_key_names_subject_origin_reference_and_metadata() -> None:
    options = {"subject": "alice", "origin": "https://b.example", "reference_id": "order-1", "metadata": {"a": "b"}}
    claims = mint({"airlock": options}, trusted(max_sessions_per_subject=7))
    assert (claims.subject, claims.origin, claims.reference_id) == ("alice", "https://b.example", "order-1")
    assert claims.metadata == {"a": "b"}
    assert claims.max_sessions_per_subject == 7


def test_a_token_cannot_be_bound_to_an_origin_the_relay_refuses() -> None:
    body = {"airlock": {"origin": "https://evil.example"}}
    assert refusal(body, trusted()) == ("origin_not_allowed", "airlock.origin")


@pytest.mark.parametrize(
    ("metadata", "accepted"),
    [
        ({str(number): "v" for number in range(16)}, True),
        ({str(number): "v" for number in range(17)}, False),
        ({"k" * 64: "v" * 512}, True),
        ({"k" * 65: "v"}, False),
        ({"k": "v" * 513}, False),
        ({"k": 1}, False),
        ({"k": None}, False),
        (["k"], False),
    ],
)
def test_metadata_is_bounded_as_openai_s(metadata: object, accepted: bool) -> None:
    body = {"airlock": {"metadata": metadata}}
    if accepted:
        assert mint(body, trusted()).metadata == metadata
    else:
        assert refusal(body, trusted()) == ("invalid_request", "airlock.metadata")


@pytest.mark.parametrize(("name", "most"), [("subject", 256), ("reference_id", 128)])
def test_names_are_bounded(name: str, most: int) -> None:
    mint({"airlock": {name: "x" * most}}, trusted())
    for value in ("", "x" * (most + 1), 1):
        assert refusal({"airlock": {name: value}}, trusted()) == ("invalid_request", f"airlock.{name}")


@pytest.mark.parametrize("body", [{}, {"expires_after": None, "session": None, "airlock": None}])
def test_nothing_and_null_are_the_same(body: object) -> None:
    assert mint(body) == mint({"session": {}})


def test_a_refusal_repeats_no_value() -> None:
    for body in ({"expires_after": {"seconds": "canary"}}, {"airlock": {"metadata": {"a": ["canary"]}}}):
        with pytest.raises(Refusal) as caught:
            mint(body, trusted())
        assert "canary" not in caught.value.message


def shown(claims: Claims) -> dict[str, Any]:
    body: dict[str, Any] = mint_response(
        claims, token="ek_x", token_id="tok_abc", relay_url="wss://relay.example/v1/realtime", provider="OpenAI"
    )
    return body


def test_the_answer_shows_the_session_without_what_is_hidden() -> None:
    body = shown(mint({"session": {"audio": {"output": {"voice": "cedar"}}}}))
    assert "canary" not in str(body)
    assert body == {
        "value": "ek_x",
        "expires_at": NOW + 300,
        "session": {
            "id": "sess_abc",
            "object": "realtime.session",
            "type": "realtime",
            "expires_at": 0,
            "model": "gpt-realtime-2.1",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": {"type": "server_vad"},
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "speed": 1.0, "voice": "cedar"},
            },
            "max_output_tokens": 4_096,
            "truncation": "auto",
            "include": None,
        },
        "airlock": {
            "token_id": "tok_abc",
            "relay_url": "wss://relay.example/v1/realtime",
            "max_session_seconds": 600,
            "profile": "default",
            "provider": "OpenAI",
            "stores": "nothing",
        },
    }


def test_a_mint_leaves_the_profile_s_lock_as_it_was() -> None:
    """All mints without a session of their own share it."""
    profile = profiles().profiles["default"]
    for _ in range(2):
        claims = decide_claims(
            parse_mint_request({}),
            BROWSER,
            {"default": profile},
            prices=profiles().price_list,
            upstreams=OPENAI,
            allowed_origins=(PAGE,),
            now=NOW,
            ceilings=CEILINGS,
        )
        assert claims.lock is profile.usual_lock
        beta_answer(
            mint_response(claims, token="ek_x", token_id="tok_x", relay_url="ws://localhost", provider="OpenAI")
        )
    assert profile.usual_lock == profile.lock()


def test_the_answer_shows_what_a_profile_does_not_hide() -> None:
    open_handed = profiles().profiles["default"].model_copy(update={"hide": ()})
    claims = decide_claims(
        parse_mint_request({}),
        BROWSER,
        {"default": open_handed},
        prices=profiles().price_list,
        upstreams=OPENAI,
        allowed_origins=[PAGE],
        now=NOW,
        ceilings=CEILINGS,
    )
    session = shown(claims)["session"]
    assert session["instructions"] == "canary-instructions"
    assert (session["tool_choice"], session["tracing"], session["prompt"]) == ("auto", None, None)


def test_a_transcription_gets_the_caller_s_first_profile_for_it() -> None:
    asked = {"session": {"type": "transcription"}}
    assert mint(asked).profile == mint(asked, trusted()).profile == "dictation"
    assert mint({"session": {"type": "realtime"}}).profile == mint({"session": {}}).profile == "default"
    for stranger in (OIDC, trusted(profiles=["default"]), trusted(profiles=["trusted", "default"])):
        assert refusal(asked, stranger) == ("invalid_request", "session.type")


@pytest.mark.parametrize(("session_type", "profile"), [("transcription", "dictation"), ("realtime", "default")])
def test_a_session_that_says_only_its_type_leaves_the_rest_to_the_profile(session_type: str, profile: str) -> None:
    for caller in (BROWSER, trusted()):
        assert mint({"session": {"type": session_type}}, caller).lock == profiles().profiles[profile].lock()


def test_a_transcription_session_is_shown_as_one() -> None:
    session = shown(mint({"airlock": {"profile": "dictation"}, "session": {"type": "transcription"}}))["session"]
    assert session["object"] == "realtime.transcription_session"
    assert session["type"] == "transcription"
    assert session["audio"].keys() == {"input"}
    assert "output_modalities" not in session
