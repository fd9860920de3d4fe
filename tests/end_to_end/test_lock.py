"""The model is locked before the browser is let in; where it cannot be, nobody talks and the token goes back."""

import asyncio
from typing import Any

import aiohttp
import pytest

from local_cloud.realtime import Connection, Simulator, faults
from tests.end_to_end.clients import (
    Minted,
    Talk,
    connect,
    mint,
    refused_events,
    refused_status,
    text_item,
    upstream_of,
)
from tests.end_to_end.traces import Traces, resident_mib, until
from tests.stack import Stack

ON_BOTH_LIBRARIES = True
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

INSTRUCTIONS = "You are a lighthouse keeper."
NOT_LOCKED = {
    "error": faults.RefuseSessionUpdate(),
    "other instructions": faults.AlterSessionUpdated(changes={"instructions": "Be rude."}),
    "no instructions": faults.AlterSessionUpdated(changes={"instructions": None}),
    "more tokens": faults.AlterSessionUpdated(changes={"max_output_tokens": "inf"}),
    "another type": faults.AlterSessionUpdated(changes={"type": "transcription"}),
    "error at once": faults.RejectAfterUpgrade(),
    "closed": faults.Interject(after="session.created", then="close", close_code=1000),
    "aborted": faults.Interject(after="session.created", then="abort"),
}


async def half_locked(
    http: aiohttp.ClientSession, stack: Stack, simulator: Simulator, minted: Minted, **how: Any
) -> tuple[Talk, Connection]:
    """A session whose model was told the lock, and does not answer."""
    simulator.faults.add(faults.IgnoreSessionUpdate())
    talk, upstream = await upstream_of(http, stack, simulator, minted, **how)
    await upstream.wait_received("session.update")
    return talk, upstream


def confirm(upstream: Connection, **changes: object) -> None:
    """Answer the relay's update, as the model would."""
    (update,) = upstream.received.of_type("session.update")
    (created,) = upstream.sent.of_type("session.created")
    session = {**created["session"], **update["session"], **changes}
    upstream.emit({"type": "session.updated", "event_id": "event_confirmed", "session": session})


async def test_the_browser_sees_nothing_before_the_lock_is_confirmed_and_then_its_frames_arrive_in_order(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    talk, upstream = await half_locked(http, stack, simulator, minted)
    async with talk:
        texts = [f"number {number}" for number in range(20)]
        await talk.send(*(text_item(text) for text in texts))
        # This does not fit into the lock either, and must wait like the others.
        await talk.send({"type": "session.update", "session": {"type": "realtime", "instructions": "Be rude."}})
        upstream.emit({"type": "response.created", "event_id": "event_early", "response": {"id": "resp_early"}})
        assert upstream.received.types == ["session.update"]
        confirm(upstream, temperature=0.61)

        created = await talk.next()
        assert (created["type"], created["session"]["temperature"]) == ("session.created", 0.61)
        await upstream.wait_for(lambda: upstream.received.counts["conversation.item.create"] == len(texts))
        items = upstream.received.of_type("conversation.item.create")
        assert [item["item"]["content"][0]["text"] for item in items] == texts
        assert (await talk.until("session.updated"))["session"].get("instructions") is None
    assert [event["type"] for event in talk.seen].count("session.created") == 1
    assert upstream.received.counts["session.update"] == 1
    assert upstream.received.of_type("session.update")[0]["session"]["instructions"] == INSTRUCTIONS


@pytest.mark.parametrize("fault", NOT_LOCKED.values(), ids=NOT_LOCKED.keys())
async def test_a_model_that_does_not_confirm_the_lock_ends_the_session_and_the_token_goes_back(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, fault: faults.SessionFault
) -> None:
    minted = await mint(http, stack)
    simulator.faults.add(fault)
    code, error = await refused_events(http, stack, minted)
    assert (code, error["code"], error["retry"]) == (
        1011,
        "upstream_unavailable",
        "with the same token while it lasts",
    )
    receipt = await traces.session_end(minted.token_id)
    assert receipt["ending"] in ("not_locked", "model_failed")
    assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}
    async with await connect(http, stack, minted) as talk:
        await talk.until("session.created")
        assert await talk.ask() == 'You said: "Good day"'


