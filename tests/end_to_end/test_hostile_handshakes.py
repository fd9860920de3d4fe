"""Handshakes as no browser and no SDK makes them, byte for byte, against the real relay: none gets in by a trick, none
costs its owner the token, and none makes the relay ask Redis or write the token down.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from itsdangerous import URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode

from local_cloud.realtime import Simulator
from service_kit.session_token import SessionToken, SessionTokenCodec
from tests.end_to_end.clients import Minted, connect, mint
from tests.end_to_end.traces import Traces
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SIGNING_KEY = "a-signing-key-of-this-test-0123456789abcdef"
SETTINGS = {"TOKEN_SIGNING_KEYS": SIGNING_KEY}
SECONDS = 10.0

UPGRADE = (
    "Host: relay.example",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
BEARER, API_KEY = "Authorization: Bearer TOKEN", "api-key: TOKEN"
BY_SUBPROTOCOL = "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.TOKEN"
FRAME = b"\x81\x80\x01\x02\x03\x04"


def without(name: str, *instead: str) -> tuple[str, ...]:
    return (*(line for line in UPGRADE if not line.startswith(f"{name}:")), *instead)


async def answer_to(stack: Stack, request: str, lines: Sequence[str], token: str, after: bytes = b"") -> bytes:
    """The head of the relay's answer, and the body of a refusal."""
    port = int(stack.relay_base_urls[0].split(":")[2].partition("/")[0])
    text = "\r\n".join((request, *lines, f"Origin: {stack.page_url}", "", "")).replace("TOKEN", token)
    text = text.replace("PAGE", stack.page_url)
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(text.encode("latin-1") + after)
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            return head + (await reader.readexactly(int(length[0].split(b":")[1])) if length else b"")
        finally:
            writer.close()


def scripts_run(traces: Traces) -> int:
    """How often Redis was asked for a step that counts."""
    stats: dict[str, Any] = traces.redis.info("commandstats")
    return sum(int(stats[name]["calls"]) for name in ("cmdstat_eval", "cmdstat_evalsha") if name in stats)


def logged(stack: Stack) -> str:
    return stack.processes["relay-0"].log()


