"""Messages as large as OpenAI takes them, where the profile says so; the usual limit holds everywhere else."""

import base64
import hashlib

import aiohttp
import pytest

from local_cloud.realtime import Simulator, record
from tests.end_to_end.clients import Json, mint, talking, upstream_of
from tests.end_to_end.traces import Traces
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SECONDS = 30.0
MOST_BYTES = 15 << 20
"""Audio in one append (protocol reference §5.9)."""


@pytest.fixture(autouse=True)
def _everything_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MOST_FRAME_BYTES", 4 * MOST_BYTES)


def noise(size: int) -> str:
    """Base64 of bytes of which no two parts are alike, so that a lost or moved piece would show."""
    return base64.b64encode(hashlib.shake_128(b"noise").digest(size)).decode()


def picture(size: int) -> Json:
    part = {"type": "input_image", "image_url": f"data:image/jpeg;base64,{noise(size)}", "detail": "low"}
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [part]}}


@pytest.mark.parametrize("spelling", ["canonical", "other"])
async def test_an_append_of_15_mib_passes(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, spelling: str
) -> None:
    minted = await mint(http, stack, airlock={"profile": "large"})
    talk, upstream = await upstream_of(http, stack, simulator, minted)
    async with talk:
        await talk.until("session.created", SECONDS)
        append = {"type": "input_audio_buffer.append", "audio": noise(MOST_BYTES)}
        # With an id it is not what the fast path knows, and is read and rebuilt.
        await talk.send(append if spelling == "canonical" else {**append, "event_id": "mine"})
        await upstream.wait_received("input_audio_buffer.append", timeout=SECONDS)
        (heard,) = upstream.received.of_type("input_audio_buffer.append")
        assert heard["audio"] == append["audio"]
    receipt = await traces.session_end(minted.token_id)
    assert receipt["audio_in_seconds"] == MOST_BYTES / 48_000


@pytest.mark.parametrize("size", [100, MOST_BYTES])
async def test_a_picture_passes_where_the_profile_says_so(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession, size: int
) -> None:
    minted = await mint(http, stack, airlock={"profile": "large"})
    talk, upstream = await upstream_of(http, stack, simulator, minted)
    async with talk:
        await talk.until("session.created", SECONDS)
        await talk.send(picture(size))
        shown = await talk.until("conversation.item.done", SECONDS)
        assert shown["item"]["content"] == picture(size)["item"]["content"]
        await talk.send({"type": "response.create", "response": {"input": [picture(size)["item"]]}})
        await talk.until("response.done", SECONDS)
        (created,) = upstream.received.of_type("conversation.item.create")
        (asked,) = upstream.received.of_type("response.create")
    assert created == picture(size)
    assert asked["response"]["input"] == [created["item"]]


@pytest.mark.parametrize(
    ("profile", "url", "refusal"),
    [
        ("default", "data:image/png;base64,AAAA", ("event_not_allowed", "item.content[0].type")),
        ("large", "https://example.com/picture.png", ("invalid_event", "item.content[0].image_url")),
    ],
)
async def test_a_picture_elsewhere_reaches_no_model(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession, profile: str, url: str, refusal: tuple[str, str]
) -> None:
    minted = await mint(http, stack, airlock={"profile": profile})
    talk, upstream = await upstream_of(http, stack, simulator, minted)
    async with talk:
        await talk.until("session.created")
        item = {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": url}]}
        await talk.send({"type": "conversation.item.create", "item": item})
        error = (await talk.until("error"))["error"]
        assert (error["code"], error["param"]) == refusal
        assert await talk.ask()
        assert upstream.received.counts["conversation.item.create"] == 1


async def test_beyond_the_profile_s_limit_the_session_ends(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (talk, minted):
        await talk.send({"type": "input_audio_buffer.append", "audio": noise(65_536)})
        code, _ = await talk.until_closed()
        assert code == 1009
    assert (await traces.session_end(minted.token_id))["code"] == "message_too_big"
