"""Who may come in, told without I/O: each rule of the handshake, in order, and that nothing is spent by any of them."""

import base64
from collections.abc import Sequence

import pytest
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict

from relay.admission import Ticket, admit, subprotocols
from service_kit.errors import Refusal
from service_kit.session_token import SessionToken, SessionTokenCodec, TokenKeys

NOW = 1_700_000_000.0
KEYS = ("an-older-signing-key-of-thirty-two-characters", "the-newest-signing-key-of-thirty-two-characters")
CODEC = SessionTokenCodec(KEYS, "development")
SECRET = bytes(range(24))
TOKEN = CODEC.encode(SessionToken(SECRET, int(NOW) + 300), NOW)
PAGE = "https://voice.example"
ALLOWED = (PAGE, "http://localhost:8080", "https://xn--bcher-kva.example")
CARRIER = "openai-insecure-api-key." + TOKEN

Lines = Sequence[tuple[str, str]]
UPGRADE: Lines = (
    ("Host", "relay.example"),
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", base64.b64encode(bytes(16)).decode()),
)
BEARER: Lines = (("Authorization", f"Bearer {TOKEN}"),)


def enter(
    *lines: tuple[str, str],
    query: Lines = (),
    upgrade: Lines = UPGRADE,
    now: float = NOW,
    version: tuple[int, int] = (1, 1),
) -> Ticket:
    return admit(
        version,
        CIMultiDictProxy(CIMultiDict([*upgrade, *lines])),
        MultiDict(query),
        allowed_origins=ALLOWED,
        codec=CODEC,
        now=now,
    )


def refused(
    *lines: tuple[str, str],
    query: Lines = (),
    upgrade: Lines = UPGRADE,
    now: float = NOW,
    version: tuple[int, int] = (1, 1),
) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as caught:
        enter(*lines, query=query, upgrade=upgrade, now=now, version=version)
    assert TOKEN not in repr(caught.value.body("req_1"))
    return caught.value.code, caught.value.param


def without(name: str) -> Lines:
    return [(key, value) for key, value in UPGRADE if key != name]


def test_a_header_client_gets_in() -> None:
    assert enter(*BEARER) == Ticket(
        keys=TokenKeys.of(SECRET),
        expires_at=int(NOW) + 300,
        origin=None,
        target=None,
        by_subprotocol=False,
        subprotocol=None,
        speaks_airlock=False,
        speaks_beta=False,
    )


def test_a_browser_gets_in() -> None:
    ticket = enter(("Origin", PAGE), ("Sec-WebSocket-Protocol", f"realtime, {CARRIER}, airlock.v1"))
    assert ticket == Ticket(
        keys=TokenKeys.of(SECRET),
        expires_at=int(NOW) + 300,
        origin=PAGE,
        target=None,
        by_subprotocol=True,
        subprotocol="realtime",
        speaks_airlock=True,
        speaks_beta=False,
    )


# --- Origin ---


@pytest.mark.parametrize("origin", ALLOWED)
def test_an_origin_on_the_list_is_let_in(origin: str) -> None:
    assert enter(("Origin", origin), *BEARER).origin == origin


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", " ", "*", "https://voice.example/", "https://voice.example:443", "https://VOICE.example",
        "HTTPS://voice.example", "http://voice.example", "https://voice.example.evil.example", "https://evil.example",
        "https://evil-voice.example", "https://voice.example@evil.example", "https://user@voice.example",
        "https://voice.example#", "https://voice.example?", "https://voice.example,https://evil.example",
        "https://voice.example https://evil.example", "//voice.example", "voice.example", "file://",
        "chrome-extension://abcdef", "https://voice\u2024example", "https://voi\u0441e.example",
        "https://bücher.example",
        "https://voice.example\u0000", "https://voice.example\udcff", "http://localhost", "http://127.0.0.1:8080",
        "http://[::1]:8080", "http://localhost:80801", " https://voice.example", "https://voice.example ",
        "https://sub.voice.example", "undefined", "https://voice.example.",
    ],
)  # fmt: skip
def test_any_other_origin_is_not_allowed(origin: str) -> None:
    assert refused(("Origin", origin), *BEARER) == ("origin_not_allowed", None)


@pytest.mark.parametrize(
    "second", [PAGE, "https://evil.example", "null", ""], ids=["the same again", "a stranger", "null", "empty"]
)
def test_two_origins_are_not_allowed(second: str) -> None:
    assert refused(("Origin", PAGE), ("origin", second), *BEARER) == ("origin_not_allowed", None)


def test_the_origin_is_judged_first() -> None:
    assert refused(("Origin", "https://evil.example"), upgrade=()) == ("origin_not_allowed", None)


# --- upgrade, version, key ---


