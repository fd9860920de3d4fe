"""Keys, tokens, instructions and audio go where they must and nowhere else, whatever goes wrong.

Canaries are planted in each; then every log line, every byte towards the browser and everything that Redis was ever
told is searched for them.
"""

import asyncio
import base64
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from hashlib import sha256
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from redis import Redis

from local_cloud.realtime import Simulator, faults
from service_kit.session_token import SessionTokenCodec
from tests.end_to_end.clients import Json, Minted, appends, connect, mint, text_item, upstream_of
from tests.end_to_end.traces import Traces
from tests.stack import Stack

ON_BOTH_LIBRARIES = True
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

UPSTREAM_KEY = "sk-canary-upstream-4f1c"
CALLER_KEY = "sk-canary-caller-9a2e"
SIGNING_KEY = "canary-signing-key-0123456789abcdef-0123456789"
PSEUDONYM_KEY = "canary-pseudonym-key-0123456789abcdef-01234567"
ORGANISATION = "org-canary-77aa"
INSTRUCTIONS = "canary-instructions: the cellar door code is 8841"
TOOL = "canary_tool_open_cellar"
TYPED = "canary-typed: my blood type is rare"
SUBJECT = "canary-subject@example.com"
FROM_MODEL = f"Incorrect API key provided: {UPSTREAM_KEY}, organization {ORGANISATION}, {INSTRUCTIONS}"
AUDIO = random.Random(8841).randbytes(4_800)
"""Noise of 100 ms, so that no part of it can be anywhere by chance."""

SETTINGS = {
    "LOG_LEVEL": "DEBUG",
    "OPENAI_API_KEY": UPSTREAM_KEY,
    "TOKEN_SIGNING_KEYS": SIGNING_KEY,
    "PSEUDONYM_KEY": PSEUDONYM_KEY,
    "CALLER_API_KEYS": json.dumps(
        [
            {
                "name": "shop",
                "sha256": sha256(CALLER_KEY.encode()).hexdigest(),
                "tenant": "acme",
                "profiles": ["default"],
                "max_sessions_per_subject": 100,
            }
        ]
    ),
}
SESSION = {
    "type": "realtime",
    "instructions": INSTRUCTIONS,
    "tools": [{"type": "function", "name": TOOL, "description": INSTRUCTIONS, "parameters": {"type": "object"}}],
}
NEVER = (UPSTREAM_KEY, CALLER_KEY, SIGNING_KEY, PSEUDONYM_KEY, ORGANISATION, "canary-instructions", "cellar door")


class Evidence:
    """What was seen: bytes towards a browser, commands to Redis, values in Redis, and the tokens that were used."""

    def __init__(self) -> None:
        self.to_browser = bytearray()
        self.to_redis = bytearray()
        self.in_redis: list[bytes] = []
        self.tokens: list[str] = []

    def secrets_of_tokens(self) -> list[bytes]:
        """Every spelling in which a token, or the id inside it, could be written down."""
        codec = SessionTokenCodec([SIGNING_KEY], "development")
        ids = [codec.decode(token, time.time()).secret for token in self.tokens]
        encoders = (bytes, base64.b64encode, base64.urlsafe_b64encode, bytes.hex)
        spelled = [encode(secret) for secret in ids for encode in encoders]
        parts = [part.encode() for token in self.tokens for part in (token, token.split(".")[0][3:], token[-30:])]
        return parts + [text.encode() if isinstance(text, str) else text for text in spelled]


