"""One response of the model: the events from ``response.created`` to ``response.done``, in OpenAI's order.

Sending is not awaited, so every step, above all an interruption, is whole before anything else can happen; only the
pace of the stream is awaited.
"""

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable
from math import ceil

from local_cloud.realtime import voice
from local_cloud.realtime.answers import Answer, CallFunction, Say
from local_cloud.realtime.audio_formats import FORMATS
from local_cloud.realtime.behaviour import Behaviour
from local_cloud.realtime.conversation import ASSISTANT_MS_PER_TOKEN, CHARS_PER_TOKEN, Conversation, Entry
from local_cloud.realtime.events import Json, new_id

CHUNK_MS = 100
_WORD_MS = 60  # a written word takes as long as this much audio, so that text can be interrupted too


class Response:
    """A response in progress.

    Args:
        send: takes each event.
        drained: awaited before each piece of output: returns when the client has read enough of what was sent.
        conversation: where its items go; None for an out-of-band response.
        config: the session as this response sees it, parameters of ``response.create`` included.
        input_usage: the input half of its usage.
        usage_factor: what its token counts are multiplied by; 1 is the truth.
        behaviour: of the service.
        on_done: called after ``response.done``.
    """

    def __init__(
        self,
        *,
        send: Callable[[Json], None],
        drained: Callable[[], Awaitable[None]],
        conversation: Conversation | None,
        config: Json,
        metadata: Json | None,
        input_usage: Json,
        usage_factor: int,
        behaviour: Behaviour,
        on_done: Callable[["Response"], None],
    ) -> None:
        self.id = new_id("resp")
        self.done = False
        self.played_ms = 0
        self._send = send
        self._drained = drained
        self._conversation = conversation
        self._config = config
        self._metadata = metadata
        self._input_usage = input_usage
        self._usage_factor = usage_factor
        self._behaviour = behaviour
        self._on_done = on_done
        self._format = FORMATS[config["audio"]["output"]["format"]["type"]]
        self._output: list[Entry] = []
        self._previous_item_id: str | None = None
        self._open = False
        self._said: list[str] = []
        self._output_chars = 0

    async def stream(self, answer: Answer) -> None:
        """Send the answer, as fast as the pace and the client allow."""
        for part in answer:
            match part:
                case CallFunction():
                    await self._call(part)
                case Say() if self._config["output_modalities"] == ["audio"]:
                    await self._speak(part.text)
                case Say():
                    await self._write(part.text)
            if self.done:
                return
        self.finish("completed")

    @property
    def still_plays_ms(self) -> float:
        """How long a client that plays everything sent at once is still playing."""
        return max(0.0, self.played_ms - (asyncio.get_running_loop().time() - self._started) * 1000)

    def begin(self) -> None:
        """Send ``response.created``."""
        self._started = asyncio.get_running_loop().time()
        self._send({"type": "response.created", "response": self._describe("in_progress")})

    def cancel(self, reason: str) -> None:
        """End it at once; ``reason`` is ``turn_detected`` or ``client_cancelled``."""
        self.finish("cancelled", {"type": "cancelled", "reason": reason})

    def fail(self, error: Json) -> None:
        """End it with an ``{type, code, message}`` of the service."""
        self.finish("failed", {"type": "failed", "error": error})

    def finish(self, status: str, details: Json | None = None) -> None:
        """Close what is open and send ``response.done``; a second call does nothing."""
        if self.done:
            return
        if self._open:
            self._close_item("completed" if status == "completed" else "incomplete")
        self.done = True
        self._send({"type": "response.done", "response": self._describe(status, details, self._usage())})
        self._on_done(self)

    async def _speak(self, text: str) -> None:
        try:
            sentence = voice.say(text, self._format)
        except voice.CannotSay as error:
            self.fail({"type": "server_error", "code": "cannot_say", "message": str(error)})
            return
        entry = self._open_message({"type": "audio", "transcript": ""})
        recorded = entry.audio.setdefault(0, bytearray())
        chunk_bytes = CHUNK_MS * self._format.bytes_per_ms
        for spoken in sentence:
            delta = f" {spoken.text}" if self._said else spoken.text
            if not await self._may_go_on():
                return
            self._note(delta)
            self._send_part("response.output_audio_transcript.delta", delta=delta)
            for at in range(0, len(spoken.audio), chunk_bytes):
                if not await self._may_go_on():
                    return
                chunk = spoken.audio[at : at + chunk_bytes]
                recorded += chunk
                entry.audio_ms = self._format.duration_ms(recorded)
                self.played_ms += self._format.duration_ms(chunk)
                self._send_part("response.output_audio.delta", delta=base64.b64encode(chunk).decode())
        self._close_item("completed")

    async def _write(self, text: str) -> None:
        self._open_message({"type": "text", "text": ""})
        for number, word in enumerate(text.split(" ")):
            if not await self._may_go_on():
                return
            delta = f" {word}" if number else word
            self._note(delta)
            self.played_ms += _WORD_MS
            self._send_part("response.output_text.delta", delta=delta)
        self._close_item("completed")

    async def _call(self, call: CallFunction) -> None:
        entry = self._open_item(
            {"type": "function_call", "name": call.name, "call_id": new_id("call"), "arguments": ""}
        )
        for at in range(0, len(call.arguments), 8):
            if not await self._may_go_on():
                return
            delta = call.arguments[at : at + 8]
            self._note(delta)
            self.played_ms += _WORD_MS
            self._send_output("response.function_call_arguments.delta", call_id=entry.body["call_id"], delta=delta)
        self._close_item("completed")

    def _note(self, delta: str) -> None:
        self._said.append(delta)
        self._output_chars += len(delta)

    async def _may_go_on(self) -> bool:
        """Wait for the pace and the client; False once the response is done, if only because its tokens are used up."""
        await self._drained()
        delay = 0.0
        if self._behaviour.pace is not None:
            now = asyncio.get_running_loop().time()
            delay = self._started + self.played_ms / 1000 / self._behaviour.pace - now
        await asyncio.sleep(max(delay, 0))
        most = self._config["max_output_tokens"]
        if most != "inf" and sum(self._output_tokens()) >= most:
            self.finish("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
        return not self.done

    def _open_message(self, part: Json) -> Entry:
        entry = self._open_item({"type": "message", "role": "assistant", "content": []})
        entry.format = self._format
        self._part = part
        self._send_part("response.content_part.added", part=part)
        return entry

    def _open_item(self, body: Json) -> Entry:
        item = {"id": new_id("item"), "object": "realtime.item", "status": "in_progress", **body}
        entry = Entry(item)
        self._output.append(entry)
        self._open = True
        self._said.clear()
        self._send_output("response.output_item.added", item=entry.public())
        if self._conversation:
            self._previous_item_id = self._conversation.insert(entry)
            self._send_item("conversation.item.added", entry)
        return entry

    def _close_item(self, status: str) -> None:
        """Send every ``done`` of the open item."""
        self._open = False
        entry, said = self._output[-1], "".join(self._said)
        body = entry.body
        body["status"] = status
        if body["type"] == "function_call":
            body["arguments"] = said
            self._send_output(
                "response.function_call_arguments.done",
                call_id=body["call_id"],
                name=body["name"],
                arguments=said,
            )
        elif self._part["type"] == "audio":
            body["content"] = [{"type": "output_audio", "transcript": said}]
            self._in_any_order(
                lambda: self._send_part("response.output_audio.done"),
                lambda: self._send_part("response.output_audio_transcript.done", transcript=said),
            )
            self._send_part("response.content_part.done", part={"type": "audio", "transcript": said})
        else:
            body["content"] = [{"type": "output_text", "text": said}]
            self._send_part("response.output_text.done", text=said)
            self._send_part("response.content_part.done", part={"type": "text", "text": said})
        self._in_any_order(
            lambda: self._send_output("response.output_item.done", item=entry.public()),
            lambda: self._send_item("conversation.item.done", entry),
        )

    def _in_any_order(self, *steps: Callable[[], None]) -> None:
        for step in random.sample(steps, len(steps)) if self._behaviour.vary_order else steps:
            step()

    def _send_output(self, event_type: str, **fields: object) -> None:
        index = len(self._output) - 1
        event: Json = {"type": event_type, "response_id": self.id, "output_index": index, **fields}
        if "item" not in fields:
            event["item_id"] = self._output[-1].id
        self._send(event)

    def _send_part(self, event_type: str, **fields: object) -> None:
        self._send_output(event_type, content_index=0, **fields)

    def _send_item(self, event_type: str, entry: Entry) -> None:
        if self._conversation:
            self._send({"type": event_type, "previous_item_id": self._previous_item_id, "item": entry.public()})

    def _output_tokens(self) -> tuple[int, int]:
        audio_ms = sum(entry.audio_ms for entry in self._output)
        return ceil(self._output_chars / CHARS_PER_TOKEN), ceil(audio_ms / ASSISTANT_MS_PER_TOKEN)

    def _usage(self) -> Json:
        text, audio = self._output_tokens()
        usage = {
            "total_tokens": self._input_usage["input_tokens"] + text + audio,
            **self._input_usage,
            "output_tokens": text + audio,
            "output_token_details": {"text_tokens": text, "audio_tokens": audio},
        }
        return usage if self._usage_factor == 1 else _multiplied(usage, self._usage_factor)

    def _describe(self, status: str, details: Json | None = None, usage: Json | None = None) -> Json:
        output = self._config["audio"]["output"]
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "output": [entry.public() for entry in self._output],
            "conversation_id": self._conversation.id if self._conversation else None,
            "output_modalities": self._config["output_modalities"],
            "max_output_tokens": self._config["max_output_tokens"],
            "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
            "usage": usage,
            "metadata": self._metadata,
        }


def _multiplied(usage: Json, by: int) -> Json:
    return {key: _multiplied(value, by) if isinstance(value, dict) else value * by for key, value in usage.items()}
