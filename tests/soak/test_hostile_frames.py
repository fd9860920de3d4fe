"""A hundred thousand hostile frames through the real relay: none carries anything past the lock.

What the simulator received is compared with the lock by another statement of it (:mod:`tests.relay.escapes`), and so is
what the simulator then took its session to be.
"""

import asyncio
import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from local_cloud.realtime import Behaviour, Connection, Simulator
from local_cloud.redis_server import RedisServer
from service_kit.profiles import CLIENT_EVENTS
from tests.end_to_end.clients import Json, Talk, connect, mint, text_item
from tests.end_to_end.traces import Traces
from tests.relay.escapes import Fence, escapes
from tests.relay.hostile_frames import OPEN_CALL, random_frame
from tests.soak.measure import SETTINGS, complaints
from tests.stack import Stack

pytestmark = pytest.mark.soak

SESSIONS = 250
FRAMES_PER_SESSION = 400
CANARY = "The password is swordfish."
VOICE = "marin"
MOST_OUTPUT_TOKENS = 1_000
LAST = {"type": "conversation.item.retrieve", "event_id": "event_last", "item_id": "item_of_nobody"}
"""The model answers it with an error that bears its id, in sessions of either type."""
TEXT_ONLY = {"type": "response.create", "response": {"output_modalities": ["text"]}}
OPEN_FIELDS = {
    "nothing": [],
    "shipped": ["audio.output.voice", "audio.input.turn_detection", "output_modalities"],
    "voice": ["audio.output"],
    "tools": ["tools", "tool_choice", "max_output_tokens"],
    "everything": [
        "output_modalities", "instructions", "audio", "tools", "tool_choice", "parallel_tool_calls", "reasoning",
        "truncation", "max_output_tokens",
    ],
}  # fmt: skip
LOCKS = {
    f"{session_type}-{mode}-{name}": (session_type, mode, open_fields)
    for session_type, mode, (name, open_fields) in itertools.product(
        ("realtime", "transcription"), ("narrow", "refuse"), OPEN_FIELDS.items()
    )
}
TURNS = [
    name
    for name, (session_type, mode, _) in LOCKS.items()
    for _ in range({"realtime": 3, "transcription": 1}[session_type] * {"narrow": 3, "refuse": 1}[mode])
]
"""Which lock each session has, in turn: most often one that narrows, since that one could narrow too little."""


def profiles_toml() -> str:
    """A profile for each lock, its limits as far away as they go; the default one is not used."""
    realtime = f"""
instructions = "{CANARY}"
tools = [{{ type = "function", name = "look_up", description = "{CANARY}", parameters = {{ type = "object" }} }}]
tool_choice = "auto"
audio = {{ output = {{ voice = "{VOICE}" }} }}
"""
    return "".join(
        f"""
[profiles.{name}]
model = "gpt-realtime-2.1"
callers = ["anonymous"]
open_fields = {json.dumps(open_fields)}
on_locked_field = "{mode}"
client_events = {json.dumps(sorted(CLIENT_EVENTS))}

[profiles.{name}.session]
type = "{session_type}"
{realtime if session_type == "realtime" else ""}
[profiles.{name}.limits]
max_session_seconds = 3600
max_input_audio_seconds = 3600
max_total_tokens = 100000000
max_output_tokens = {MOST_OUTPUT_TOKENS}
max_messages_per_second = 10000
max_refused_events_per_minute = 10000
audio_burst_seconds = 3600
"""
        for name, (session_type, mode, open_fields) in {"default": ("realtime", "narrow", []), **LOCKS}.items()
    )