@asynccontextmanager
async def tapped(port: int, copy: bytearray) -> AsyncIterator[int]:
    """A port in front of ``port``; what comes back is copied."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                heard += data
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, far_writer, bytearray()), carry(far_reader, writer, copy))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def monitored(port: int, copy: bytearray, ready: asyncio.Event) -> None:
    """Copy every command that Redis is given, scripts' own included."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"MONITOR\r\n")
        assert await reader.readline() == b"+OK\r\n"
        ready.set()
        while data := await reader.read(65_536):
            copy += data
    finally:
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def evidence(stack: Stack, running_simulator: Simulator) -> Evidence:
    """Everything that can be seen of good sessions, refused handshakes and failing models."""
    evidence = Evidence()
    relay_port, ready = urlsplit(stack.relay_base_urls[0]).port, asyncio.Event()
    assert relay_port is not None
    watching = asyncio.create_task(monitored(stack.redis.port, evidence.to_redis, ready))
    try:
        await ready.wait()
        async with (
            tapped(relay_port, evidence.to_browser) as port,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http,
        ):
            stack.relay_base_urls[0] = f"http://127.0.0.1:{port}/v1"
            await converse(http, stack, running_simulator, evidence)
            await knock_in_every_wrong_way(http, stack, evidence)
            await meet_failing_models(http, stack, running_simulator, evidence)
            await ask_wrongly_for_tokens(http, stack, evidence)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    return evidence


async def fresh(http: aiohttp.ClientSession, stack: Stack, evidence: Evidence) -> Minted:
    minted = await mint(http, stack, api_key=CALLER_KEY, session=SESSION, airlock={"subject": SUBJECT})
    evidence.tokens.append(minted.token)
    return minted


async def converse(http: aiohttp.ClientSession, stack: Stack, simulator: Simulator, evidence: Evidence) -> None:
    """A good session: text, audio, a function call, and a model that tells more than it should."""
    minted = await fresh(http, stack, evidence)
    talk, upstream = await upstream_of(http, stack, simulator, minted, speaks_airlock=True)
    async with talk:
        await talk.until("session.created")
        await talk.send(*appends(AUDIO * 4), {"type": "input_audio_buffer.commit"})
        await talk.until("conversation.item.done")
        await talk.ask(TYPED)
        await talk.send({"type": "session.update", "session": {"type": "realtime", "instructions": INSTRUCTIONS}})
        await talk.until("session.updated")
        for event in INDISCREET:
            upstream.emit(event)
        upstream.emit({"type": "end.of.test", "event_id": "event_end"})
        await talk.until("end.of.test")
        evidence.in_redis += dump(stack)
    assert bytes(upstream.received_audio) == AUDIO * 4


def dump(stack: Stack) -> list[bytes]:
    """Every key and every value in Redis."""
    found: list[bytes] = []
    with Redis.from_url(stack.redis.url) as redis:
        for key in redis.scan_iter():
            found.append(key)
            match redis.type(key):
                case b"hash":
                    found += [part for pair in redis.hgetall(key).items() for part in pair]
                case b"zset":
                    found += redis.zrange(key, 0, -1)
                case b"list":
                    found += redis.lrange(key, 0, -1)
                case b"string":
                    found.append(redis.get(key) or b"")
                case other:
                    raise AssertionError(f"a kind of key that this test does not look into: {other!r}")
    return found


