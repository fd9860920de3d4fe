"""Client compatibility: whatever speaks to OpenAI speaks to the relay, with nothing changed but address and key."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial

from local_cloud.conformance.check import Check, Outcome, failed, passed
from local_cloud.conformance.client import NoAnswer
from local_cloud.conformance.frames import PING, client_frame
from local_cloud.conformance.leaks import message
from local_cloud.conformance.scrub import TEXT_RESPONSE
from local_cloud.conformance.target import KEY_SUBPROTOCOL, WEBSOCKET_ACCEPT, Carriage
from local_cloud.conformance.trial import FENCED, Trial
from local_cloud.realtime.events import new_id
from local_cloud.realtime.faults import Interject

GROUP = "compatibility"
GA = "OpenAI Realtime GA protocol, 2026-11"
_HALF_A_SECOND = base64.b64encode(bytes(24_000)).decode()


async def _browser(offers: Sequence[str], trial: Trial) -> Outcome:
    """Connect as a browser, with these lines of offered subprotocols."""
    credential = await trial.credential()
    extra = [f"Sec-WebSocket-Protocol: {offer}".replace("KEY", KEY_SUBPROTOCOL + credential) for offer in offers]
    try:
        client = await trial.knock(None, extra=extra)
    except NoAnswer as error:
        return failed(str(error))
    try:
        if not await trial.begins(client):
            return failed(f"no session began: {client.said()}")
        if client.header("Sec-WebSocket-Accept") != WEBSOCKET_ACCEPT:
            return failed("the upgrade is not confirmed as RFC 6455 asks; browsers hang up then")
        selected = client.header("Sec-WebSocket-Protocol")
        if selected != "realtime":
            return failed(f"{'nothing' if selected is None else 'something else'} was selected; browsers hang up then")
        return passed("realtime was selected, and a session began")
    finally:
        await client.leave()


async def _header(carriage: Carriage, trial: Trial) -> Outcome:
    try:
        client = await trial.knock(await trial.credential(), carriage=carriage)
    except NoAnswer as error:
        return failed(str(error))
    try:
        if not await trial.begins(client):
            return failed(f"no session began: {client.said()}")
        if client.header("Sec-WebSocket-Protocol"):
            return failed("a subprotocol was selected that nobody offered; clients hang up then")
        return passed("a session began")
    finally:
        await client.leave()


async def _no_model(trial: Trial) -> Outcome:
    try:
        client = await trial.knock(await trial.credential(), query={})
    except NoAnswer as error:
        return failed(str(error))
    try:
        if await trial.begins(client):
            return passed("a session began")
        return failed(f"no session began: {client.said()}")
    finally:
        await client.leave()


async def _sdk_headers(trial: Trial) -> Outcome:
    extra = (
        "User-Agent: AsyncOpenAI/Python 3.54.0",
        "X-Stainless-Lang: python",
        "X-Stainless-Runtime: CPython",
        "OpenAI-Organization: org-1",
        "X-OpenAI-Agents-SDK: openai-agents-sdk.0.20.0",
        "Content-Type: application/json",
        "Accept: application/json",
    )
    if await trial.begins_with(await trial.credential(), extra=extra):
        return passed("a session began")
    return failed("no session began")


async def _text_turn(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        await talk.client.send(message("Good day"), TEXT_RESPONSE)
        if not await talk.client.until_event("response.done", trial.target.patience):
            return failed("a typed question got no response.done")
        said = "".join(event["delta"] for event in talk.client.of_type("response.output_text.delta"))
        whole = [event["text"] for event in talk.client.of_type("response.output_text.done")]
        if [said] != whole or not said:
            return failed("the answer's deltas are not its text")
        return passed("a typed question was answered, delta by delta")


async def _spoken_turn(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        append = {"type": "input_audio_buffer.append", "audio": _HALF_A_SECOND}
        await talk.client.send(append, append, {"type": "input_audio_buffer.commit"}, {"type": "response.create"})
        if not await talk.client.until_event("response.done", trial.target.patience):
            return failed("committed audio got no response.done")
        if len(talk.upstream.received_audio) != 48_000:
            return failed(f"of 48000 bytes of audio the upstream received {len(talk.upstream.received_audio)}")
        if not talk.client.count("response.output_audio.delta"):
            return failed("no audio came back")
        return passed("committed audio arrived whole, and was answered in audio")


async def _cancel(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        await talk.client.send({"type": "response.cancel", "event_id": "event_mine"})
        if not await talk.client.until_event("error", trial.target.patience):
            return failed("response.cancel with nothing to cancel got no error event")
        if talk.client.errors()[0]["error"].get("event_id") != "event_mine":
            return failed("the error event does not name the event that caused it")
        if not await talk.fenced(trial.target.patience) or talk.client.over:
            return failed("an ordinary error ended the session")
        return passed("an error named its event, and the session went on")


async def _ordinary_update(trial: Trial) -> Outcome:
    session = {
        "type": "realtime",
        "model": trial.target.model,
        "instructions": "Be kind.",
        "tools": [],
        "audio": {"input": {"turn_detection": {"type": "server_vad"}}, "output": {"voice": "marin", "speed": 1.0}},
    }
    async with trial.session() as talk:
        await talk.client.send({"type": "session.update", "session": session})
        if not await talk.client.until_event("session.updated", trial.target.patience):
            return failed(f"no session.updated came: {talk.client.said()}")
        if not await talk.fenced(trial.target.patience) or talk.client.over:
            return failed("the session ended over it")
        return passed("it was answered with session.updated, and the session went on")


async def _new_events(trial: Trial) -> Outcome:
    event = {"type": "session.novelty", "event_id": new_id("event"), "news": [1, {"two": 2}]}
    trial.simulator.faults.add(Interject(after=FENCED, events=[event]))
    async with trial.session() as talk:
        await talk.fenced(trial.target.patience)
        await talk.fenced(trial.target.patience)
        if event in talk.client.events:
            return passed("an event of a new type arrived whole")
        return failed("an event of a new type did not arrive whole")


async def _pong(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        await talk.client.write(client_frame(PING, b"are you there"))
        if await talk.client.until(lambda: b"are you there" in talk.client.pongs, trial.target.patience):
            return passed("a ping was answered with its own words")
        return failed("a ping was not answered")


async def _goodbye(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        await talk.client.leave()
        if talk.client.close is None:
            return failed("a close frame was not answered")
        if talk.client.close[0] != 1000:
            return failed(f"a close frame with 1000 was answered with {talk.client.close[0]}")
        return passed("a close frame was answered with its own code")


_WS = "WHATWG WebSockets §4; RFC 6455 §4.1"
_LOST = "that client could not be used with the relay"

CHECKS = (
    Check(
        group=GROUP,
        name="A browser's credential is taken, and realtime selected",
        why="a browser can send no headers, and hangs up if none of its subprotocols is selected",
        source=_WS,
        run=partial(_browser, ("realtime, KEY",)),
    ),
    Check(
        group=GROUP,
        name="Whatever SDKs offer beside it, in any order, realtime is selected",
        why=_LOST,
        source=GA,
        run=partial(_browser, ("openai-agents-sdk.0.20.0, KEY, realtime, openai-organization.org-1",)),
    ),
    Check(
        group=GROUP,
        name="Subprotocols over several header lines are one list",
        why="proxies may split and join them",
        source="RFC 9110 §5.3",
        run=partial(_browser, ("realtime", "KEY")),
    ),
    Check(
        group=GROUP,
        name="A credential in the Authorization header is taken",
        why=_LOST,
        source=GA,
        run=partial(_header, "header"),
    ),
    Check(
        group=GROUP,
        name="A credential in the api-key header is taken",
        why="clients of Azure OpenAI send nothing else",
        source="Azure OpenAI Realtime, 2026-11",
        run=partial(_header, "api-key"),
    ),
    Check(
        group=GROUP,
        name="The model may be left out of the address",
        why="the Agents SDKs name none there",
        source=GA,
        run=_no_model,
    ),
    Check(group=GROUP, name="Headers that SDKs send do no harm", why=_LOST, source=GA, run=_sdk_headers),
    Check(group=GROUP, name="A typed turn is answered", why=_LOST, source=GA, run=_text_turn),
    Check(group=GROUP, name="A spoken turn is answered", why=_LOST, source=GA, run=_spoken_turn),
    Check(
        group=GROUP,
        name="An error names its event, and the session goes on",
        why="SDKs wait for it, or take every error for the end",
        source=GA,
        run=_cancel,
    ),
    Check(
        group=GROUP,
        name="An SDK's usual session.update is answered and does no harm",
        why="the Agents SDKs always send one, and wait for session.updated",
        source=GA,
        run=_ordinary_update,
    ),
    Check(
        group=GROUP,
        name="Events of new types reach the client",
        why="the service may add some any day",
        source=GA,
        run=_new_events,
    ),
    Check(group=GROUP, name="A ping is answered", why="clients hang up otherwise", source="RFC 6455 §5.5.3", run=_pong),
    Check(
        group=GROUP,
        name="A goodbye is answered",
        why="clients take anything else for a broken connection",
        source="RFC 6455 §5.5.1",
        run=_goodbye,
    ),
)
