"""Decides when someone speaks, by the energy of the audio; pure, fed with bytes, it never looks at a clock.

A window of 20 ms is loud if it passes both the absolute bar that ``threshold`` sets and three times the noise floor.
The floor falls at once to the quietest window and rises slowly, so that a steady hum stops counting as speech after
seconds, while the dips between words keep the floor down during speech.
"""

from dataclasses import dataclass

from local_cloud.realtime.audio_formats import AudioFormat, level
from local_cloud.realtime.events import Json

WINDOW_MS = 20
_LOUD_WINDOWS_TO_START = 3  # a click is shorter than 60 ms
_FLOOR_RISE = 1.005  # per window: doubles in 2.8 s
_LOWEST_FLOOR = 10.0
_SEMANTIC_SILENCE_MS = {"high": 300, "medium": 600, "auto": 600, "low": 1200}


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """``audio_start_ms`` includes the prefix padding."""

    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """``audio_end_ms`` includes the silence that was waited for; ``speech_ms`` counts neither it nor the padding."""

    audio_end_ms: int
    speech_ms: int


class VoiceActivity:
    """Finds speech in one stream of audio.

    Args:
        turn_detection: the session's ``turn_detection`` object with its defaults filled in. ``semantic_vad`` is
            treated as energy detection whose silence depends on the eagerness.
        audio_format: of the audio that will be heard.
        start_ms: where in the session's audio the stream starts.
    """

    def __init__(self, turn_detection: Json, audio_format: AudioFormat, start_ms: int) -> None:
        # From -60 dB at 0 to -20 dB at 1 of full scale; the default of 0.5 is -40 dB, an RMS of 328.
        self._bar = 32768 * 10 ** ((40 * turn_detection.get("threshold", 0.5) - 60) / 20)
        self.prefix_padding_ms: int = turn_detection.get("prefix_padding_ms", 300)
        self._silence_ms: int = turn_detection.get(
            "silence_duration_ms", _SEMANTIC_SILENCE_MS[turn_detection.get("eagerness", "auto")]
        )
        self._format = audio_format
        self._window_bytes = WINDOW_MS * audio_format.bytes_per_ms
        self._pending = bytearray()
        self._now_ms = self._turn_end_ms = start_ms
        self._floor = _LOWEST_FLOOR
        self._loud_in_a_row = 0
        self._speech_start_ms: int | None = None
        self._last_loud_ms = 0

    @property
    def speaking(self) -> bool:
        """Whether speech has started and not stopped."""
        return self._speech_start_ms is not None

    def hear(self, audio: bytes) -> list[SpeechStarted | SpeechStopped]:
        """Take the next audio, in pieces of any size, and return what it made happen, in order."""
        self._pending += audio
        happened: list[SpeechStarted | SpeechStopped] = []
        whole = len(self._pending) - len(self._pending) % self._window_bytes
        for at in range(0, whole, self._window_bytes):
            change = self._hear_window(level(bytes(self._pending[at : at + self._window_bytes]), self._format))
            if change:
                happened.append(change)
        del self._pending[:whole]
        return happened

    def _hear_window(self, loudness: float) -> SpeechStarted | SpeechStopped | None:
        self._now_ms += WINDOW_MS
        self._floor = max(_LOWEST_FLOOR, min(loudness, self._floor * _FLOOR_RISE))
        if loudness > max(self._bar, 3 * self._floor):
            self._loud_in_a_row += 1
            self._last_loud_ms = self._now_ms
        else:
            self._loud_in_a_row = 0
        if self._speech_start_ms is None:
            return self._start() if self._loud_in_a_row >= _LOUD_WINDOWS_TO_START else None
        if self._now_ms - self._last_loud_ms >= max(self._silence_ms, WINDOW_MS):
            return self._stop(self._speech_start_ms)
        return None

    def _start(self) -> SpeechStarted:
        self._speech_start_ms = self._now_ms - _LOUD_WINDOWS_TO_START * WINDOW_MS
        return SpeechStarted(max(self._turn_end_ms, self._speech_start_ms - self.prefix_padding_ms))

    def _stop(self, speech_start_ms: int) -> SpeechStopped:
        self._speech_start_ms = None
        self._turn_end_ms = self._now_ms  # the next turn's padding does not reach back into this one
        return SpeechStopped(self._now_ms, self._last_loud_ms - speech_start_ms)