async def knock_in_every_wrong_way(http: aiohttp.ClientSession, stack: Stack, evidence: Evidence) -> None:
    """Handshakes that are refused, each with a good token somewhere in it."""
    token = (await fresh(http, stack, evidence)).token
    url = f"{stack.relay_base_urls[0]}/realtime"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = base64.b64encode(bytes(16)).decode()
    bearer = {"Authorization": f"Bearer {token}"}
    offered = f"openai-insecure-api-key.{token}"
    wrong: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("", {"Sec-WebSocket-Protocol": offered}),
        ("", {"Sec-WebSocket-Protocol": f"chat, {offered}"}),
        ("", {"Sec-WebSocket-Protocol": f"realtime, {offered}", **bearer}),
        ("", {"Sec-WebSocket-Protocol": f"realtime, {offered}, {offered}"}),
        ("", {"Sec-WebSocket-Protocol": f"realtime, {offered}x"}),
        (f"?token={token}", bearer),
        (f"?api-key={token}", {}),
        (f"?anything={token}", {}),
        (f"?call_id={quote(INSTRUCTIONS)}", bearer),
        (f"?model={quote(INSTRUCTIONS)}", bearer),
        (f"/{token}", bearer),
        ("", bearer | {"Origin": f"https://{token[:40]}.example"}),
        ("", bearer | {"X-Long": token * 100}),
        ("", {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}"}),
        ("", {"Authorization": f"Bearer {token}="}),
        ("", {"Authorization": f"Bearer {token[:-2]}"}),
        ("", {"Authorization": f"Bearer {UPSTREAM_KEY}"}),
        ("", {"Authorization": f"Bearer {CALLER_KEY}"}),
        ("", bearer | {"Sec-WebSocket-Version": "8"}),
        ("", bearer | {"Sec-WebSocket-Key": token}),
    ]
    for suffix, headers in wrong:
        async with http.get(f"{url}{suffix}", headers=upgrade | headers) as answer:
            assert 400 <= answer.status < 500, (suffix, headers, answer.status)
            assert token not in str(answer.headers)
    for raw in (
        f"GET /v1/realtime?{token} HTTP/9.9\r\n\r\n",
        f"{token} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\n{token}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\x00\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(raw.encode())
        assert (await reader.readline()).endswith(b" 400 Bad Request\r\n")
        await reader.read()
        writer.close()
    # None of these spent it.
    async with await connect(http, stack, token) as talk:
        await talk.until("session.created")


async def meet_failing_models(
    http: aiohttp.ClientSession, stack: Stack, simulator: Simulator, evidence: Evidence
) -> None:
    """Models that refuse, and say the key, the organisation and the instructions while doing so."""
    for fault in (
        faults.HttpStatus(status=401, message=FROM_MODEL, code="invalid_api_key"),
        faults.HttpStatus(status=500, message=FROM_MODEL),
        faults.HttpStatus(status=302, location=f"http://127.0.0.1:9/{UPSTREAM_KEY}"),
        faults.RejectAfterUpgrade(message=FROM_MODEL, code="beta_api_shape_disabled"),
        faults.RejectAfterUpgrade(message=FROM_MODEL),
        faults.RefuseSessionUpdate(message=FROM_MODEL, param=FROM_MODEL, code=FROM_MODEL),
        faults.AlterSessionUpdated(changes={"instructions": FROM_MODEL}),
        faults.Interject(after="session.created", then="close", close_code=4000, close_reason=FROM_MODEL),
        faults.Interject(after="session.created", text=FROM_MODEL, then="abort"),
        faults.close_mid_response(1011, FROM_MODEL),
        faults.FailResponse(message=FROM_MODEL, code=FROM_MODEL, type=FROM_MODEL),
        faults.garbage("conversation.item.added", FROM_MODEL),
        faults.binary_frame("conversation.item.added", FROM_MODEL.encode()),
    ):
        simulator.faults.add(fault)
        async with await connect(http, stack, await fresh(http, stack, evidence), speaks_airlock=True) as talk:
            await talk.send(text_item(TYPED), {"type": "response.create"})
            with contextlib.suppress(AssertionError):
                await talk.until("response.done")


async def ask_wrongly_for_tokens(http: aiohttp.ClientSession, stack: Stack, evidence: Evidence) -> None:
    """Mints that are refused, with secrets in them."""
    url = f"{stack.mint_base_url}/realtime/client_secrets"
    for key, body in (
        (CALLER_KEY + "x", "{}"),
        (UPSTREAM_KEY, "{}"),
        (evidence.tokens[0], "{}"),
        (CALLER_KEY, "{" + INSTRUCTIONS),
        (CALLER_KEY, json.dumps({"session": {"type": "realtime", "instructions": [INSTRUCTIONS]}})),
        (CALLER_KEY, json.dumps({"session": {"type": "realtime", INSTRUCTIONS: 1}})),
        (CALLER_KEY, json.dumps({"airlock": {INSTRUCTIONS: 1}})),
        (CALLER_KEY, json.dumps({"airlock": {"subject": SUBJECT * 100}})),
        (CALLER_KEY, json.dumps({INSTRUCTIONS: INSTRUCTIONS * 1_000})),
    ):
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        async with http.post(url, data=body, headers=headers) as answer:
            assert 400 <= answer.status < 500
            assert not found([key.encode()], await answer.read())


INDISCREET: list[Json] = [
    {"type": "error", "event_id": "e1", "error": {"type": FROM_MODEL, "code": FROM_MODEL, "message": FROM_MODEL}},
    {"type": "error", "event_id": "e2", "error": {"code": "invalid_value", "message": FROM_MODEL, "param": FROM_MODEL}},
    {"type": "session.created", "event_id": "e3", "session": SESSION},
    {"type": "session.updated", "event_id": "e4", "session": SESSION},
    {"type": "transcription_session.updated", "event_id": "e5", "session": SESSION},
    {"type": "session.novelty", "event_id": "e6", "session": SESSION, "deep": [{"tools": [INSTRUCTIONS]}]},
    {"type": "response.created", "event_id": "e7", "response": {"id": "resp_1", **SESSION}},
    {
        "type": "response.done",
        "event_id": "e8",
        "response": {
            "id": "resp_1",
            "status": "failed",
            "instructions": INSTRUCTIONS,
            "status_details": {"type": "failed", "error": {"type": "x", "code": "x", "message": FROM_MODEL}},
        },
    },
    {
        "type": "conversation.item.input_audio_transcription.failed",
        "event_id": "e9",
        "item_id": "item_1",
        "content_index": 0,
        "error": {"type": "x", "code": "x", "message": FROM_MODEL, "param": None},
    },
    {"type": "rate_limits.updated", "event_id": "e10", "rate_limits": [{"name": ORGANISATION}]},
    {"type": "some.failure", "event_id": "e11", "error": {"code": "x", "message": FROM_MODEL}},
]


def found(canaries: Iterable[bytes], text: bytes) -> list[bytes]:
    """Each canary that is in the text, with what stands around it."""
    places = ((canary, text.find(canary)) for canary in canaries)
    return [text[max(0, at - 200) : at + len(canary) + 100] for canary, at in places if at >= 0]


def encoded(*texts: str) -> list[bytes]:
    """The texts themselves, and what base64 makes of their insides at each of the three alignments."""
    plain = [text.encode() for text in texts]
    return plain + [base64.b64encode(bytes(skip) + text)[4:-4] for text in plain for skip in range(3)]


HEARD = [AUDIO[:64], base64.b64encode(AUDIO)[:64], AUDIO[:64].hex().encode()]


async def test_no_log_line_of_either_service_holds_a_canary(stack: Stack, traces: Traces, evidence: Evidence) -> None:
    log = "\n".join(stack.processes[name].log() for name in ("token_service", "relay-0")).encode()
    assert found(encoded(*NEVER, TYPED, SUBJECT, TOOL), log) == []
    assert found(HEARD, log) == []
    assert found(evidence.secrets_of_tokens(), log) == []
    # The lines are there, though, and everything on them is one JSON object.
    assert len(traces.lines("session.end")) == len(evidence.tokens)
    assert len(traces.lines("redeem.denied")) >= 15
    assert len(traces.lines("mint.denied", "token_service")) >= 8


async def test_no_byte_towards_a_browser_holds_a_canary(evidence: Evidence) -> None:
    to_browser = bytes(evidence.to_browser)
    assert found(encoded(*NEVER, SUBJECT, TOOL), to_browser) == []
    assert found(HEARD, to_browser) == []
    assert found(evidence.secrets_of_tokens(), to_browser) == []
    assert TYPED.encode() in to_browser  # the tap works: the model repeats what was typed


async def test_redis_was_never_told_a_canary(evidence: Evidence) -> None:
    assert evidence.to_redis.count(b"EVALSHA") > len(evidence.tokens)
    for seen in (bytes(evidence.to_redis), *evidence.in_redis):
        assert found(encoded(*NEVER, TYPED, SUBJECT, TOOL), seen) == []
        assert found(HEARD, seen) == []
        assert found(evidence.secrets_of_tokens(), seen) == []
    assert b"sealed" in evidence.in_redis
