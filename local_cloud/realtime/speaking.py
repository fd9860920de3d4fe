"""The model's side of a session: which responses run, what they read and answer, and what interrupts them."""

import asyncio
import json
from collections import deque
from collections.abc import Callable

from local_cloud.realtime import answers
from local_cloud.realtime.audio_formats import FORMATS
from local_cloud.realtime.behaviour import Behaviour
from local_cloud.realtime.conversation import Conversation, Entry, input_usage
from local_cloud.realtime.events import Json, Refused
from local_cloud.realtime.faults import FailResponse, MultiplyUsage, SessionFault
from local_cloud.realtime.items import new_entry
from local_cloud.realtime.link import Link
from local_cloud.realtime.response import Response
from local_cloud.realtime.session_config import for_response

_RATE_LIMITS = {"requests": 1_000, "tokens": 1_000_000}


class Speaking:
    """Runs the responses of one session.

    Args:
        link: to the client.
        conversation: the session's.
        tasks: owns the streams of the responses.
        behaviour: of the service.
        faults: what shall go wrong.
        scripted: answers to give before the simulator thinks of its own; shared by all sessions.
        on_silence: called when the default conversation's response is over, with the milliseconds it still plays.
    """

    def __init__(
        self,
        *,
        link: Link,
        conversation: Conversation,
        tasks: asyncio.TaskGroup,
        behaviour: Behaviour,
        faults: list[SessionFault],
        scripted: deque[answers.Answer],
        on_silence: Callable[[float], None],
    ) -> None:
        self._link = link
        self._conversation = conversation
        self._tasks = tasks
        self._behaviour = behaviour
        self._failure = next((fault for fault in faults if isinstance(fault, FailResponse)), None)
        self._usage_factor = next((fault.by for fault in faults if isinstance(fault, MultiplyUsage)), 1)
        self._scripted = scripted
        self._on_silence = on_silence
        self._running: dict[str, Response] = {}
        self._streams: set[asyncio.Task[None]] = set()
        self._active: Response | None = None
        self._another_is_due = False
        self._last_preface = ""

    def respond_to_turn(self, config: Json) -> None:
        """Answer the turn that just ended; if an answer still runs uninterrupted, after that."""
        self._due_config = config
        if self._active:
            self._another_is_due = True
        else:
            self.respond(config, {})

    def respond(self, session: Json, parameters: Json) -> None:
        """Start a response.

        Args:
            session: the session's configuration.
            parameters: the ``response`` of a ``response.create``.

        Raises:
            Refused: the parameters are wrong, or the conversation already has a response.
        """
        config = for_response(session, parameters)
        in_band = parameters.get("conversation", "auto") == "auto"
        if in_band and self._active:
            raise Refused(
                f"Conversation already has an active response in progress: {self._active.id}. "
                "Wait until the response is finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        context = self._context(session, parameters.get("input"))
        response = Response(
            send=self._link.send,
            drained=self._link.drained,
            conversation=self._conversation if in_band else None,
            config=config,
            metadata=parameters.get("metadata"),
            input_usage=self._input_usage(context, config),
            usage_factor=self._usage_factor,
            behaviour=self._behaviour,
            on_done=self._done,
        )
        self._running[response.id] = response
        if in_band:
            self._active = response
        response.begin()
        if self._failure:
            failure = self._failure
            response.fail({"type": failure.type, "code": failure.code, "message": failure.message})
            return
        answer = self._scripted.popleft() if self._scripted else answers.answer(context, config)
        stream = self._tasks.create_task(response.stream(answer), name=response.id)
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)

    def interrupt(self) -> None:
        """Stop speaking, because the user does."""
        self._another_is_due = False
        if self._active:
            self._active.cancel("turn_detected")

    def cancel(self, response_id: str | None) -> None:
        """Cancel a response, by default that of the conversation.

        Raises:
            Refused: it does not run.
        """
        response = self._running.get(response_id) if response_id else self._active
        if response is None:
            raise Refused("Cancellation failed: no active response found", "response_cancel_not_active")
        response.cancel("client_cancelled")

    def stop(self) -> None:
        """End every stream without a word."""
        for stream in self._streams:
            stream.cancel()

    def _context(self, session: Json, given: list[Json] | None) -> list[Entry]:
        """Return the items a response reads: those given with it, else the conversation."""
        if given is None:
            return self._conversation.entries
        context = []
        for index, item in enumerate(given):
            where = f"response.input[{index}]"
            if item.get("type") == "item_reference":
                context.append(self._conversation.get(str(item.get("id")), f"{where}.id"))
            else:
                context.append(new_entry(item, FORMATS[session["audio"]["input"]["format"]["type"]], where))
        return context

    def _input_usage(self, context: list[Entry], config: Json) -> Json:
        if self._failure:  # a failed response costs nothing
            return input_usage([], "", preface_was_input=False)
        preface = config["instructions"] + (json.dumps(config["tools"]) if config["tools"] else "")
        usage = input_usage(context, preface, preface_was_input=preface == self._last_preface)
        self._last_preface = preface
        return usage

    def _done(self, response: Response) -> None:
        del self._running[response.id]
        self._link.send(
            {
                "type": "rate_limits.updated",
                "rate_limits": [
                    {"name": name, "limit": limit, "remaining": limit - 1, "reset_seconds": 0.06}
                    for name, limit in _RATE_LIMITS.items()
                ],
            }
        )
        if response is self._active:
            self._active = None
            self._on_silence(response.still_plays_ms)
            if self._another_is_due:
                self._another_is_due = False
                self.respond(self._due_config, {})
