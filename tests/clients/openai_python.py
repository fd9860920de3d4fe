"""One conversation by openai-python, as an application of its asynchronous or its synchronous client holds it."""

from __future__ import annotations

import base64
import json
import ssl
from typing import Any

from openai import AsyncOpenAI, OpenAI

from tests.clients.job import Job, Outcome


class _Turns:
    """What an application does about the events: pure, so that both clients share it.

    ``step`` takes an event and returns what is to be sent; ``is_over`` says that the conversation was held.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._answers_left = 2 if job.conversation == "function" else 1
        self._is_interrupted = False
        self.outcome = Outcome()

    @property
    def is_over(self) -> bool:
        return self._answers_left == 0

    def begin(self) -> list[dict[str, Any]]:
        """What is sent first."""
        texts = {"text": "Good day", "function": 'call get_weather {"city": "Oslo"}', "interruption": "count to ninety"}
        if self._job.conversation == "voice":
            return self._spoken()
        return [
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": texts[self._job.conversation]}],
                },
            },
            {"type": "response.create"},
        ]

    def step(self, event: Any) -> list[dict[str, Any]]:
        """What to send, now that this came."""
        match event.type:
            case "error":
                raise RuntimeError(f"{event.error.code}: {event.error.message}")
            case "response.output_audio.delta":
                self.outcome.heard_bytes += len(base64.b64decode(event.delta))
                if self._job.conversation == "interruption" and not self._is_interrupted:
                    self._is_interrupted = True
                    return self._spoken()
            case "response.output_audio_transcript.done":
                self.outcome.said = event.transcript
            case "conversation.item.truncated":
                self.outcome.truncated_ms = event.audio_end_ms
            case "response.function_call_arguments.done":
                self.outcome.called = [event.name, json.loads(event.arguments)]
                self._call_id = event.call_id
            case "response.done":
                return self._done(event.response)
        return []

    def _done(self, response: Any) -> list[dict[str, Any]]:
        self.outcome.endings.append(response.status)
        if response.status == "cancelled":
            truncate = {"item_id": response.output[0].id, "content_index": 0, "audio_end_ms": 10}
            return [{"type": "conversation.item.truncate", **truncate}]
        self._answers_left -= 1
        if self._job.conversation == "function" and not self.is_over:
            output = {"type": "function_call_output", "call_id": self._call_id, "output": "sunny"}
            return [{"type": "conversation.item.create", "item": output}, {"type": "response.create"}]
        return []

    def _spoken(self) -> list[dict[str, Any]]:
        return [{"type": "input_audio_buffer.append", "audio": audio} for audio in self._job.speech]


def _options(trust: ssl.SSLContext) -> Any:
    return {"ssl": trust}


async def hold_async(job: Job, trust: ssl.SSLContext) -> Outcome:
    """The asynchronous client."""
    turns = _Turns(job)
    async with (
        AsyncOpenAI(base_url=job.base_url, api_key=job.token, max_retries=0) as client,
        client.realtime.connect(model=job.model, websocket_connection_options=_options(trust)) as connection,
    ):
        for event in turns.begin():
            await connection.send(event)  # type: ignore[arg-type]
        async for received in connection:
            for event in turns.step(received):
                await connection.send(event)  # type: ignore[arg-type]
            if turns.is_over:
                break
    return turns.outcome


def hold_sync(job: Job, trust: ssl.SSLContext) -> Outcome:
    """The synchronous client; it blocks its thread."""
    turns = _Turns(job)
    with (
        OpenAI(base_url=job.base_url, api_key=job.token, max_retries=0) as client,
        client.realtime.connect(model=job.model, websocket_connection_options=_options(trust)) as connection,
    ):
        for event in turns.begin():
            connection.send(event)  # type: ignore[arg-type]
        for received in connection:
            for event in turns.step(received):
                connection.send(event)  # type: ignore[arg-type]
            if turns.is_over:
                break
    return turns.outcome
