"""The simulator's voice: sentences joined from recorded words and phrases (`make_words.py` makes them).

It can say only what its recordings hold, so a transcript is exactly what was spoken.
"""

import json
import re
from array import array
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from local_cloud.realtime.audio_formats import PCM, ULAW_SAMPLES, AudioFormat, encode

_PAUSE = bytes(PCM.bytes_per_ms * 40)
_WORD = re.compile(r"[\w']+")
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
)
SMALL, TENS = _NUMBERS.split()[:20], _NUMBERS.split()[20:]
MANY = "many"


class CannotSay(ValueError):
    """A text holds a word that was never recorded."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One recorded piece of a sentence: its text, and its sound in the format asked for."""

    text: str
    audio: bytes


def number(value: int) -> str:
    """Return a whole number of 0 or more in words the voice has; from a hundred on it is "many"."""
    if value < len(SMALL):
        return SMALL[value]
    if value > 99:
        return MANY
    tens, ones = divmod(value, 10)
    return TENS[tens - 2] + (f" {SMALL[ones]}" if ones else "")


def say(text: str, audio_format: AudioFormat = PCM) -> tuple[Spoken, ...]:
    """Return ``text`` spoken, piece by piece; joined with spaces, the pieces' texts are the transcript.

    Case and punctuation in ``text`` serve only to choose between recordings of the same words.

    Raises:
        CannotSay: a word of ``text`` is not among the recordings.
    """
    return tuple(_piece(recording, audio_format) for recording in _split(text))


def speech(text: str, audio_format: AudioFormat = PCM) -> bytes:
    """Return the sound of ``text`` in one piece."""
    return b"".join(spoken.audio for spoken in say(text, audio_format))


@lru_cache(maxsize=256)
def _split(text: str) -> tuple[str, ...]:
    """Return the recordings that make up ``text``: at each word the longest that fits, which sounds best.

    The same words may be recorded twice, for the middle and the end of a sentence: the text's punctuation decides.
    """
    recordings, chosen, at = _recordings(), [], 0
    words = list(_WORD.finditer(text.lower()))
    while at < len(words):
        rest = [word[0] for word in words[at:]]
        fitting = [recording for recording, its_words in recordings.items() if rest[: len(its_words)] == its_words]
        if not fitting:
            raise CannotSay(f"the voice has no recording of {rest[0]!r}")
        here = text[words[at].start() :].lower()
        best = max(fitting, key=lambda recording: (len(recordings[recording]), _fit(recording.lower(), here)))
        chosen.append(best)
        at += len(recordings[best])
    return tuple(chosen)


def _fit(recording: str, text: str) -> int:
    """Return how well the punctuation of a recording is that of the text, of those with the same words."""
    return len(recording) if text.startswith(recording) else -len(recording)


@cache
def _recordings() -> dict[str, list[str]]:
    """Return the lower-case words of every recorded text."""
    return {text: _WORD.findall(text.lower()) for text in _index()}


@cache
def _index() -> dict[str, tuple[int, int]]:
    """Return where each recorded text lies in `words.ulaw`: its first byte and its length."""
    index: dict[str, tuple[int, int]] = json.loads((Path(__file__).parent / "words.json").read_text("utf-8"))
    return index


@cache
def _bank() -> bytes:
    return (Path(__file__).parent / "words.ulaw").read_bytes()


@cache
def _piece(recording: str, audio_format: AudioFormat) -> Spoken:
    start, length = _index()[recording]
    low = [ULAW_SAMPLES[code] for code in _bank()[start : start + length]]
    # From 16 to 24 kHz: of every two samples come three, by straight lines between neighbours.
    high = array("h")
    for at in range(0, len(low) - 2, 2):
        first, second, third = low[at : at + 3]
        high.extend((first, (first + 2 * second) // 3, (2 * second + third) // 3))
    return Spoken(recording, encode(high.tobytes() + _PAUSE, audio_format))
