"""Limits: no session lasts, costs, weighs or floods without end."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from typing import Any

from local_cloud.conformance.check import Check, Outcome, failed, passed
from local_cloud.conformance.client import Client, NoAnswer
from local_cloud.conformance.frames import CONTINUATION, PING, TEXT, client_frame, frame_head
from local_cloud.conformance.scrub import TEXT_RESPONSE
from local_cloud.conformance.trial import FENCE, MOST_AT_ONCE, NoSession, Talk, Trial
from local_cloud.realtime.faults import MultiplyUsage

GROUP = "limits"
COST = "OWASP API4:2023, LLM10:2025"
_LATE_SECONDS = 5.0
_MOST_MESSAGE_BYTES = 22_020_096
"""An append of 15 MiB of audio, the largest that OpenAI takes, is a little smaller as text."""
_PIECE_BYTES = 1 << 18
_FLOOD = 4_000
_FLOOD_SECONDS = 20.0
_AUDIO_SECONDS = 180
_SECOND = base64.b64encode(bytes(48_000)).decode()
_MOST_OUTPUT_TOKENS = 4_096
_REFUSED = 100
_RUNAWAY = 1_000_000


async def _session_length(trial: Trial) -> Outcome:
    most = trial.target.session_seconds
    async with trial.session() as talk:
        began_at = time.monotonic()
        for _ in range(int(most + _LATE_SECONDS)):
            if await talk.client.until_over(1.0):
                break
            await talk.client.send(FENCE)  # so that it does not end for being idle
        lasted = time.monotonic() - began_at
        if not talk.client.over:
            return failed(f"a session in use was still open after {lasted:.0f} s; {most:.0f} s were announced")
        told = f"it ended after {lasted:.0f} s: {talk.client.said()}"
        if talk.client.close is None or not talk.client.errors():
            return failed(f"{told}, without an error event and a close frame")
        return passed(told)


async def _whole_message(trial: Trial) -> Outcome:
    size = _MOST_MESSAGE_BYTES + 1
    async with trial.session() as talk:
        return await _too_big(trial, talk, [frame_head(TEXT, size), *_pieces(_large_event(size))])


async def _message_in_pieces(trial: Trial) -> Outcome:
    first, *rest = _pieces(_large_event(_MOST_MESSAGE_BYTES + 1))
    frames = [client_frame(TEXT, first, fin=False)]
    frames += [client_frame(CONTINUATION, piece, fin=piece is rest[-1]) for piece in rest]
    async with trial.session() as talk:
        return await _too_big(trial, talk, frames)


def _large_event(size: int) -> bytes:
    head, tail = b'{"type":"input_audio_buffer.append","audio":"', b'"}'
    return head + b"A" * (size - len(head) - len(tail)) + tail


def _pieces(message: bytes) -> list[bytes]:
    return [message[at : at + _PIECE_BYTES] for at in range(0, len(message), _PIECE_BYTES)]


async def _too_big(trial: Trial, talk: Talk, parts: Sequence[bytes]) -> Outcome:
    sent = 0
    for part in parts:
        if talk.client.over:
            break
        await talk.client.write(part)
        sent += len(part)
    ended = await talk.client.until_over(trial.target.patience)
    if talk.upstream.received.counts["input_audio_buffer.append"]:
        return failed(f"a message of {_MOST_MESSAGE_BYTES + 1} bytes reached the upstream")
    if not ended:
        return failed(f"after a message of {_MOST_MESSAGE_BYTES + 1} bytes the session was neither ended nor told")
    return passed(f"after {sent / 2**20:.1f} MiB of it: {talk.client.said()}")


async def _announced(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        await talk.client.write(frame_head(TEXT, 1 << 40))
        if not await talk.client.until_over(trial.target.patience):
            return failed("a frame that announces 1 TiB is waited for")
        return passed(f"a frame that announces 1 TiB is not waited for: {talk.client.said()}")


async def _flood(trial: Trial, frame: bytes) -> Talk | None:
    """Send a frame again and again, as fast as it goes; the session, once it is over; None if it never was."""
    async with trial.session() as talk:
        async with asyncio.timeout(_FLOOD_SECONDS):
            for _ in range(_FLOOD // 50):
                await talk.client.write(frame * 50)
        return talk if await talk.client.until_over(trial.target.patience) else None


async def _message_rate(trial: Trial) -> Outcome:
    return _judge_flood(await _flood(trial, client_frame(TEXT, json.dumps(FENCE).encode())), "messages")


async def _ping_rate(trial: Trial) -> Outcome:
    return _judge_flood(await _flood(trial, client_frame(PING, b"x" * 100)), "pings")


def _judge_flood(talk: Talk | None, what: str) -> Outcome:
    if talk is None:
        return failed(f"{_FLOOD} {what} in one go did not end the session")
    return passed(f"{_FLOOD} {what} in one go ended the session: {talk.client.said()}")


async def _audio_rate(trial: Trial) -> Outcome:
    frame = client_frame(TEXT, json.dumps({"type": "input_audio_buffer.append", "audio": _SECOND}).encode())
    async with trial.session() as talk:
        began_at = time.monotonic()
        for _ in range(_AUDIO_SECONDS):
            await talk.client.write(frame)
        await talk.fenced(2 * trial.target.patience)
        seconds = time.monotonic() - began_at
        reached = talk.upstream.received.counts["input_audio_buffer.append"]
        if reached >= _AUDIO_SECONDS:
            return failed(f"{_AUDIO_SECONDS} s of audio, sent within {seconds:.0f} s, all reached the upstream")
        return passed(f"of {_AUDIO_SECONDS} s of audio in one go {reached} s reached it: {talk.client.said()}")


async def _concurrency(trial: Trial) -> Outcome:
    clients: list[Client] = []
    try:
        for number in range(MOST_AT_ONCE):
            try:
                client = await trial.knock(await trial.credential())
            except NoAnswer as error:
                return _judge_refusal(number, str(error))
            clients.append(client)
            if not await trial.begins(client):
                return _judge_refusal(number, client.said())
        return failed(f"one caller holds {MOST_AT_ONCE} sessions at once")
    finally:
        await asyncio.gather(*(client.leave() for client in clients))


def _judge_refusal(live: int, said: str) -> Outcome:
    if live == 0:
        raise NoSession(said)
    return passed(f"one caller got {live} session{'s' if live > 1 else ''} at once, and for the next: {said}")


async def _output_tokens(trial: Trial) -> Outcome:
    asked: list[Any] = [None, "inf", _MOST_OUTPUT_TOKENS]
    async with trial.session() as talk:
        await talk.client.send({"type": "session.update", "session": {"type": "realtime", "max_output_tokens": "inf"}})
        for number, most in enumerate(asked, 1):
            more = {} if most is None else {"max_output_tokens": most}
            await talk.client.send({**TEXT_RESPONSE, "response": {**TEXT_RESPONSE["response"], **more}})
            await talk.client.until_event("response.done", trial.target.patience, number)
        sessions = [*talk.upstream.sent.of_type("session.created"), *talk.upstream.sent.of_type("session.updated")]
        most = sessions[-1]["session"].get("max_output_tokens")
        responses = talk.upstream.received.of_type("response.create")
        if not responses:
            return failed("no response.create reached the upstream")
        for event in responses:
            bound = (event.get("response") or {}).get("max_output_tokens", most)
            if not isinstance(bound, int) or bound > _MOST_OUTPUT_TOKENS:
                return failed(f"a client may ask for a response of {bound} tokens")
        return passed("every response was bounded, whatever the client asked for")


async def _usage(trial: Trial) -> Outcome:
    trial.simulator.faults.add(MultiplyUsage(by=_RUNAWAY))
    async with trial.session() as talk:
        await talk.client.send(TEXT_RESPONSE)
        if not await talk.client.until_over(trial.target.patience):
            return failed("a session that used many millions of tokens goes on")
        return passed(f"a session that used many millions of tokens was ended: {talk.client.said()}")


async def _insistence(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        for number in range(_REFUSED):
            await talk.client.send({"type": "no.such.event", "event_id": f"event_{number}"})
        if not await talk.client.until_over(trial.target.patience):
            return failed(f"{_REFUSED} events that no client may send did not end the session")
        return passed(f"{_REFUSED} events that no client may send ended it: {talk.client.said()}")


CHECKS = (
    Check(
        group=GROUP,
        name="A session ends in time, and says why",
        why="a credential for minutes is worth little if its session lasts for hours",
        source="OWASP ASVS 5.0 7.3.2",
        run=_session_length,
    ),
    Check(
        group=GROUP,
        name="A message that is too big is not taken whole",
        why="who must hold it can be made to run out of memory",
        source="RFC 6455 §10.4",
        run=_whole_message,
    ),
    Check(
        group=GROUP,
        name="A message that is too big is not taken in pieces",
        why="a limit on frames alone does not bound messages",
        source="RFC 6455 §10.4",
        run=_message_in_pieces,
    ),
    Check(
        group=GROUP,
        name="A frame that announces too much is not waited for",
        why="the announcement alone could hold a connection for ever",
        source="RFC 6455 §10.4",
        run=_announced,
    ),
    Check(
        group=GROUP,
        name="Messages that come too fast end the session",
        why="each costs the relay and the service work",
        source="OWASP ASVS 5.0 2.4.1",
        run=_message_rate,
    ),
    Check(
        group=GROUP,
        name="Pings that come too fast end the session",
        why="each is answered, and counts as no message",
        source="OWASP ASVS 5.0 2.4.1",
        run=_ping_rate,
    ),
    Check(
        group=GROUP,
        name="Audio that comes much faster than it plays is stopped",
        why="minutes of audio are paid for, however fast they came",
        source=COST,
        run=_audio_rate,
    ),
    Check(
        group=GROUP,
        name=f"One caller does not hold {MOST_AT_ONCE} sessions at once",
        why="one caller could use up everybody's places",
        source="OWASP ASVS 5.0 7.1.2",
        run=_concurrency,
    ),
    Check(
        group=GROUP,
        name="Each response has a bound of tokens",
        why="one answer without end can cost as much as many sessions",
        source=COST,
        run=_output_tokens,
    ),
    Check(
        group=GROUP,
        name="A session whose usage runs away is ended",
        why="what is counted after the session limits nothing",
        source=COST,
        run=_usage,
    ),
    Check(
        group=GROUP,
        name="Who insists on forbidden events is shown out",
        why="trying every door must not be free",
        source="docs/policy.md",
        run=_insistence,
    ),
)
