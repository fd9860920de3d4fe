"""Wire hygiene: what breaks HTTP or the WebSocket protocol ends the connection, and nothing of it goes any further."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import partial

from local_cloud.conformance.attacks import CANARY
from local_cloud.conformance.check import Check, Outcome, failed, passed
from local_cloud.conformance.client import NoAnswer, open_tcp
from local_cloud.conformance.frames import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    client_frame,
    close_frame,
)
from local_cloud.conformance.target import UPGRADE
from local_cloud.conformance.trial import Trial

GROUP = "wire-hygiene"
_EVENT = json.dumps(
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": CANARY}]},
    }
).encode()
_HEADER_SECONDS = 12.0
_DRIP_SECONDS = 0.5
_HUGE_HEADER = 200_000


@dataclass(frozen=True, slots=True)
class Broken:
    """Frames that no client may send, and the close codes that answer them."""

    what: str
    frames: bytes
    codes: Set[int] = frozenset({1002})
    source: str = "RFC 6455 §5.2"


BROKEN = (
    Broken("An unmasked frame", client_frame(TEXT, _EVENT, masked=False), source="RFC 6455 §5.1"),
    Broken("A frame with a reserved bit", client_frame(TEXT, _EVENT, reserved=0x20)),
    Broken("A frame marked as compressed", client_frame(TEXT, _EVENT, reserved=0x40), frozenset({1002, 1007})),
    Broken("A frame with an unknown opcode", client_frame(0x3, _EVENT)),
    Broken("A ping in pieces", client_frame(PING, b"x", fin=False), source="RFC 6455 §5.5"),
    Broken("A ping longer than 125 bytes", client_frame(PING, b"x" * 126), source="RFC 6455 §5.5"),
    Broken("The rest of a message that never began", client_frame(CONTINUATION, _EVENT), source="RFC 6455 §5.4"),
    Broken(
        "A message inside another",
        client_frame(TEXT, b"{", fin=False) + client_frame(TEXT, _EVENT),
        source="RFC 6455 §5.4",
    ),
    Broken("A close code that nobody may send", close_frame(1005), source="RFC 6455 §7.4.1"),
    Broken("A binary message", client_frame(BINARY, _EVENT), frozenset({1002, 1003}), "OpenAI Realtime GA protocol"),
    Broken(
        "A text that is not UTF-8",
        client_frame(TEXT, _EVENT.replace(b"message", b"mess\xc3\x28age")),
        frozenset({1007}),
        "RFC 6455 §8.1",
    ),
)


async def _broken(broken: Broken, trial: Trial) -> Outcome:
    async with trial.session() as talk:
        before = len(talk.upstream.received_raw)
        await talk.client.write(broken.frames)
        ended = await talk.client.until_over(trial.target.patience)
        if len(talk.upstream.received_raw) > before or talk.upstream.sent.counts["error"]:
            return failed("it reached the upstream")
        if not ended:
            return failed("the session went on")
        if talk.client.close is not None and talk.client.close[0] not in broken.codes:
            return failed(f"it ended the session with a code that means something else ({talk.client.said()})")
        return passed(f"it ended the session ({talk.client.said()}), and nothing reached the upstream")


async def _deflate(trial: Trial) -> Outcome:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    client = await trial.knock(await trial.credential(), extra=[offer])
    await trial.begins(client)
    await client.leave()
    accepted = client.header("Sec-WebSocket-Extensions")
    if accepted:
        return failed(f"{accepted.partition(';')[0]} was agreed")
    return passed("no compression was agreed")


async def _slow(trial: Trial) -> Outcome:
    starts = (b"", b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET /v1/realtime HTTP/1.1\r\n")
    seconds = await asyncio.gather(*(_until_cut(trial, start) for start in starts))
    if None in seconds:
        return failed(f"a connection that completes no request is still held after {_HEADER_SECONDS:.0f} s")
    return passed(f"silent and dripping connections were cut after {max(filter(None, seconds)):.0f} s")


async def _until_cut(trial: Trial, start: bytes) -> float | None:
    """How long a connection that begins like this, and then drips headers, is held; None if too long."""
    reader, writer = await open_tcp(trial.target.relay, trial.target.relay_tls)
    began_at = time.monotonic()
    try:
        async with asyncio.timeout(_HEADER_SECONDS):
            with contextlib.suppress(ConnectionError):
                writer.write(start)
                while start.endswith(b"\r\n") and not reader.at_eof():
                    await asyncio.sleep(_DRIP_SECONDS)  # that is the attack
                    writer.write(b"X-More: 1\r\n")
                    await writer.drain()
                await reader.read()
        return time.monotonic() - began_at
    except TimeoutError:
        return None
    finally:
        writer.close()


async def _foreign_origin(origins: Sequence[str], trial: Trial) -> Outcome:
    for origin in origins:
        named = origin.replace("OURS", trial.target.origin or "https://page.example")
        if wrong := await trial.why_not_refused(await trial.credential(), origin=named):
            return failed(f"from {named}: {wrong}")
    return passed(f"{len(origins)} foreign Origin{'s were' if len(origins) > 1 else ' was'} refused")


async def _two_origins(trial: Trial) -> Outcome:
    """In either order, since a reader may take the first or the last."""
    origins = (trial.target.origin or "https://page.example", "https://elsewhere.example")
    for first, second in itertools.permutations(origins):
        if wrong := await trial.why_not_refused(await trial.credential(), origin=second, extra=[f"Origin: {first}"]):
            return failed(f"from {first} and {second} at once: {wrong}")
    return passed("two Origins at once were refused, in either order")


def _without(name: str, *instead: str) -> tuple[str, ...]:
    return (*(line for line in UPGRADE if not line.startswith(f"{name}:")), *instead)


@dataclass(frozen=True, slots=True)
class Handshake:
    """An upgrade as no browser asks for it."""

    what: str
    why: str
    source: str = "RFC 6455 §4.2.1"
    version: str = "HTTP/1.1"
    upgrade: Sequence[str] = UPGRADE
    after: bytes = b""


HANDSHAKES = (
    Handshake(
        "of an old protocol version",
        "drafts had other rules for frames",
        upgrade=_without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
    ),
    Handshake("without a key", "the key shows that a WebSocket client asks", upgrade=_without("Sec-WebSocket-Key")),
    Handshake("over HTTP/1.0", "a proxy of that age would not know it has become a tunnel", version="HTTP/1.0"),
    Handshake(
        "with a body",
        "a proxy before the relay takes for a body what the relay reads as frames",
        source="RFC 9112 §6, OWASP ASVS 5.0 4.2.1",
        upgrade=(*UPGRADE, "Content-Length: 6"),
        after=b"\x81\x80\x01\x02\x03\x04",
    ),
    Handshake(
        "with a header line of 200 kB",
        "who must hold it can be made to run out of memory",
        source="OWASP ASVS 5.0 4.2.1",
        upgrade=(*UPGRADE, "X-Large: " + "x" * _HUGE_HEADER),
    ),
)


async def _odd_handshake(odd: Handshake, trial: Trial) -> Outcome:
    credential = await trial.credential()
    how = {"version": odd.version, "upgrade": odd.upgrade, "after": odd.after}
    if wrong := await trial.why_not_refused(credential, **how):
        return failed(wrong)
    return passed("it was refused, and the upstream not dialled")


async def _serves_on(trial: Trial) -> Outcome:
    for broken in BROKEN:
        try:
            async with trial.session() as talk:
                await talk.client.write(broken.frames)
                talk.client.vanish()
        except NoAnswer:
            pass
    await trial.settle()
    async with trial.session() as talk:
        if not await talk.fenced(trial.target.patience):
            return failed("after broken clients an ordinary session carries no events")
    return passed(f"after {len(BROKEN)} broken clients an ordinary session began, and carried its events")


CHECKS = (
    *(
        Check(
            group=GROUP,
            name=f"{broken.what} ends the session",
            why="what two readers read differently gets past one of them",
            source=broken.source,
            run=partial(_broken, broken),
        )
        for broken in BROKEN
    ),
    Check(
        group=GROUP,
        name="No compression is agreed",
        why="a small compressed message unpacks to gigabytes",
        source="OWASP ASVS 5.0 5.2.3",
        run=_deflate,
    ),
    Check(
        group=GROUP,
        name="A connection that completes no request is cut",
        why="a few thousand of them, held for ever, leave no room for anybody",
        source="OWASP ASVS 5.0 13.2.6",
        run=_slow,
    ),
    Check(
        group=GROUP,
        name="Another site's Origin is refused",
        why="browsers let any site open a WebSocket; only the server can say no",
        source="RFC 6455 §10.2, OWASP ASVS 5.0 4.4.2",
        run=partial(_foreign_origin, ("https://elsewhere.example", "null")),
    ),
    Check(
        group=GROUP,
        name="An Origin that looks like the page's is refused",
        why="a comparison by beginning or end lets a neighbour in",
        source="RFC 6455 §10.2",
        run=partial(_foreign_origin, ("OURS.elsewhere.example", "OURS0", "OURS/")),
    ),
    Check(
        group=GROUP,
        name="Two Origins at once are refused",
        why="two readers on the way may each believe another one",
        source="RFC 6454 §7.3",
        run=_two_origins,
    ),
    *(
        Check(
            group=GROUP,
            name=f"An upgrade {odd.what} is refused",
            why=odd.why,
            source=odd.source,
            run=partial(_odd_handshake, odd),
        )
        for odd in HANDSHAKES
    ),
    Check(
        group=GROUP,
        name="After broken clients the relay serves the others",
        why="one client must not end everybody's session",
        source="OWASP ASVS 5.0 16.5.4",
        run=_serves_on,
    ),
)