async def test_a_model_that_is_silent_ends_the_session_within_ten_seconds_and_the_token_goes_back(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    loop = asyncio.get_running_loop()

    async def meet(talk: Talk, minted: Minted) -> None:
        async with talk:
            code, (told,) = await talk.until_closed(20)
        assert 9 < loop.time() - started_at < 20  # ten seconds by design; the rest is for a slow machine
        assert (code, told["error"]["code"]) == (1011, "upstream_unavailable")
        await traces.session_end(minted.token_id)
        assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}

    started_at = loop.time()
    waiting = []
    for fault in (faults.StallHandshake(), faults.stall_after_created(), faults.IgnoreSessionUpdate()):
        simulator.faults.add(fault)
        minted = await mint(http, stack)
        talk, _ = await upstream_of(http, stack, simulator, minted)
        waiting.append(meet(talk, minted))
    await asyncio.gather(*waiting)


async def test_a_token_goes_back_at_most_twice(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    simulator.faults.add(faults.RefuseSessionUpdate(), times=3)
    hints = [(await refused_events(http, stack, minted))[1]["retry"] for _ in range(3)]
    assert hints == ["with the same token while it lasts"] * 2 + ["with a new token"]
    status, error, _ = await refused_status(http, stack, minted)
    assert (status, error["code"]) == (401, "token_used")
    assert traces.token(minted.token_id)["gave_back"] == "2"


async def test_a_token_that_was_replayed_does_not_go_back(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    talk, upstream = await half_locked(http, stack, simulator, minted)
    async with talk:
        assert (await refused_status(http, stack, minted))[1]["code"] == "token_used"
        upstream.abort()
        code, (told,) = await talk.until_closed()
        assert (code, told["error"]["retry"]) == (1011, "with a new token")
    assert (await refused_status(http, stack, minted))[1]["code"] == "token_used"


async def test_a_token_that_was_revoked_meanwhile_ends_the_session_and_does_not_go_back(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    talk, upstream = await half_locked(http, stack, simulator, minted)
    async with talk:
        traces.redis.hset(f"airlock:development:token:{minted.token_id}", "state", "revoked")
        confirm(upstream)
        code, (told,) = await talk.until_closed()
        assert (code, told["error"]["code"]) == (4403, "session_revoked")
    assert (await traces.session_end(minted.token_id))["ending"] == "revoked"
    assert (await refused_status(http, stack, minted))[1]["code"] == "token_revoked"


async def test_a_browser_that_leaves_before_the_lock_gets_its_token_back(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    talk, upstream = await half_locked(http, stack, simulator, minted)
    talk.abort()
    assert (await traces.session_end(minted.token_id))["ending"] == "browser_vanished"
    assert await upstream.wait_ended() is not None
    await until(lambda: traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"})
    async with await connect(http, stack, minted) as again:
        await again.until("session.created")


async def test_what_a_response_does_not_have_is_left_out_of_it_though_it_is_open_in_the_session(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    """The service would refuse the whole response."""
    minted = await mint(http, stack)
    talk, upstream = await upstream_of(http, stack, simulator, minted)
    async with talk:
        await talk.until("session.created")
        audio = {"input": {"turn_detection": {"type": "server_vad"}}, "output": {"voice": "cedar"}}
        response = {"output_modalities": ["text"], "audio": audio}
        await talk.send(text_item("Good day"), {"type": "response.create", "response": response})
        assert (await talk.until("response.done"))["response"]["status"] == "completed"
        assert "error" not in [event["type"] for event in talk.seen]
        (asked,) = upstream.received.of_type("response.create")
        assert asked["response"] == {"output_modalities": ["text"], "audio": {"output": {"voice": "cedar"}}}


async def test_early_frames_beyond_the_bound_wait_outside_the_relay_and_still_arrive_in_order(
    stack: Stack, simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    minted = await mint(http, stack)
    talk, upstream = await half_locked(http, stack, simulator, minted)
    async with talk:
        before = resident_mib(stack)
        texts = [f"{number} {'x' * 60_000}" for number in range(500)]  # 30 MB, where the bound is 256 KiB
        sending = asyncio.create_task(talk.send(*(text_item(text) for text in texts)))
        done, _ = await asyncio.wait({sending}, timeout=1.0)
        assert not done, "somebody took it all"
        assert resident_mib(stack) - before < 8
        assert upstream.received.types == ["session.update"]
        confirm(upstream)
        for _ in texts:  # read too: the model answers each
            await talk.until("conversation.item.done")
        await sending
        kept = [item["item"]["content"][0]["text"] for item in upstream.received.of_type("conversation.item.create")]
        assert len(kept) > 100
        assert kept == texts[: len(kept)]