@pytest.mark.parametrize(
    "connection", ["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade,keep-alive", "keep-alive ,\tUPGRADE"]
)
def test_the_connection_header_may_hold_more_than_the_upgrade(connection: str) -> None:
    assert enter(*BEARER, ("Connection", connection), upgrade=without("Connection"))
    assert enter(*BEARER, ("Connection", "keep-alive"), ("Connection", connection), upgrade=without("Connection"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Connection", None), ("Connection", ""), ("Connection", "close"), ("Connection", "keep-alive"),
        ("Connection", "Upgraded"), ("Connection", "not-upgrade"), ("Upgrade", None), ("Upgrade", ""), ("Upgrade",
        "h2c"),
        ("Upgrade", "websocket2"), ("Upgrade", "websocket/13"), ("Sec-WebSocket-Version", None),
        ("Sec-WebSocket-Version", ""), ("Sec-WebSocket-Version", "7"), ("Sec-WebSocket-Version", "8"),
        ("Sec-WebSocket-Version", "12"), ("Sec-WebSocket-Version", "14"), ("Sec-WebSocket-Version", "13, 8"),
        ("Sec-WebSocket-Version", "013"), ("Sec-WebSocket-Version", "\uff11\uff13"),
    ],
)  # fmt: skip
def test_what_is_no_websocket_upgrade_of_version_13_is_told_so(name: str, value: str | None) -> None:
    lines = [] if value is None else [(name, value)]
    assert refused(*BEARER, *lines, upgrade=without(name)) == ("upgrade_required", None)


@pytest.mark.parametrize(
    "key",
    [None, "", "x", base64.b64encode(bytes(15)).decode(), base64.b64encode(bytes(17)).decode(), "AAAAAAAAAAAAAAAAAAAAA",
     "AAAAAAAAAAAAAAAAAAAAAA=", "AAAA AAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA==!", "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ",
     "\udcff" * 24],
)  # fmt: skip
def test_a_websocket_key_is_sixteen_bytes(key: str | None) -> None:
    lines = [] if key is None else [("Sec-WebSocket-Key", key)]
    assert refused(*BEARER, *lines, upgrade=without("Sec-WebSocket-Key")) == ("invalid_request", None)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Upgrade", "upgrade_required"),
        ("Sec-WebSocket-Version", "upgrade_required"),
        ("Sec-WebSocket-Key", "invalid_request"),
    ],
)
def test_protocol_version_and_key_are_said_once(name: str, code: str) -> None:
    assert refused(*BEARER, (name, dict(UPGRADE)[name])) == (code, None)


@pytest.mark.parametrize("version", [(1, 0), (0, 9)])
def test_an_older_http_has_no_upgrade(version: tuple[int, int]) -> None:
    assert refused(*BEARER, version=version) == ("upgrade_required", None)


@pytest.mark.parametrize(
    "body",
    [
        [("Content-Length", "6")],
        [("Content-Length", "0"), ("Content-Length", "6")],
        [("Content-Length", "")],
        [("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "")],
    ],
)
def test_an_upgrade_with_a_body_is_refused(body: Lines) -> None:
    assert refused(*BEARER, *body) == ("invalid_request", None)
    assert enter(*BEARER, ("Content-Length", "0"))


@pytest.mark.parametrize("other", ["h2c", "", "websocket2", "h2c, websocket"])
def test_an_upgrade_to_something_else_too_is_none_of_ours(other: str) -> None:
    for lines in ([("Upgrade", "websocket"), ("Upgrade", other)], [("Upgrade", other), ("Upgrade", "websocket")]):
        assert refused(*BEARER, *lines, upgrade=without("Upgrade")) == ("upgrade_required", None)


# --- the query ---


@pytest.mark.parametrize(
    "name", ["token", "api-key", "api_key", "access_token", "key", "authorization", "Token", "API-KEY"]
)
@pytest.mark.parametrize("value", [TOKEN, "anything", ""])
def test_a_credential_in_the_query_is_refused_by_name(name: str, value: str) -> None:
    assert refused(*BEARER, query=[(name, value)]) == ("invalid_request", name.lower())


@pytest.mark.parametrize("name", ["model", "intent", "x", TOKEN])
def test_a_token_in_the_query_is_refused_under_any_name(name: str) -> None:
    assert refused(*BEARER, query=[(name, TOKEN)]) == ("invalid_request", None)
    assert refused(*BEARER, query=[(TOKEN, name)]) == ("invalid_request", None)


@pytest.mark.parametrize("value", ["rtc_1", ""])
def test_another_live_call_is_nobodys_to_join(value: str) -> None:
    assert refused(*BEARER, query=[("call_id", value)]) == ("unsupported_parameter", "call_id")


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ([], None), ([("model", "gpt-realtime-2.1")], "gpt-realtime-2.1"), ([("deployment", "mine")], "mine"),
        ([("intent", "transcription")], "intent=transcription"), ([("intent", "conversation")], None),
        ([("Model", "m")], None),
        ([("api-version", "2024-10-01-preview"), ("x", "y"), ("model", "m")], "m"), ([("model", "")], ""),
    ],
)  # fmt: skip
def test_of_the_query_only_the_target_is_read(query: Lines, target: str | None) -> None:
    assert enter(*BEARER, query=query).target == target


