"""Measures single frames of a session at no cost to all others: it stands before a channel's callback only for as long
as there is something to measure, and then steps aside.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from relay.channel import Channel
from service_kit.telemetry import Telemetry

OnFrame = Callable[[bytes], None]


class Stopwatch:
    """One session's, which is wired: ``from_browser`` and ``from_model`` are the callbacks of its two ends.

    ``audio_ms`` tells how much audio the model has sent so far.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        browser: Channel,
        from_browser: OnFrame,
        model: Channel,
        from_model: OnFrame,
        audio_ms: Callable[[], float],
    ) -> None:
        self._telemetry = telemetry
        self._browser = browser
        self._from_browser = from_browser
        self._model = model
        self._from_model = from_model
        self._audio_ms = audio_ms
        self._asked_at: float | None = None

    def time_next(self) -> None:
        """Measure how long the next frame each way takes from its callback's call to its hand-over."""
        if self._browser.on_frame == self._from_browser:  # else one is being waited for
            self._browser.on_frame = self._timed_from_browser
        if self._model.on_frame in (self._from_model, self._before_audio):
            self._model.on_frame = self._timed_from_model

    def await_audio(self) -> None:
        """The model was asked to speak: measure how long it takes until it does."""
        self._asked_at = time.perf_counter()
        if self._model.on_frame == self._from_model:
            self._model.on_frame = self._before_audio

    def _timed_from_browser(self, frame: bytes) -> None:
        self._browser.on_frame = self._from_browser
        self._timed(self._from_browser, frame, "in")

    def _timed_from_model(self, frame: bytes) -> None:
        usual = self._from_model if self._asked_at is None else self._before_audio
        self._model.on_frame = usual
        self._timed(usual, frame, "out")

    def _timed(self, on_frame: OnFrame, frame: bytes, direction: str) -> None:
        began = time.perf_counter()
        on_frame(frame)
        self._telemetry.timing("airlock_relay_latency_ms", (time.perf_counter() - began) * 1_000, direction=direction)

    def _before_audio(self, frame: bytes) -> None:
        before = self._audio_ms()
        self._from_model(frame)
        if self._asked_at is None or self._audio_ms() <= before:
            return
        self._telemetry.timing("airlock_first_audio_ms", (time.perf_counter() - self._asked_at) * 1_000)
        self._asked_at = None
        if self._model.on_frame == self._before_audio:  # else nobody is to be heard any more
            self._model.on_frame = self._from_model
