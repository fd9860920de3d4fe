import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from local_cloud.realtime import make_words, voice
from local_cloud.realtime.audio_formats import ALAW, PCM, ULAW, AudioFormat, decode, encode, level

ASSETS = Path(voice.__file__).parent


@pytest.mark.parametrize(
    ("value", "words"), [(0, "zero"), (13, "thirteen"), (40, "forty"), (99, "ninety nine"), (100, "many")]
)
def test_numbers_are_said_in_words(value: int, words: str) -> None:
    assert voice.number(value) == words
    assert " ".join(spoken.text for spoken in voice.say(words)) == words


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("I heard twenty one seconds of you.", ["I heard", "twenty", "one", "seconds of you."]),
        ("The tool answered", ["The tool answered"]),
        ("The tool answered.", ["The tool answered."]),
        ("the TOOL answered with one word", ["The tool answered", "with", "one", "word."]),
    ],
)
def test_a_sentence_is_made_of_the_recordings_that_fit_best(text: str, pieces: list[str]) -> None:
    assert [spoken.text for spoken in voice.say(text)] == pieces


def test_what_was_never_recorded_cannot_be_said() -> None:
    with pytest.raises(voice.CannotSay, match="zebra"):
        voice.say("one zebra")


@pytest.mark.parametrize("audio_format", [PCM, ULAW, ALAW])
def test_speech_sounds_alike_in_every_format(audio_format: AudioFormat) -> None:
    sentence, original = (
        voice.speech("I heard four seconds of you.", audio_format),
        voice.speech("I heard four seconds of you."),
    )
    assert audio_format.duration_ms(sentence) == pytest.approx(PCM.duration_ms(original), abs=5)
    loudness = level(sentence, audio_format)
    assert loudness == pytest.approx(level(original, PCM), rel=0.1)
    assert loudness > 1000


def test_speech_has_no_clicks_where_pieces_join() -> None:
    samples = decode(voice.speech("I heard four seconds of you."), PCM)
    edges = 0
    for spoken in voice.say("I heard four seconds of you."):
        edges += len(spoken.audio) // 2
        around = samples[max(edges - 24, 0) : edges + 24]
        assert max(abs(one - other) for one, other in pairwise(around)) < 1500


# ITU-T G.711: silence and full scale of both laws.
@pytest.mark.parametrize(
    ("audio_format", "code", "sample"),
    [
        (ULAW, 0xFF, 0),
        (ULAW, 0x80, 32124),
        (ULAW, 0x00, -32124),
        (ALAW, 0xD5, 8),
        (ALAW, 0x55, -8),
        (ALAW, 0xAA, 32256),
    ],
)
def test_g711_codes_mean_what_the_standard_says(audio_format: AudioFormat, code: int, sample: int) -> None:
    assert list(decode(bytes([code]), audio_format)) == [sample]


@pytest.mark.parametrize("audio_format", [ULAW, ALAW])
def test_g711_gives_back_nearly_what_it_was_given(audio_format: AudioFormat) -> None:
    for sample in (-32768, -20000, -1000, -100, 0, 100, 1000, 20000, 32767):
        pcm = sample.to_bytes(2, "little", signed=True) * 3
        assert decode(encode(pcm, audio_format), audio_format)[0] == pytest.approx(sample, rel=0.04, abs=20)


def test_the_recordings_are_small() -> None:
    assert (ASSETS / "words.ulaw").stat().st_size < 500_000


@pytest.mark.skipif(not (shutil.which("espeak-ng") and shutil.which("sox")), reason="needs espeak-ng and sox")
def test_the_recordings_can_be_made_again(tmp_path: Path) -> None:
    sound = make_words.synthesise("seconds of you.", tmp_path)
    assert len(sound) == pytest.approx(len(voice.speech("seconds of you.")) / 3, rel=0.2)
