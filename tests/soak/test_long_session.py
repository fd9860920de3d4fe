"""Half an hour's conversation, without its silences: the relay's memory is that of its beginning."""

import base64

import aiohttp
import pytest

from tests.end_to_end.clients import Json, Talk, talking, text_item
from tests.soak.measure import complaints, held
from tests.stack import Stack

pytestmark = pytest.mark.soak

TURNS = 1_200
WARM_UP = 200
MOST_GROWTH_BYTES = 1 << 19
"""Five hundred bytes for each turn would be as much."""
RESPOND = {"type": "response.create", "response": {"output_modalities": ["text"]}}
QUARTER_SECOND = base64.b64encode(bytes(12_000)).decode()


@pytest.fixture
def simulator_arguments() -> tuple[str, ...]:
    return ("--pace", "0", "--no-record")


async def ask(talk: Talk) -> None:
    await talk.ask("Good day")


async def speak(talk: Talk) -> None:
    await talk.send(
        {"type": "input_audio_buffer.append", "audio": QUARTER_SECOND},
        {"type": "input_audio_buffer.commit"},
        {"type": "response.create"},
    )
    await talk.until("response.done")


async def have_a_function_called(talk: Talk) -> None:
    await talk.send(text_item("call look_out"), RESPOND)
    call_id = (await talk.until("response.function_call_arguments.done"))["call_id"]
    await talk.until("response.done")
    output: Json = {"type": "function_call_output", "call_id": call_id, "output": "a ship"}
    await talk.send({"type": "conversation.item.create", "item": output}, RESPOND)
    await talk.until("response.done")


async def ask_beside_the_conversation(talk: Talk) -> None:
    beside = {"conversation": "none", "output_modalities": ["text"], "input": [text_item("And?")["item"]]}
    await talk.send(
        {"type": "session.update", "session": {"type": "realtime", "instructions": "Be rude."}},
        {"type": "response.create", "response": beside},
    )
    await talk.until("response.done")


KINDS = (ask, speak, have_a_function_called, ask_beside_the_conversation)


async def test_a_long_conversation_leaves_the_relay_as_small_as_it_was(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack, airlock={"profile": "fast"}) as (talk, _):
        for turn in range(TURNS):
            if turn == WARM_UP:
                before = await held(stack)
            await KINDS[turn % len(KINDS)](talk)
            talk.seen.clear()
        after = await held(stack)
    print(f"\nMiB resident and allocated after {WARM_UP} turns {before.mib}, after {TURNS} {after.mib}")  # noqa: T201 - figures
    assert after.countable == before.countable
    assert after.allocated_bytes - before.allocated_bytes <= MOST_GROWTH_BYTES
    assert complaints(stack) == []