@pytest.mark.parametrize("second", ["model", "deployment"])
def test_the_model_is_named_once(second: str) -> None:
    for value in ("a", "b"):
        assert refused(*BEARER, query=[("model", "a"), (second, value)]) == ("invalid_request", "model")


@pytest.mark.parametrize("named", ["model", "deployment"])
def test_model_and_intent_are_not_named_together(named: str) -> None:
    query = [("intent", "transcription"), (named, "m")]
    assert refused(*BEARER, query=query) == ("invalid_request", "model")


@pytest.mark.parametrize("named", ["model", "deployment"])
def test_beta_helpers_name_a_model_even_with_an_intent(named: str) -> None:
    query = [("intent", "transcription"), (named, "m")]
    assert enter(*BEARER, ("OpenAI-Beta", "realtime=v1"), query=query).target == "intent=transcription"


@pytest.mark.parametrize(
    ("lines", "speaks_beta"),
    [
        ((), False),
        ((("OpenAI-Beta", "realtime=v1"),), True),
        ((("openai-beta", "assistants=v2, realtime=v1"),), True),
        ((("OpenAI-Beta", "assistants=v2"), ("OpenAI-Beta", "realtime=v1")), True),
        ((("OpenAI-Beta", "assistants=v2"),), False),
        ((("OpenAI-Beta", ""),), False),
        ((("OpenAI-Beta", "realtime=v2"),), False),
        ((("Sec-WebSocket-Protocol", "realtime, openai-beta.realtime-v1"),), True),
        ((("Sec-WebSocket-Protocol", "realtime, openai-beta.realtime-v2"),), False),
    ],
)
def test_the_beta_is_spoken_with_who_announces_it(lines: Lines, speaks_beta: bool) -> None:
    assert enter(*BEARER, *lines).speaks_beta is speaks_beta


@pytest.mark.parametrize("value", ["\udcff", "gpt-\ud800realtime"])
def test_a_model_that_is_no_text_is_refused(value: str) -> None:
    for name in ("model", "deployment"):
        assert refused(*BEARER, query=[(name, value)]) == ("invalid_request", "model")


# --- subprotocols ---


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        ([], []), ([""], []), ([" , ,"], []), (["realtime"], ["realtime"]), (["a,b ,\tc"], ["a", "b", "c"]),
        (["a", "b, c"], ["a", "b", "c"]), (["", "a"], ["a"]),
    ],
)  # fmt: skip
def test_subprotocols_are_read_over_all_lines(lines: list[str], offered: list[str]) -> None:
    assert subprotocols(lines) == offered


@pytest.mark.parametrize(
    "lines",
    [
        ["realtime", CARRIER], [CARRIER, "realtime"], [f"{CARRIER},realtime"], ["realtime", CARRIER,
        "openai-beta.realtime-v1"],
        [f"realtime,{CARRIER}, openai-beta.realtime-v1"], ["", f"realtime, {CARRIER}"],
    ],
)  # fmt: skip
def test_the_token_may_stand_anywhere_among_the_subprotocols(lines: list[str]) -> None:
    ticket = enter(*(("Sec-WebSocket-Protocol", line) for line in lines))
    assert (ticket.keys, ticket.by_subprotocol, ticket.subprotocol) == (TokenKeys.of(SECRET), True, "realtime")


@pytest.mark.parametrize("offer", [CARRIER, f"Realtime, {CARRIER}", f"realtime2,{CARRIER}", "airlock.v1", "graphql-ws"])
def test_without_realtime_among_the_offers_nothing_is_negotiated(offer: str) -> None:
    assert refused(("Sec-WebSocket-Protocol", offer)) == ("invalid_request", None)
    assert refused(("Sec-WebSocket-Protocol", offer), *BEARER) == ("invalid_request", None)


def test_our_own_events_are_for_those_who_offer_them() -> None:
    assert not enter(("Sec-WebSocket-Protocol", "realtime, airlock.v2"), *BEARER).speaks_airlock
    ticket = enter(("Sec-WebSocket-Protocol", "realtime, airlock.v1"), *BEARER)
    assert (ticket.speaks_airlock, ticket.by_subprotocol, ticket.subprotocol) == (True, False, "realtime")


# --- exactly one credential ---

CARRIERS: dict[str, tuple[str, str]] = {
    "authorization": ("Authorization", f"Bearer {TOKEN}"),
    "api-key": ("api-key", TOKEN),
    "subprotocol": ("Sec-WebSocket-Protocol", f"realtime, {CARRIER}"),
}


