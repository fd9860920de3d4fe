import random
from array import array
from typing import Any

import pytest

from local_cloud.realtime.audio_formats import ALAW, PCM, ULAW, AudioFormat, encode
from local_cloud.realtime.voice import speech
from local_cloud.realtime.voice_activity import SpeechStarted, SpeechStopped, VoiceActivity

SENTENCE = speech("I heard four seconds of you.")
SENTENCE_MS = PCM.duration_ms(SENTENCE)


def silence(milliseconds: int) -> bytes:
    return bytes(48 * milliseconds)


def noise(milliseconds: int, rms: int) -> bytes:
    random.seed(1)
    return array("h", [round(random.gauss(0, rms)) for _ in range(24 * milliseconds)]).tobytes()


def changes(
    audio: bytes, audio_format: AudioFormat = PCM, *, piece_bytes: int = 960, **turn_detection: Any
) -> list[SpeechStarted | SpeechStopped]:
    activity = VoiceActivity({"type": "server_vad", **turn_detection}, audio_format, 0)
    audio = encode(audio, audio_format)
    return [
        change for at in range(0, len(audio), piece_bytes) for change in activity.hear(audio[at : at + piece_bytes])
    ]


@pytest.mark.parametrize("audio_format", [PCM, ULAW, ALAW])
def test_speech_is_found_where_it_is(audio_format: AudioFormat) -> None:
    started, stopped = changes(silence(1000) + SENTENCE + silence(1000), audio_format)
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert started.audio_start_ms == pytest.approx(700, abs=60), "300 ms of padding before the speech at 1000"
    assert stopped.audio_end_ms == pytest.approx(1000 + SENTENCE_MS + 500, abs=120)
    assert stopped.speech_ms == pytest.approx(SENTENCE_MS, abs=150)


@pytest.mark.parametrize("piece_bytes", [2, 331, 4800, 1 << 20])
def test_the_size_of_the_pieces_makes_no_difference(piece_bytes: int) -> None:
    audio = silence(500) + SENTENCE + silence(800)
    assert changes(audio, piece_bytes=piece_bytes) == changes(audio)


@pytest.mark.parametrize(
    "audio",
    [silence(3000), noise(3000, rms=150), silence(500) + noise(40, rms=8000) + silence(500)],
    ids=["silence", "low noise", "click"],
)
def test_what_is_no_speech_is_not_taken_for_it(audio: bytes) -> None:
    assert changes(audio) == []


def test_speech_is_found_in_noise() -> None:
    mixed = array("h", noise(1000 + SENTENCE_MS + 1000, rms=150))
    for at, sample in enumerate(array("h", SENTENCE), start=24_000):
        mixed[at] = max(-32768, min(32767, mixed[at] + sample))
    assert [type(change) for change in changes(mixed.tobytes())] == [SpeechStarted, SpeechStopped]


def test_a_loud_hum_stops_counting_as_speech() -> None:
    _, stopped = changes(noise(20_000, rms=700))
    assert isinstance(stopped, SpeechStopped)
    assert stopped.audio_end_ms < 20_000


def test_the_threshold_decides_how_loud_speech_is() -> None:
    quiet = array("h", [sample // 16 for sample in array("h", SENTENCE)]).tobytes() + silence(600)
    assert len(changes(quiet, threshold=0.2)) == 2
    assert changes(quiet, threshold=0.9) == []


def test_a_pause_shorter_than_the_silence_waited_for_ends_nothing() -> None:
    audio = SENTENCE + silence(600) + SENTENCE + silence(1000)
    assert len(changes(audio, silence_duration_ms=800)) == 2
    assert len(changes(audio, silence_duration_ms=300)) == 4


def test_the_padding_does_not_reach_back_into_the_last_turn() -> None:
    _, stopped, started, _ = changes(SENTENCE + silence(560) + SENTENCE + silence(600), prefix_padding_ms=5000)
    assert isinstance(stopped, SpeechStopped)
    assert isinstance(started, SpeechStarted)
    assert started.audio_start_ms == stopped.audio_end_ms


def test_eagerness_decides_how_long_semantic_detection_waits() -> None:
    ends = []
    for eagerness in ("high", "auto", "low"):
        _, stopped = changes(SENTENCE + silence(1500), type="semantic_vad", eagerness=eagerness)
        assert isinstance(stopped, SpeechStopped)
        ends.append(stopped.audio_end_ms)
    assert ends == sorted(set(ends))
