"""The two ends wired together: each frame goes by callback through policy and meter straight to the other side.

No task switch, queue or copy per message; the session's coroutine only learns how it ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from relay.channel import Channel, ignore
from relay.conversation import Conversation
from relay.deployments import Deployments
from relay.events import (
    Deltas,
    canonical_append,
    decode_browser_event,
    decode_model_event,
    encode,
    new_event_id,
)
from relay.meter import Meter
from relay.model_events import show_session, show_to_browser
from relay.pace import audio_bucket, message_bucket
from relay.policy import ShowSession, judge_browser_event
from relay.stopwatch import Stopwatch
from service_kit.errors import Ending, Refusal
from service_kit.session_fields import FIELDS
from service_kit.session_token import Claims
from service_kit.telemetry import Telemetry

MAX_EARLY_BYTES: Final = 262_144
STALL_SECONDS: Final = 10.0
RATE_RETRY_AFTER_SECONDS: Final = 10.0
_EARLY_FRAME_BYTES: Final = 64
"""What keeping a frame costs beside its bytes, so that tiny frames fill the early buffer too."""

End = Callable[..., None]


class Wire:
    """Carries frames between browser and model once :meth:`connect` was called; before, the browser's frames wait.

    ``end`` ends the session; in the same step it calls :meth:`disconnect`, so that nothing passes after an ending.

    Attributes:
        last_activity: the event loop's time of the last accepted browser event or model event.
    """

    def __init__(
        self,
        browser: Channel,
        claims: Claims,
        meter: Meter,
        end: End,
        *,
        request_id: str,
        speaks_airlock: bool,
        telemetry: Telemetry,
    ) -> None:
        self._telemetry = telemetry
        self._stopwatch: Stopwatch | None = None
        self._browser = browser
        self._model: Channel | None = None
        self._is_connected = False
        self._claims = claims
        self._meter = meter
        self._end = end
        self._request_id = request_id
        self._speaks_airlock = speaks_airlock
        self._loop = asyncio.get_running_loop()
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._owes_session = False
        self._saw_garbage = False
        self._conversation = Conversation({})
        self._deltas = Deltas()
        self._deployments = Deployments({})
        self._stalls: dict[Ending, asyncio.TimerHandle] = {}
        self._audio_appends_allowed = "input_audio_buffer.append" in claims.lock.client_events
        self.last_activity = self._loop.time()
        self._messages = message_bucket(claims.limits, self.last_activity)
        self._audio = audio_bucket(claims.limits, self.last_activity)
        self._max_audio_in_ms = claims.limits.max_input_audio_seconds * 1000
        browser.on_frame = self._keep_early
        browser.on_control = self._count_control

    def connect(
        self,
        model: Channel,
        session: dict[str, Any],
        waiting: asyncio.Queue[bytes],
        deployments: Deployments,
        started: dict[str, Any],
    ) -> None:
        """The lock is confirmed with ``session``: show it to the browser, then let frames through, early ones first.

        ``waiting`` holds what the model sent since, and ``deployments`` how it calls models; ``started`` is our own
        event for clients that listen to those.
        """
        self._model = model
        self._deployments = deployments
        self._is_connected = True
        self._conversation = Conversation(session)
        self.last_activity = self._loop.time()
        model.on_frame, self._browser.on_frame = self._from_model, self._from_browser
        model.on_congestion, self._browser.on_congestion = self._model_congested, self._browser_congested
        self._stopwatch = Stopwatch(
            self._telemetry,
            self._browser,
            self._from_browser,
            model,
            self._from_model,
            lambda: self._meter.audio_out_ms,
        )
        model.measure()
        self._browser.resume()  # before the early frames, since those may hold it back again
        self._send(
            {
                "type": "session.created",
                "event_id": new_event_id(),
                "session": show_session(session, self._claims.lock),
            }
        )
        self.tell(started)
        while not waiting.empty():
            self._from_model(waiting.get_nowait())
        early, self._early = self._early, []
        for frame in early:
            self._from_browser(frame)

    def time_frames(self) -> None:
        """Measure how long the next frame each way is in this process; only that frame pays for it."""
        if self._stopwatch is not None:
            self._stopwatch.time_next()

    def disconnect(self) -> None:
        """Let nothing more through, not even what is being read in this moment."""
        self._is_connected = False
        for timer in self._stalls.values():
            timer.cancel()
        self._stalls.clear()
        for channel in filter(None, (self._browser, self._model)):
            channel.on_frame = channel.on_control = channel.on_congestion = ignore

    def tell(self, event: dict[str, Any]) -> None:
        """Send the browser one of our own events, if it asked for them."""
        if self._speaks_airlock:
            self._send(event)

    def refuse(self, refusal: Refusal) -> None:
        """Send the browser one ``error`` event."""
        self._send(refusal.event(self._request_id, new_event_id()))

    def cancel_responses(self) -> None:
        """Ask the model to stop generating, since nobody will listen."""
        if self._model is not None and self._conversation.in_flight:
            self._model.send(b'{"type":"response.cancel"}')

    def _send(self, event: dict[str, Any]) -> None:
        frame = encode(event)
        self._meter.bytes_out += len(frame)
        self._browser.send(frame)

    def _keep_early(self, frame: bytes) -> None:
        self._early.append(frame)
        self._early_bytes += len(frame) + _EARLY_FRAME_BYTES
        if self._early_bytes >= MAX_EARLY_BYTES:
            self._browser.pause()

    def _count_control(self) -> None:
        """A ping or a pong costs us as much as a message, and is no activity: a flood of them ends the session too."""
        if not self._messages.take(1, self._loop.time()):
            self._too_fast()

    def _from_browser(self, frame: bytes) -> None:
        model = self._model
        if model is None or not self._is_connected:
            return
        meter, conversation = self._meter, self._conversation
        now = self._loop.time()
        meter.bytes_in += len(frame)
        if not self._messages.take(1, now):
            self._too_fast()
            return
        if self._audio_appends_allowed:
            heard = canonical_append(frame, conversation.input_format.bytes_per_sample)
            if heard is not None:
                if self._may_hear(heard, now):
                    self.last_activity = now
                    model.send(frame)
                return
        try:
            event = decode_browser_event(frame)
            if self._speaks_airlock and event.get("type") == "airlock.ping":
                self._pong(event)
                return
            verdict = judge_browser_event(
                event, lock=self._claims.lock, limits=self._claims.limits, conversation=conversation
            )
        except Refusal as refusal:
            if refusal.code == "invalid_frame":
                self._end(Ending.PROTOCOL_ERROR, refusal)
            else:
                self._refused(refusal)
            return
        self.last_activity = now
        if isinstance(verdict, ShowSession):
            self._show_session()
            return
        event = verdict.event
        if event["type"] == "session.update":
            event["session"] = self._deployments.to_service(event["session"])
        if event["type"] == "response.create" and meter.over_budget(self._claims.limits):
            self._end(Ending.BUDGET)
            return
        if self._may_hear(verdict.audio_bytes, now):
            model.send(encode(event))
            if event["type"] == "response.create" and self._stopwatch is not None:
                self._stopwatch.await_audio()

    def _may_hear(self, audio_bytes: int, now: float) -> bool:
        """Count audio of the browser; False, and the session ends, if it is too fast or too much."""
        milliseconds = audio_bytes / self._conversation.input_format.bytes_per_millisecond
        if not self._audio.take(milliseconds, now):
            self._too_fast()
            return False
        self._meter.audio_in_ms += milliseconds
        if self._meter.audio_in_ms > self._max_audio_in_ms:
            self._end(Ending.BUDGET)
            return False
        return True

    def _too_fast(self) -> None:
        self._end(Ending.POLICY, Refusal("rate_limited", retry_after=RATE_RETRY_AFTER_SECONDS))

    def _refused(self, refusal: Refusal) -> None:
        self.refuse(refusal)
        structlog.get_logger().info("event.refused", code=refusal.code, param=_loggable(refusal))
        if self._meter.refused(self._loop.time(), self._claims.limits):
            self._end(Ending.POLICY, Refusal("policy_violation"))

    def _show_session(self) -> None:
        """Answer with the session as it is; to a browser that does not keep up once, when it does again.

        It is told less than it asks for, or it could ask for more than fits into our memory.
        """
        if self._browser_stalls:
            self._owes_session = True
            return
        shown = show_session(self._conversation.effective, self._claims.lock)
        self._send({"type": "session.updated", "event_id": new_event_id(), "session": shown})

    @property
    def _browser_stalls(self) -> bool:
        return Ending.SLOW_CONSUMER in self._stalls

    def _pong(self, event: dict[str, Any]) -> None:
        if self._browser_stalls:
            return
        sent_at = event.get("t")
        trip = self._model.round_trip if self._model else None
        self._send(
            {
                "type": "airlock.pong",
                "event_id": new_event_id(),
                "t": sent_at if isinstance(sent_at, int | float) else None,
                "server_time": time.time(),
                "received_audio_ms": round(self._meter.audio_in_ms),
                "model_round_trip_ms": None if trip is None else round(trip * 1000, 1),
            }
        )
        if self._model:
            self._model.measure()  # for the next of these

    def _from_model(self, frame: bytes) -> None:
        if not self._is_connected:
            return
        self.last_activity = self._loop.time()
        spoken = self._deltas.audio_bytes(frame)
        if spoken is not None:
            self._meter.bytes_out += len(frame)
            self._browser.send(frame)
            milliseconds = spoken / self._conversation.output_format.bytes_per_millisecond
            if self._meter.delivered(milliseconds) and self._meter.over_budget(self._claims.limits):
                self._end(Ending.BUDGET)
            return
        try:
            event = decode_model_event(frame)
            if event is not None:
                if event["type"] == "session.updated" and isinstance(event.get("session"), dict):
                    event["session"] = self._deployments.from_service(event["session"])
                self._conversation.observe(event)
                self._meter.observe(event, self._conversation.transcription_model)
                if event["type"] == "input_audio_buffer.speech_stopped" and self._stopwatch is not None:
                    self._stopwatch.await_audio()
                shown = show_to_browser(event, self._claims.lock)
                if shown is not None:
                    self._send(shown)
        except RecursionError:  # nested deeper than we can look
            event = None
        if event is None:
            if not self._saw_garbage:
                self._saw_garbage = True
                structlog.get_logger().warning("upstream.failed", error="not an event")
            return
        if self._meter.over_budget(self._claims.limits):
            self._end(Ending.BUDGET)

    def _browser_congested(self, congested: bool) -> None:
        """The browser does not keep up: hold the model back, for ten seconds at most."""
        self._congested(congested, self._model, Ending.SLOW_CONSUMER)
        if not congested and self._owes_session:
            self._owes_session = False
            self._show_session()

    def _model_congested(self, congested: bool) -> None:
        self._congested(congested, self._browser, Ending.MODEL_FAILED)

    def _congested(self, congested: bool, source: Channel | None, ending: Ending) -> None:
        if source is None:
            return
        timer = self._stalls.pop(ending, None)
        if timer is not None:
            timer.cancel()
        if congested:
            source.pause()
            self._stalls[ending] = self._loop.call_later(STALL_SECONDS, self._end, ending)
        else:
            source.resume()


def _loggable(refusal: Refusal) -> str | None:
    """The refused field's name; not where it is a key of the client's own invention, which is content."""
    _, _, path = (refusal.param or "").partition(".")
    return refusal.param if refusal.code != "field_locked" or path in FIELDS else None