@pytest.mark.parametrize("transport", sorted(CARRIERS))
def test_each_transport_alone_carries_the_token(transport: str) -> None:
    assert enter(CARRIERS[transport]).keys == TokenKeys.of(SECRET)


@pytest.mark.parametrize("first", sorted(CARRIERS))
@pytest.mark.parametrize("second", sorted(CARRIERS))
def test_two_credentials_are_refused_even_if_they_are_the_same(first: str, second: str) -> None:
    assert refused(CARRIERS[first], CARRIERS[second]) == ("invalid_request", None)


def test_all_three_at_once_are_refused() -> None:
    assert refused(*CARRIERS.values()) == ("invalid_request", None)


def test_two_tokens_in_one_list_are_refused() -> None:
    assert refused(("Sec-WebSocket-Protocol", f"realtime, {CARRIER}, {CARRIER}")) == ("invalid_request", None)


def test_no_credential_is_no_valid_one() -> None:
    assert refused() == refused(("Sec-WebSocket-Protocol", "realtime")) == ("invalid_token", None)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
def test_the_scheme_is_named_in_any_case(scheme: str) -> None:
    assert enter(("Authorization", f"{scheme} {TOKEN}"))
    assert enter(("Authorization", f"{scheme}   {TOKEN}  "))


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer{TOKEN}", f"Token {TOKEN}", f"Bearer\t{TOKEN}"]
)
def test_any_other_authorization_is_not_valid(value: str) -> None:
    assert refused(("Authorization", value)) == ("invalid_token", None)
    assert refused(("Authorization", value), ("Sec-WebSocket-Protocol", f"realtime, {CARRIER}"))[0] in (
        "invalid_token",
        "invalid_request",
    )


# --- the token's text ---


def _tampered() -> list[str]:
    payload, at, signature = TOKEN.split(".")
    flipped = signature[:-1] + ("A" if signature[-1] != "A" else "B")
    other_key = SessionTokenCodec(("x" * 32,), "development").encode(SessionToken(SECRET, int(NOW) + 300), NOW)
    staging = SessionTokenCodec(KEYS, "staging").encode(SessionToken(SECRET, int(NOW) + 300), NOW)
    return [
        "", "ek_", "sk-proj-abc", "EK_" + TOKEN[3:], TOKEN[3:], TOKEN + "=", TOKEN + ".", TOKEN + "A", TOKEN[:-1],
        " " + TOKEN[3:], f"{payload}.{at}.{flipped}", f"{payload}.{at}", f"{payload}..{signature}", payload,
        f"{payload}.{at}.", f"{payload}x.{at}.{signature}", TOKEN.replace("_", "-", 1), "ek_" + "A" * 509,
        "ek_" + "A" * 600,
        other_key, staging, "ek_é", "ek_\udcff", "ek_\u0000", TOKEN.upper(), TOKEN + "\u200b",
        CODEC.encode(SessionToken(SECRET[:23], int(NOW) + 300), NOW),
        CODEC.encode(SessionToken(SECRET, int(NOW) + 301), NOW),
        CODEC.encode(SessionToken(SECRET, int(NOW) + 310), NOW + 6),
    ]  # fmt: skip


@pytest.mark.parametrize("text", _tampered())
def test_a_token_that_is_not_ours_to_the_letter_is_not_valid(text: str) -> None:
    assert refused(("Authorization", f"Bearer {text}")) == ("invalid_token", None)
    assert refused(("api-key", text)) == ("invalid_token", None)


def test_a_token_of_an_older_key_is_valid() -> None:
    older = SessionTokenCodec(KEYS[:1], "development").encode(SessionToken(SECRET, int(NOW) + 300), NOW)
    assert enter(("Authorization", f"Bearer {older}"))


@pytest.mark.parametrize(("after", "expired"), [(0, False), (299, False), (304, False), (305, True), (10_000, True)])
def test_a_token_expires_at_its_end_give_or_take_the_clocks(after: int, expired: bool) -> None:
    if expired:
        assert refused(*BEARER, now=NOW + after) == ("token_expired", None)
    else:
        assert enter(*BEARER, now=NOW + after)


def test_only_a_genuine_token_learns_that_it_expired() -> None:
    forged = SessionTokenCodec(("x" * 32,), "development").encode(SessionToken(SECRET, int(NOW) + 1), NOW)
    assert refused(("Authorization", f"Bearer {forged}"), now=NOW + 1_000) == ("invalid_token", None)


def test_admission_spends_nothing() -> None:
    """It is a function of its arguments: the same handshake gets in again, whatever was tried in between."""
    first = enter(*BEARER)
    refused(*BEARER, ("Origin", "https://evil.example"))
    assert enter(*BEARER) == first