class Attack:
    """One session of a hostile client, and what it saw."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.session_type, _, self.open_fields = LOCKS[name]
        self.codes: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.frames = {
            event_id: random_frame(chance, event_id=event_id)
            for event_id in (f"event_{number}" for number in range(FRAMES_PER_SESSION))
        }

    async def run(self, talk: Talk) -> None:
        """Send all frames while reading what comes back, then one that must arrive."""
        await talk.until("session.created")
        call_id = await have_a_function_called(talk) if self.session_type == "realtime" else "call_foreign"
        self.seen.update(event["type"] for event in talk.seen)
        sending = asyncio.create_task(self._send(talk, call_id))
        async with asyncio.timeout(60):
            async for message in talk.socket:
                assert self.session_type == "transcription" or CANARY not in message.data
                event = msgspec.json.decode(message.data)
                self.seen[event["type"]] += 1
                if event["type"] == "error":
                    if event["error"].get("event_id") == LAST["event_id"]:
                        break
                    self.codes[event["error"]["code"]] += 1
        await sending

    async def _send(self, talk: Talk, call_id: str) -> None:
        for frame in self.frames.values():
            await talk.socket.send_str(frame.text.replace(OPEN_CALL, call_id))
        await talk.send(LAST)


async def have_a_function_called(talk: Talk) -> str:
    await talk.send(text_item("call look_up"), TEXT_ONLY)
    call_id: str = (await talk.until("response.function_call_arguments.done"))["call_id"]
    await talk.until("response.done")
    return call_id


def check_received(upstream: Connection, attack: Attack) -> Counter[str]:
    """Compare every event that the model received with the lock; what became of the frames."""
    received = upstream.received.events
    assert len(received) == upstream.received.counts.total(), "the record is not whole"
    assert len(upstream.received_raw) == len(received), "the model received what is no event"
    lock, *others = received
    assert lock["type"] == "session.update"
    assert lock["session"].get("instructions") == (CANARY if attack.session_type == "realtime" else None)
    if others[-1] == {"type": "response.cancel"}:
        others.pop()  # the relay's own, since a response was in flight when the client left
    assert others[-1] == LAST
    fence = Fence(
        session_type=attack.session_type,
        open_fields=frozenset(attack.open_fields),
        client_events=CLIENT_EVENTS,
        max_output_tokens=MOST_OUTPUT_TOKENS,
        calls={
            event["item"]["call_id"]
            for event in upstream.sent.of_type("response.output_item.done")
            if event["item"]["type"] == "function_call"
        },
    )
    for event in others:
        assert escapes(event, fence) == [], event
    answered = [call for event in others for call in answered_calls(event)]
    assert len(answered) == len(set(answered)), "a call was answered twice"
    became: Counter[str] = Counter()
    for event in others:
        frame = attack.frames.get(str(event.get("event_id")))
        if frame is not None:
            assert not frame.is_no_json, "what is no JSON was read as an event"
            call_ids = {OPEN_CALL, *fence.calls}
            became["forwarded whole" if same(event, json.loads(frame.text), call_ids) else "forwarded in part"] += 1
        elif event["type"] == "response.create" and event.get("response", {}).get("conversation") == "none":
            became["forwarded in part"] += 1  # its event id is the relay's
        elif event != LAST:
            became["of our own"] += 1
    return became


def same(event: Json, sent: Json, call_ids: set[str]) -> bool:
    """Whether the two are equal, the id of the open call apart."""

    def plain(value: Json) -> str:
        text = json.dumps(value, sort_keys=True)
        for call_id in call_ids:
            text = text.replace(call_id, OPEN_CALL)
        return text

    return plain(event) == plain(sent)


def answered_calls(event: Json) -> list[str]:
    """The calls that an event answers in the conversation or for a response."""
    items: list[Any] = [event.get("item"), *(event.get("response") or {}).get("input", ())]
    return [item["call_id"] for item in items if item and item["type"] == "function_call_output"]


def check_sessions(upstream: Connection, attack: Attack) -> int:
    """Compare every state that the model's session had with the lock; how many there were."""
    updated = upstream.sent.of_type("session.updated")
    locked, *later = (event["session"] for event in updated)
    for session in later:
        for path in outer_paths(session):
            if not any(path == open_field or path.startswith(f"{open_field}.") for open_field in attack.open_fields):
                assert value_at(session, path) == value_at(locked, path), path
        if attack.session_type == "realtime":
            assert session["max_output_tokens"] <= MOST_OUTPUT_TOKENS
    return len(later)


def outer_paths(session: Json) -> list[str]:
    """The session's fields, those of ``audio`` one by one."""
    paths = [key for key in session if key != "audio"]
    for direction, fields in session.get("audio", {}).items():
        paths += [f"audio.{direction}.{key}" for key in fields]
    return paths


def value_at(session: Json, path: str) -> object:
    node: Any = session
    for key in path.split("."):
        node = node[key]
    return node


async def test_of_100_000_hostile_frames_nothing_outside_the_lock_reaches_the_model(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text(profiles_toml(), encoding="utf-8")
    chance = random.Random(1)
    became: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    types: Counter[str] = Counter()
    states = 0
    with RedisServer() as redis:
        async with Simulator(Behaviour(pace=None)) as simulator, aiohttp.ClientSession() as http:
            environment = SETTINGS | {"AIRLOCK_PROFILES": str(tmp_path / "profiles.toml"), "OPENAI_API_KEY": "sk-x"}
            stack = Stack(tmp_path, redis=redis, openai_base_url=simulator.base_url, **environment)
            await asyncio.to_thread(stack.__enter__)
            try:
                with Traces(stack) as traces:
                    for _, name in zip(range(SESSIONS), itertools.cycle(TURNS), strict=False):
                        attack = Attack(name, chance)
                        minted = await mint(http, stack, airlock={"profile": name})
                        async with await connect(http, stack, minted) as talk:
                            await attack.run(talk)
                        (upstream,) = simulator.connections
                        await upstream.wait_ended()
                        simulator.connections.clear()
                        outcome = check_received(upstream, attack)
                        states += check_sessions(upstream, attack)
                        receipt = await traces.session_end(minted.token_id)
                        assert receipt["ending"] == "browser_closed"
                        shown = attack.seen["session.updated"] - (upstream.sent.counts["session.updated"] - 1)
                        outcome["shown the session"] = shown
                        outcome["refused"] = receipt["refused_events"]
                        own = outcome.pop("of our own", 0)
                        assert own == (2 if attack.session_type == "realtime" else 0)
                        assert outcome.total() == FRAMES_PER_SESSION, "a frame without a verdict"
                        became += outcome
                        codes += attack.codes
                        types += Counter(event["type"] for event in upstream.received.events[1:])
                assert complaints(stack) == []
            finally:
                await asyncio.to_thread(stack.__exit__)
    figures = (dict(counted.most_common()) for counted in (became, codes, types))
    print(f"\n{SESSIONS} sessions, {became.total()} frames, {states} states of the model's session", *figures, sep="\n")  # noqa: T201
    assert became.total() >= 100_000
    assert set(types) == CLIENT_EVENTS
    assert became["forwarded whole"] + became["forwarded in part"] > became.total() / 5
