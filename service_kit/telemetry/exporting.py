"""The thread that sends what was recorded, in its own time: the services never wait for it.

Where much happens, events and spans go sooner than at the interval, but only so many at once as one request may hold:
a request costs as much as twenty spans, and numbers add up for nothing.

What the other end did not take, because it is away, slow or busy, waits for the next time as long as there is room;
what it refuses for good is dropped and counted. Where an answer is lost, something may arrive twice.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog

from service_kit.telemetry.recorder import BATCH, EventRecord, Recorder, Waiting
from service_kit.telemetry.spans import SpanRecord
from service_kit.telemetry.values import Deltas, Point

REQUEST_SECONDS: Final = 3.0
"""How long one request to a backend may be silent."""
GRACE_SECONDS: Final = 2.0
"""How long the last flush may take, as far as the drain leaves so much."""

T = TypeVar("T")


class Outcome(Enum):
    """What became of a request."""

    TAKEN = "taken"
    NOT_NOW = "not now"
    """Away, slow, busy or failing: the same may be taken later."""
    REFUSED = "refused"
    """For good, or taken in part."""


class Backend(Protocol):
    """Speaks to one service. Called from one thread, and may wait."""

    def send_events(self, events: Sequence[EventRecord]) -> Outcome:
        """Send some events."""

    def send_points(self, points: Sequence[Point], at: float) -> Outcome:
        """Send some numbers, as they were at this time (Unix seconds)."""

    def send_spans(self, spans: Sequence[SpanRecord]) -> Outcome:
        """Send some spans."""


class Exporter(Recorder):
    """A recorder whose contents are sent to a backend every ``interval_seconds``, and at the end.

    A full batch of events or spans goes at once.
    """

    def __init__(self, backend: Backend, interval_seconds: float) -> None:
        super().__init__(is_sent=True)
        self._backend = backend
        self._interval_seconds = interval_seconds
        self._deltas = Deltas(self.values)
        self._wake = threading.Event()
        self._is_closing = False
        self._is_failing = False
        self.on_many = self._hurry
        # Not joined at exit: a request that hangs holds up nobody.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="telemetry", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Send what is left; what is not sent in time is lost."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(max(0.0, seconds))

    def _hurry(self) -> None:
        if not self._is_failing:
            self._wake.set()

    def _run(self) -> None:
        is_last = False
        due = time.monotonic() + self._interval_seconds
        while not is_last:
            self._wake.wait(due - time.monotonic())
            is_last = self._is_closing  # asked before it sends, so that what comes until then is sent too
            if not is_last:
                self._wake.clear()
            if is_last or time.monotonic() >= due:
                self._note(self._send_all())
                due = time.monotonic() + self._interval_seconds
            elif not self._is_failing:
                self._note(self._send_full_batches())

    def _send_all(self) -> bool:
        """Send all there is, the alerts first; False as soon as something was not taken now."""
        return self._send_events(1) and self._send_points() and self._send_spans(1)

    def _send_full_batches(self) -> bool:
        """Send what fills requests; False as soon as something was not taken now."""
        return self._send_events(BATCH) and self._send_spans(BATCH)

    def _send_events(self, least: int) -> bool:
        return self._send(self.events, "events", self._backend.send_events, least)

    def _send_spans(self, least: int) -> bool:
        return self._send(self.spans, "spans", self._backend.send_spans, least)

    def _send(self, waiting: Waiting[T], what: str, send: Callable[[Sequence[T]], Outcome], least: int) -> bool:
        while len(waiting) >= least:
            batch = waiting.first(BATCH)
            outcome = self._outcome(partial(send, batch))
            if outcome is Outcome.NOT_NOW:
                return False
            waiting.remove(len(batch))
            if outcome is Outcome.REFUSED:
                self.dropped(what, len(batch))
        return True

    def _send_points(self) -> bool:
        """One request, so that all of it is delivered or none: there are no more series than the table allows."""
        points, now = self._deltas.take(), time.time()
        outcome = self._outcome(lambda: self._backend.send_points(points, now)) if points else Outcome.TAKEN
        if outcome is Outcome.NOT_NOW:
            self._deltas.failed()
            return False
        self._deltas.delivered()
        if outcome is Outcome.REFUSED:
            self.dropped("metrics", len(points))
        return True

    def _outcome(self, send: Callable[[], Outcome]) -> Outcome:
        try:
            return send()
        except Exception as error:  # noqa: BLE001 - a bug of a vendor's must not end the thread, or be tried for ever
            structlog.get_logger().error("telemetry.failed", error=type(error).__name__)
            return Outcome.REFUSED

    def _note(self, is_well: bool) -> None:
        """Log an outage once, and its end."""
        if self._is_failing is is_well:
            log = structlog.get_logger()
            log.info("telemetry.sent") if is_well else log.warning("telemetry.failed", error="not delivered")
        self._is_failing = not is_well
