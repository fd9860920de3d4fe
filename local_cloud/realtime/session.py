"""One session: takes the client's events one by one and answers each as OpenAI would (GA protocol, 2026-11).

Nothing here awaits: an event is handled whole before the next. Only responses stream, as tasks of their own.
"""

import asyncio
import copy
import time
from collections import deque

from local_cloud.realtime import client_events
from local_cloud.realtime.answers import Answer
from local_cloud.realtime.audio_formats import FORMATS
from local_cloud.realtime.behaviour import Behaviour
from local_cloud.realtime.client_events import (
    AnyClientEvent,
    AppendAudio,
    CancelResponse,
    ClearAudio,
    ClearOutputAudio,
    CommitAudio,
    CreateItem,
    CreateResponse,
    DeleteItem,
    RetrieveItem,
    SessionUpdate,
    TruncateItem,
)
from local_cloud.realtime.conversation import Conversation
from local_cloud.realtime.events import Json, Refused, error_event, new_id
from local_cloud.realtime.faults import AlterSessionUpdated, IgnoreSessionUpdate, RefuseSessionUpdate, SessionFault
from local_cloud.realtime.items import decode_audio, new_entry
from local_cloud.realtime.link import Link
from local_cloud.realtime.listening import Listening
from local_cloud.realtime.record import Connection
from local_cloud.realtime.session_config import new_session, new_transcription_session, updated
from local_cloud.realtime.speaking import Speaking


class Session:
    """One session, conversation or transcription; the arguments are those of `Speaking`, and:

    Args:
        connection: the record of it.
        model: None for a transcription session.
    """

    def __init__(
        self,
        link: Link,
        connection: Connection,
        tasks: asyncio.TaskGroup,
        behaviour: Behaviour,
        model: str | None,
        faults: list[SessionFault],
        scripted: deque[Answer],
    ) -> None:
        self._link = link
        self._connection = connection
        self._behaviour = behaviour
        self._faults = faults
        session_id, expires_at = new_id("sess"), int(time.time() + behaviour.session_seconds)
        self._config = (
            new_session(session_id, model, expires_at) if model else new_transcription_session(session_id, expires_at)
        )
        self._echo: Json = {
            "type": "response.output_audio.delta",
            "response_id": new_id("resp"),
            "item_id": new_id("item"),
            "output_index": 0,
            "content_index": 0,
        }
        self._conversation = Conversation(new_id("conv"))
        self._listening = Listening(
            send=link.send,
            conversation=self._conversation,
            config=self._config["audio"]["input"],
            vary_order=behaviour.vary_order,
            on_speech=lambda: self._speaking.interrupt(),
            on_turn=self._turn_ended,
        )
        self._speaking = Speaking(
            link=link,
            conversation=self._conversation,
            tasks=tasks,
            behaviour=behaviour,
            faults=faults,
            scripted=scripted,
            on_silence=self._listening.expect_speech,
        )

    def start(self) -> None:
        """Send ``session.created``, and see to it that the session ends."""
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(self._behaviour.session_seconds, self._expire)
        self._link.send({"type": "session.created", "session": copy.deepcopy(self._config)})

    def end(self) -> None:
        """Stop every stream and timer."""
        self._expiry.cancel()
        self._listening.stop()
        self._speaking.stop()

    def handle(self, text: str) -> None:
        """Take one text frame from the client."""
        try:
            event = client_events.read(text)
        except Refused as refused:
            self._link.send(error_event(refused.error, client_events.event_id_in(text)))
            return
        try:
            self._handle(event)
        except Refused as refused:
            self._link.send(error_event(refused.error, event.event_id))

    def _handle(self, event: AnyClientEvent) -> None:
        match event:
            case AppendAudio() if self._behaviour.echo:
                self._link.send({**self._echo, "delta": event.audio})
            case AppendAudio():
                audio = decode_audio(event.audio)
                self._connection.hear_audio(audio)
                self._listening.append(audio)
            case SessionUpdate():
                self._update(event.session)
            case CommitAudio():
                self._listening.commit()
            case ClearAudio():
                self._listening.clear()
            case ClearOutputAudio():
                raise Refused("output_audio_buffer.clear is only for WebRTC and SIP.", "invalid_event", "type")
            case CreateItem():
                self._create_item(event)
            case RetrieveItem():
                item = self._conversation.get(event.item_id).with_audio()
                self._link.send({"type": "conversation.item.retrieved", "item": item})
            case TruncateItem(item_id=item_id, content_index=index, audio_end_ms=end_ms):
                self._conversation.truncate(item_id, index, end_ms)
                self._link.send(
                    {
                        "type": "conversation.item.truncated",
                        "item_id": item_id,
                        "content_index": index,
                        "audio_end_ms": end_ms,
                    }
                )
            case DeleteItem():
                self._conversation.delete(event.item_id)
                self._link.send({"type": "conversation.item.deleted", "item_id": event.item_id})
            case CreateResponse():
                self._require_conversation()
                self._listening.stop()
                self._speaking.respond(self._config, event.response or {})
            case CancelResponse():
                self._speaking.cancel(event.response_id)

    def _update(self, update: Json) -> None:
        shown: Json = {}
        for fault in self._faults:
            match fault:
                case IgnoreSessionUpdate():
                    return
                case RefuseSessionUpdate():
                    raise Refused(fault.message, fault.code, fault.param)
                case AlterSessionUpdated():
                    shown = fault.changes
        self._config = updated(self._config, update, voice_is_fixed=self._conversation.has_assistant_audio)
        self._listening.configure(self._config["audio"]["input"])
        self._connection.audio_format = self._config["audio"]["input"]["format"]["type"]
        self._link.send({"type": "session.updated", "session": _overlaid(self._config, shown)})

    def _create_item(self, event: CreateItem) -> None:
        self._require_conversation()
        entry = new_entry(event.item, FORMATS[self._config["audio"]["input"]["format"]["type"]])
        call_id = entry.body.get("call_id")
        if entry.body["type"] == "function_call_output" and not self._conversation.has_call(call_id):
            message = f"Tool call ID '{call_id}' not found in conversation."
            raise Refused(message, "invalid_tool_call_id", "item.call_id")
        previous = self._conversation.insert(entry, event.previous_item_id)
        for event_type in ("conversation.item.added", "conversation.item.done"):
            self._link.send({"type": event_type, "previous_item_id": previous, "item": entry.public()})

    def _require_conversation(self) -> None:
        if self._config["type"] != "realtime":
            raise Refused("A transcription session has no conversation.", "invalid_event", "type")

    def _turn_ended(self) -> None:
        if self._config["type"] == "realtime":
            self._speaking.respond_to_turn(self._config)

    def _expire(self) -> None:
        minutes = self._behaviour.session_seconds / 60
        message = f"Your session hit the maximum duration of {minutes:g} minutes."
        self._link.send(error_event(Refused(message, "session_expired").error))
        self._link.close(1001, message)


def _overlaid(below: Json, above: Json) -> Json:
    """Return a copy of ``below`` with ``above`` laid over it, object by object."""
    both = copy.deepcopy(below)
    for key, value in above.items():
        both[key] = (
            _overlaid(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
        )
    return both
