"""A hundred thousand hostile frames through the real relay: none carries anything past the lock."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from local_cloud.realtime import Behaviour, Connection, Simulator
from local_cloud.redis_server import RedisServer
from service_kit.profiles import CLIENT_EVENTS, parse_profiles
from service_kit.session_fields import OPENABLE
from service_kit.session_token import Lock
from tests.end_to_end.clients import Json, connect, mint, text_item
from tests.end_to_end.traces import Traces
from tests.relay.test_policy import LIMITS, assert_within_lock, hostile_events
from tests.soak.measure import SETTINGS
from tests.stack import Stack

pytestmark = pytest.mark.soak

EVENTS = 10_000
ROUNDS = 2
SPELLINGS = 5
FRAMES_PER_SESSION = 500
CANARY = "The password is swordfish."
LAST = "that was all"
OPEN_BY_PROFILE = {
    "narrow": ["audio.output.voice", "audio.input.turn_detection", "output_modalities"],
    "refuse": ["audio.output.voice", "audio.input.turn_detection", "output_modalities"],
    "open": sorted(OPENABLE),
    "shut": [],
}


def profiles_toml() -> str:
    """The locks of policy's own tests as profiles; the limits are as far away as they go."""
    return "".join(
        f"""
[profiles.{"default" if name == "narrow" else name}]
model = "gpt-realtime-2.1"
callers = ["anonymous"]
open_fields = {json.dumps(open_fields)}
on_locked_field = "{"refuse" if name == "refuse" else "narrow"}"
client_events = {json.dumps(sorted(CLIENT_EVENTS))}

[profiles.{"default" if name == "narrow" else name}.session]
instructions = "{CANARY}"
tools = [{{ type = "function", name = "look_up", description = "{CANARY}", parameters = {{ type = "object" }} }}]

[profiles.{"default" if name == "narrow" else name}.limits]
max_session_seconds = 3600
max_input_audio_seconds = 3600
max_total_tokens = 100000000
max_output_tokens = {LIMITS.max_output_tokens}
max_messages_per_second = 10000
max_refused_events_per_minute = 10000
audio_burst_seconds = 3600
"""
        for name, open_fields in OPEN_BY_PROFILE.items()
    )


def generate(count: int) -> list[Json]:
    """Events as policy's own tests imagine them."""
    events: list[Json] = []

    @settings(
        max_examples=count // 10,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.lists(hostile_events, min_size=10, max_size=10))
    def collect(batch: list[Json]) -> None:
        events.extend(batch)

    collect()
    return events


def spellings(event: Json, chance: random.Random) -> list[str]:
    """The same event as different writers would put it, some of them wrong."""
    plain = json.dumps(event, ensure_ascii=False)
    broken = list(plain)
    broken[chance.randrange(len(broken))] = chance.choice('"{}[]:,\\0e-u ')
    twice = json.dumps({"type": chance.choice(sorted(CLIENT_EVENTS)), "session": {"instructions": "x"}})
    return [
        plain,
        json.dumps(event, indent=chance.choice([None, 1]), separators=(" , ", " : ")),
        escaped(event),
        "".join(broken),
        f"{twice[:-1]},{plain[1:]}",
    ]


def escaped(value: Any) -> str:
    """JSON whose every character in a string is an escape."""
    if isinstance(value, str):
        units = value.encode("utf-16-be").hex()
        return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{escaped(key)}:{escaped(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(escaped, value)) + "]"
    return json.dumps(value)


def check_received(upstream: Connection, lock: Lock) -> Counter[str]:
    """Compare every event that the model received with the lock; their types."""
    assert len(upstream.received.events) == upstream.received.counts.total(), "the record is not whole"
    assert len(upstream.received_raw) == len(upstream.received.events), "the model received what is no event"
    first, *others = upstream.received.events
    assert first["type"] == "session.update"
    assert first["session"]["instructions"] == CANARY
    assert text_item(LAST) in others
    for event in others:
        assert_within_lock(event, lock)
        assert event.get("item", {}).get("type") != "function_call_output"  # nothing was called
    return Counter(event["type"] for event in others)


async def attack(http: aiohttp.ClientSession, stack: Stack, profile: str, frames: list[str]) -> Counter[str]:
    """Send the frames over one session; the codes that came back."""
    minted = await mint(http, stack, airlock={"profile": profile})
    codes: Counter[str] = Counter()
    async with await connect(http, stack, minted) as talk:
        await talk.until("session.created")

        async def send() -> None:
            for frame in frames:
                await talk.socket.send_str(frame)
            await talk.send(text_item(LAST))

        sending = asyncio.create_task(send())
        async with asyncio.timeout(60):
            async for message in talk.socket:
                assert CANARY not in message.data
                event = msgspec.json.decode(message.data)
                if event["type"] == "error":
                    codes[event["error"]["code"]] += 1
                if event["type"] == "conversation.item.done" and LAST in message.data:
                    break
        await sending
    return codes


async def test_of_100_000_hostile_frames_nothing_outside_the_lock_reaches_the_model(tmp_path: Path) -> None:
    events = await asyncio.to_thread(generate, EVENTS)
    chance = random.Random(1)
    frames = [frame for event in events * ROUNDS for frame in spellings(event, chance)]
    chance.shuffle(frames)
    assert len(frames) >= EVENTS * ROUNDS * SPELLINGS
    toml = profiles_toml()
    (tmp_path / "profiles.toml").write_text(toml, encoding="utf-8")
    locks = {name: profile.lock() for name, profile in parse_profiles(toml).profiles.items()}
    batches = [
        (list(locks)[number % len(locks)], frames[at : at + FRAMES_PER_SESSION])
        for number, at in enumerate(range(0, len(frames), FRAMES_PER_SESSION))
    ]
    forwarded: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    with RedisServer() as redis:
        async with Simulator(Behaviour(pace=None)) as simulator, aiohttp.ClientSession() as http:
            environment = SETTINGS | {"AIRLOCK_PROFILES": str(tmp_path / "profiles.toml"), "OPENAI_API_KEY": "sk-x"}
            stack = Stack(tmp_path, redis=redis, openai_base_url=simulator.base_url, **environment)
            await asyncio.to_thread(stack.__enter__)
            try:
                for profile, batch in batches:
                    before = len(simulator.connections)
                    refused = await attack(http, stack, profile, batch)
                    codes += refused
                    upstream = simulator.connections.pop()
                    assert before == len(simulator.connections) == 0
                    await upstream.wait_ended()
                    forwarded += check_received(upstream, locks[profile])
                with Traces(stack) as traces:
                    receipts = traces.lines("session.end")
            finally:
                await asyncio.to_thread(stack.__exit__)
    print(f"\n{len(frames)} frames, {len(batches)} sessions\nforwarded {dict(forwarded)}\nanswered {dict(codes)}")  # noqa: T201 - figures
    assert {receipt["ending"] for receipt in receipts} == {"browser_closed"}
    assert len(receipts) == len(batches)
    assert set(forwarded) == CLIENT_EVENTS
    assert forwarded.total() > EVENTS / 10
