"""Conversations by openai-python: ``python -m tests.clients.openai_python async|sync``.

Each line of input is a job, each line of output what came of it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

from openai import AsyncOpenAI, OpenAI
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.clients.job import Job, Outcome, Refused

Json = dict[str, Any]
TYPED = {"text": "Good day", "function": 'call get_weather {"city": "Oslo"}', "interruption": "count to ninety"}


class Turns:
    """What an application does about the events: pure, so that both clients share it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._answers_left = 2 if job.conversation == "function" else 1
        self._is_interrupted = False
        self._heard = bytearray()
        self._error: str | None = None
        self.outcome = Outcome()

    @property
    def is_over(self) -> bool:
        """Whether the conversation was held."""
        self.outcome.heard = base64.b64encode(self._heard).decode()
        return self._answers_left == 0

    def begin(self) -> list[Json]:
        """What is sent first."""
        if self._job.conversation == "voice":
            return self._spoken()
        if self._job.conversation == "wait":
            return []
        content = [{"type": "input_text", "text": TYPED[self._job.conversation]}]
        item = {"type": "message", "role": "user", "content": content}
        return [{"type": "conversation.item.create", "item": item}, {"type": "response.create"}]

    def step(self, event: Any) -> list[Json]:
        """What to send, now that this came."""
        match event.type:
            case "error":
                self._error = event.error.code
            case "response.output_audio.delta":
                self._heard += base64.b64decode(event.delta)
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

    def closed(self, error: ConnectionClosedError) -> None:
        """The connection was ended by the other side."""
        close = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
        self.outcome.refused = Refused("error", code=self._error, close=close)

    def refused(self, error: InvalidStatus) -> None:
        """There was none."""
        self.outcome.refused = of_status(error)

    def _done(self, response: Any) -> list[Json]:
        self.outcome.endings.append([response.status, getattr(response.status_details, "reason", None)])
        if response.status == "cancelled":
            truncate = {"item_id": response.output[0].id, "content_index": 0, "audio_end_ms": 10}
            return [{"type": "conversation.item.truncate", **truncate}]
        self._answers_left -= 1
        if self._job.conversation == "function" and not self.is_over:
            output = {"type": "function_call_output", "call_id": self._call_id, "output": "sunny"}
            return [{"type": "conversation.item.create", "item": output}, {"type": "response.create"}]
        return []

    def _spoken(self) -> list[Json]:
        return [{"type": "input_audio_buffer.append", "audio": audio} for audio in self._job.speech]


def of_status(error: InvalidStatus) -> Refused:
    """What an application reads of an answer to the upgrade."""
    code = json.loads(error.response.body)["error"]["code"] if error.response.body else None
    return Refused("InvalidStatus", status=error.response.status_code, code=code)


async def hold_async(job: Job) -> Outcome:
    """The asynchronous client."""
    turns = Turns(job)
    try:
        async with (
            AsyncOpenAI(base_url=job.base_url, api_key=job.token) as client,
            client.realtime.connect(model=job.model) as connection,
        ):
            for event in turns.begin():
                await connection.send(event)  # type: ignore[arg-type]
            async for received in connection:
                for event in turns.step(received):
                    await connection.send(event)  # type: ignore[arg-type]
                if turns.is_over:
                    break
    except InvalidStatus as error:
        turns.refused(error)
    except ConnectionClosedError as error:
        turns.closed(error)
    return turns.outcome


def hold_sync(job: Job) -> Outcome:
    """The synchronous client."""
    turns = Turns(job)
    try:
        with (
            OpenAI(base_url=job.base_url, api_key=job.token) as client,
            client.realtime.connect(model=job.model) as connection,
        ):
            for event in turns.begin():
                connection.send(event)  # type: ignore[arg-type]
            for received in connection:
                for event in turns.step(received):
                    connection.send(event)  # type: ignore[arg-type]
                if turns.is_over:
                    break
    except InvalidStatus as error:
        turns.refused(error)
    except ConnectionClosedError as error:
        turns.closed(error)
    return turns.outcome


if __name__ == "__main__":
    for line in sys.stdin:
        job = Job.from_json(line)
        outcome = asyncio.run(hold_async(job)) if sys.argv[1] == "async" else hold_sync(job)
        sys.stdout.write(outcome.as_json() + "\n")
        sys.stdout.flush()
