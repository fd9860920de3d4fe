"""The prices of the profiles file: a model with a price of its own can be capped, and the receipt counts with it."""

import aiohttp
import pytest

from local_cloud.realtime.voice import speech
from tests.end_to_end.clients import Json, Talk, appends, talking, text_item
from tests.end_to_end.traces import Traces
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

PRICED = {"profile": "priced"}


async def ask(talk: Talk) -> float:
    """One turn in text; what it costs, in dollars, by the prices of the profiles file."""
    await talk.send(text_item("Good day"), {"type": "response.create", "response": {"output_modalities": ["text"]}})
    usage: Json = (await talk.until("response.done"))["response"]["usage"]
    heard, cached = usage["input_token_details"], usage["input_token_details"]["cached_tokens_details"]
    dollars = (heard["text_tokens"] - cached["text_tokens"]) * 1_000 + cached["text_tokens"] * 100
    dollars += (heard["audio_tokens"] - cached["audio_tokens"]) * 2_000 + cached["audio_tokens"] * 200
    dollars += usage["output_token_details"]["text_tokens"] * 5_000
    return float(dollars / 1_000_000)


async def say(talk: Talk) -> Json:
    """Something said, and the usage of writing it down."""
    await talk.send(*appends(speech("one two three")), {"type": "input_audio_buffer.commit"})
    usage: Json = (await talk.until("conversation.item.input_audio_transcription.completed"))["usage"]
    return usage


async def test_the_receipt_counts_with_the_prices_of_the_profiles_file(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack, airlock=PRICED) as (talk, minted):
        written = await say(talk)
        assert written["type"] == "duration"
        dollars = await ask(talk) + await ask(talk)
    receipt = await traces.session_end(minted.token_id)
    assert receipt["cost_usd"] == pytest.approx(dollars + written["seconds"] / 60 * 0.6, abs=1e-6)
    assert receipt["cost_excludes_transcription"] is False


async def test_the_receipt_says_that_transcription_without_a_price_is_not_in_it(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack, speaks_airlock=True, airlock=PRICED) as (talk, minted):
        update = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}}
        await talk.send({"type": "session.update", "session": update})
        await talk.until("session.updated")
        await say(talk)
        dollars = await ask(talk)
    receipt = await traces.session_end(minted.token_id)
    assert receipt["cost_usd"] == pytest.approx(dollars, abs=1e-6)
    assert receipt["cost_excludes_transcription"] is True


async def test_a_cost_cap_holds_at_the_prices_of_the_profiles_file(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack, airlock={"profile": "priced", "max_cost_usd": 0.001}) as (talk, minted):
        await talk.send(text_item("Good day"), {"type": "response.create"})
        code, rest = await talk.until_closed()
        assert (code, rest[-1]["error"]["code"]) == (4402, "budget_exhausted")
    assert (await traces.session_end(minted.token_id))["cost_usd"] >= 0.001
