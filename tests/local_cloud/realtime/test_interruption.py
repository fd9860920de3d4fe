"""Barge-in, cancelling and truncation: protocol reference §9d."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from local_cloud.realtime import Behaviour, Simulator
from local_cloud.realtime.voice import speech
from tests.local_cloud.realtime.client import Client, connect

CLOSING = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


@pytest.fixture
async def counting() -> AsyncIterator[Client]:
    """A client in the middle of a long answer that comes no faster than it plays."""
    async with Simulator(Behaviour(pace=1.0)) as simulator, connect(simulator) as client:
        await client.type_text("count to ninety")
        await client.ask("response.create", "response.output_audio.delta")
        yield client


async def test_speech_interrupts_the_answer(counting: Client) -> None:
    await counting.append(speech("one two three") + bytes(48 * 700))
    await counting.until("input_audio_buffer.speech_started")
    assert (await counting.types_until("response.done")) == CLOSING
    response = counting.events[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    item = response["output"][0]
    assert item["status"] == "incomplete"
    assert item["content"][0]["transcript"].startswith("one")
    assert "ninety" not in item["content"][0]["transcript"]
    assert (await counting.types_until("response.created"))[-1] == "response.created"


async def test_speech_that_may_not_interrupt_is_answered_afterwards(simulator: Simulator) -> None:
    async with Simulator(Behaviour(pace=8.0)) as simulator, connect(simulator) as client:
        await client.update(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
        await client.type_text("count to two")
        await client.ask("response.create", "response.output_audio.delta")
        await client.append(speech("one two three") + bytes(48 * 700))
        first = (await client.until("response.done"))["response"]
        second = (await client.until("response.done"))["response"]
        assert client.of_type("input_audio_buffer.committed")
    assert (first["status"], second["status"]) == ("completed", "completed")
    assert second["output"][0]["content"][0]["transcript"].startswith("I heard")


async def test_the_client_cancels_and_truncates_to_what_it_played(counting: Client) -> None:
    await counting.send("response.cancel")
    response = (await counting.until("response.done"))["response"]
    assert response["status_details"]["reason"] == "client_cancelled"
    await counting.until("rate_limits.updated")
    item_id, sent_ms = response["output"][0]["id"], len(counting.audio()) // 48
    place = {"item_id": item_id, "content_index": 0}
    error = await counting.refused("conversation.item.truncate", **place, audio_end_ms=sent_ms + 1)
    assert (error["param"], f"{sent_ms}ms" in error["message"]) == ("audio_end_ms", True)
    truncated = await counting.ask(
        "conversation.item.truncate", "conversation.item.truncated", **place, audio_end_ms=sent_ms // 2
    )
    assert truncated["audio_end_ms"] == sent_ms // 2
    retrieved = await counting.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=item_id)
    part = retrieved["item"]["content"][0]
    assert "transcript" not in part
    assert len(part["audio"]) == pytest.approx(sent_ms // 2 * 48 * 4 / 3, abs=4)


async def test_an_answer_can_be_retrieved_while_it_is_spoken(counting: Client) -> None:
    (added,) = counting.of_type("response.output_item.added")
    retrieved = await counting.ask(
        "conversation.item.retrieve", "conversation.item.retrieved", item_id=added["item"]["id"]
    )
    assert (retrieved["item"]["status"], retrieved["item"]["content"]) == ("in_progress", [])


async def test_only_what_the_model_said_can_be_truncated(client: Client) -> None:
    item = await client.type_text("hello")
    error = await client.refused("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=0)
    assert error["param"] == "item_id"


async def test_a_second_response_is_refused_while_one_runs(counting: Client) -> None:
    await counting.send("response.create", event_id="second")
    error = (await counting.until("error"))["error"]
    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "second")
    # Beside the conversation there is room.
    await counting.send("response.create", response={"conversation": "none"})
    created = (await counting.until("response.created"))["response"]
    await counting.send("response.cancel", response_id=created["id"])
    done = (await counting.until("response.done"))["response"]
    assert (done["id"], done["status"]) == (created["id"], "cancelled")


async def test_cancelling_nothing_is_refused(client: Client) -> None:
    assert (await client.refused("response.cancel"))["code"] == "response_cancel_not_active"
    await client.respond()
    await client.until("rate_limits.updated")
    assert (await client.refused("response.cancel"))["code"] == "response_cancel_not_active"


async def test_output_keeps_its_pace() -> None:
    async with Simulator(Behaviour(pace=20.0)) as simulator, connect(simulator) as client:
        await client.until("session.created")
        clock = asyncio.get_running_loop().time
        await client.ask("response.create", "response.created")
        started = clock()
        await client.until("response.done")
        took, played = clock() - started, len(client.audio()) / 48_000
    # The last chunk, of at most 100 ms, is not waited for.
    assert took >= (played - 0.1) / 20 * 0.9