GET = "GET /v1/realtime HTTP/1.1"
TRICKS: list[tuple[str, str, Sequence[str], int]] = [
    # Credentials: exactly one, never in the URL, never a cookie
    ("two kinds", GET, (*UPGRADE, BEARER, BY_SUBPROTOCOL), 400),
    ("three kinds", GET, (*UPGRADE, BEARER, BY_SUBPROTOCOL, API_KEY), 400),
    ("the same twice", GET, (*UPGRADE, BEARER, BEARER), 400),
    ("twice in one list", GET, (*UPGRADE, BY_SUBPROTOCOL + ", openai-insecure-api-key.TOKEN"), 400),
    ("twice over two lines", GET, (*UPGRADE, BY_SUBPROTOCOL, BY_SUBPROTOCOL), 400),
    ("good and bad", GET, (*UPGRADE, BEARER, "api-key: wrong"), 400),
    ("good and Basic", GET, (*UPGRADE, BEARER, "Authorization: Basic YTpi"), 401),
    ("a cookie", GET, (*UPGRADE, "Cookie: token=TOKEN; api-key=TOKEN"), 401),
    ("in the query", "GET /v1/realtime?token=TOKEN HTTP/1.1", UPGRADE, 400),
    ("in the query, too", "GET /v1/realtime?anything=TOKEN HTTP/1.1", (*UPGRADE, BEARER), 400),
    ("in the query, encoded", "GET /v1/realtime?x=%65k_1 HTTP/1.1", (*UPGRADE, BEARER), 400),
    ("in the path", "GET /v1/realtime/TOKEN HTTP/1.1", (*UPGRADE, BEARER), 404),
    # Other spellings
    ("padding", GET, (*UPGRADE, BEARER + "="), 401),
    ("more padding", GET, (*UPGRADE, BEARER + "=="), 401),
    ("a foreign character", GET, (*UPGRADE, BEARER + "!"), 401),
    ("a space that is none", GET, (*UPGRADE, BEARER + "\xa0"), 401),
    ("another prefix", GET, (*UPGRADE, "Authorization: Bearer EK_TOKEN"), 401),
    # Subprotocols
    ("no realtime", GET, (*UPGRADE, "Sec-WebSocket-Protocol: openai-insecure-api-key.TOKEN"), 400),
    ("another case", GET, (*UPGRADE, BY_SUBPROTOCOL.replace("realtime", "Realtime")), 400),
    # Origins
    ("two Origins", GET, (*UPGRADE, BEARER, "Origin: https://evil.example"), 403),
    ("the Origin twice", GET, (*UPGRADE, BEARER, "Origin: PAGE"), 403),
    # Not this upgrade
    ("HTTP/1.0", "GET /v1/realtime HTTP/1.0", (*UPGRADE, BEARER), 426),
    ("version 8", GET, (*without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), BEARER), 426),
    ("version 7", GET, (*without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 7"), BEARER), 426),
    ("no upgrade", GET, (*without("Upgrade"), BEARER), 426),
    ("POST", "POST /v1/realtime HTTP/1.1", (*UPGRADE, BEARER), 405),
    # A body: a proxy before us could take for one what we would read as frames
    ("a body", GET, (*UPGRADE, BEARER, f"Content-Length: {len(FRAME)}"), 400),
    ("a chunked body", GET, (*UPGRADE, BEARER, "Transfer-Encoding: chunked"), 400),
    ("two lengths", GET, (*UPGRADE, BEARER, "Content-Length: 0", "Content-Length: 6"), 400),
    ("length and chunks", GET, (*UPGRADE, BEARER, "Content-Length: 6", "Transfer-Encoding: chunked"), 400),
    # Header lines that two readers read differently
    ("a folded line", GET, (*UPGRADE, "X: a", " " + BEARER), 400),
    ("a space before the colon", GET, (*UPGRADE, BEARER.replace(":", " :", 1)), 400),
    ("NUL", GET, (*UPGRADE, BEARER + "\0"), 400),
    # Other calls and models
    ("another call", "GET /v1/realtime?call_id=rtc_1 HTTP/1.1", (*UPGRADE, BEARER), 400),
    ("another call, encoded", "GET /v1/realtime?call%5fid=rtc_1 HTTP/1.1", (*UPGRADE, BEARER), 400),
    ("two models", "GET /v1/realtime?model=gpt-realtime-2.1&model=x HTTP/1.1", (*UPGRADE, BEARER), 400),
    ("a model that is no text", "GET /v1/realtime?model=\xff HTTP/1.1", (*UPGRADE, BEARER), 400),
]


@pytest.mark.parametrize(
    ("request_line", "lines", "status"), [row[1:] for row in TRICKS], ids=[row[0] for row in TRICKS]
)
async def test_a_trick_gets_nobody_in_and_costs_no_token(
    stack: Stack,
    simulator: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    request_line: str,
    lines: Sequence[str],
    status: int,
) -> None:
    minted = await mint(http, stack)
    asked, dialled = scripts_run(traces), len(simulator.connections)
    has_body = any(line.startswith(("Content-Length", "Transfer-Encoding")) for line in lines)
    answer = await answer_to(stack, request_line, lines, minted.token, FRAME if has_body else b"")
    assert int(answer.split(b" ", 2)[1]) == status
    assert minted.token.encode() not in answer
    assert traces.token(minted.token_id) == {"state": "minted"}
    assert scripts_run(traces) == asked
    assert len(simulator.connections) == dialled
    assert minted.token[3:40] not in logged(stack)


async def test_the_answer_to_an_upgrade_repeats_nothing_of_the_request(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    """Of the subprotocols it selects ``realtime``, over however many lines they came; no extension, no banner."""
    for protocols in (
        [BY_SUBPROTOCOL + ", airlock.v1"],
        ["Sec-WebSocket-Protocol: airlock.v1", BY_SUBPROTOCOL],
        ["Sec-WebSocket-Protocol: openai-insecure-api-key.TOKEN", "Sec-WebSocket-Protocol: realtime"],
    ):
        minted = await mint(http, stack)
        extension = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
        head = await answer_to(stack, GET, (*UPGRADE, *protocols, extension), minted.token)
        assert head.startswith(b"HTTP/1.1 101 ")
        answered = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        assert answered[b"sec-websocket-protocol"] == b"realtime"
        assert not {b"server", b"sec-websocket-extensions", b"set-cookie"} & answered.keys()
        assert answered[b"x-content-type-options"] == b"nosniff"
        assert minted.token.encode() not in head


def forged(stack: Stack, minted: Minted) -> dict[str, str]:
    """Tokens that are not ours, beginning with those that only somebody with the key could make."""
    genuine = SessionTokenCodec([SIGNING_KEY], "development")
    id_and_end = [base64_encode(bytes(24)).decode(), minted.expires_at]
    payload, signed_at, signature = minted.token.removeprefix("ek_").split(".")

    def signed(salt: str, **how: object) -> str:
        serializer = URLSafeTimedSerializer(SIGNING_KEY, salt=salt, signer_kwargs=how)
        text = serializer.dumps(id_and_end)
        return f"ek_{text if isinstance(text, str) else text.decode()}"

    ours = "airlock/session-token/v1/development"
    sha1 = {"key_derivation": "hmac"}
    return {
        "SHA-1, itsdangerous' own": signed(ours, **sha1),
        "another key derivation": signed(ours, **genuine._serializer.signer_kwargs | {"key_derivation": "concat"}),
        "for another purpose": signed("airlock/another-purpose/v1/development", **genuine._serializer.signer_kwargs),
        "of another environment": SessionTokenCodec([SIGNING_KEY], "production").encode(
            SessionToken(bytes(24), minted.expires_at), minted.expires_at - 300
        ),
        "of another key": SessionTokenCodec(["x" * 40], "development").encode(
            SessionToken(bytes(24), minted.expires_at), minted.expires_at - 300
        ),
        "another id under this signature": f"ek_{'A' * len(payload)}.{signed_at}.{signature}",
        "another time under this signature": f"ek_{payload}.{'B' + signed_at[1:]}.{signature}",
        "no signature": f"ek_{payload}.{signed_at}.",
        "the public id": minted.token_id,
        "the public id in a token's place": f"ek_{minted.token_id}",
        "too long": "ek_" + "a" * 4_000,
        "nothing": "ek_",
    }


async def test_every_forgery_gets_the_same_answer_and_redis_is_never_asked(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    asked, bodies = scripts_run(traces), set()
    for name, token in forged(stack, minted).items():
        for lines in ((*UPGRADE, BEARER), (*UPGRADE, BY_SUBPROTOCOL)):
            answer = await answer_to(stack, GET, lines, token)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 401 "), name
            error = json.loads(body)["error"]
            error["message"] = error["message"].partition(" (request ")[0]
            bodies.add(json.dumps(error))
    assert len(bodies) == 1
    assert "invalid_token" in bodies.pop()
    assert scripts_run(traces) == asked
    assert traces.token(minted.token_id) == {"state": "minted"}
    async with await connect(http, stack, minted) as talk:
        await talk.until("session.created")


async def test_a_token_is_made_of_characters_that_a_subprotocol_may_hold(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    """RFC 9110 §5.6.2; browsers refuse to connect with any other."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~")
    for minted in await asyncio.gather(*(mint(http, stack) for _ in range(50))):
        assert set(minted.token) <= allowed
        assert len(minted.token) <= 512
