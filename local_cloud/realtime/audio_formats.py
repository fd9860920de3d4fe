"""The three audio formats of a session: 24 kHz PCM16, and G.711 µ-law and A-law at 8 kHz.

The G.711 tables follow ITU-T G.711; the standard library's `audioop`, which held them, left with Python 3.13.
"""

import math
from array import array
from dataclasses import dataclass
from functools import cache
from operator import mul
from typing import Literal

FormatName = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One format; all of them are mono."""

    name: FormatName
    bytes_per_ms: int

    def duration_ms(self, audio: bytes | bytearray) -> int:
        """Return how long ``audio`` plays, rounded down."""
        return len(audio) // self.bytes_per_ms


PCM = AudioFormat("audio/pcm", 48)
ULAW = AudioFormat("audio/pcmu", 8)
ALAW = AudioFormat("audio/pcma", 8)
FORMATS: dict[str, AudioFormat] = {audio_format.name: audio_format for audio_format in (PCM, ULAW, ALAW)}


def _ulaw_sample(code: int) -> int:
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw_sample(code: int) -> int:
    code ^= 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 0x0F) << 4
    magnitude = mantissa + 8 if exponent == 0 else (mantissa + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


ULAW_SAMPLES = tuple(_ulaw_sample(code) for code in range(256))
ALAW_SAMPLES = tuple(_alaw_sample(code) for code in range(256))


@cache
def _codes(audio_format: AudioFormat) -> bytes:
    """Return the nearest code for every 16-bit sample, indexed by ``(sample + 32768) >> 4``."""
    table = ULAW_SAMPLES if audio_format is ULAW else ALAW_SAMPLES
    by_sample = sorted((sample, code) for code, sample in enumerate(table))
    codes, at = bytearray(), 0
    for sample in range(-32768 + 8, 32768, 16):
        while at + 1 < len(by_sample) and by_sample[at + 1][0] - sample <= sample - by_sample[at][0]:
            at += 1
        codes.append(by_sample[at][1])
    return bytes(codes)


def decode(audio: bytes, audio_format: AudioFormat) -> "array[int]":  # quoted: not subscriptable before Python 3.12
    """Return the 16-bit samples of ``audio`` at the format's own rate."""
    if audio_format is PCM:
        return array("h", audio[: len(audio) & ~1])
    table = ULAW_SAMPLES if audio_format is ULAW else ALAW_SAMPLES
    return array("h", [table[code] for code in audio])


def encode(pcm: bytes, audio_format: AudioFormat) -> bytes:
    """Return 24 kHz PCM16 in ``audio_format``; for G.711 every three samples become their mean."""
    if audio_format is PCM:
        return pcm
    samples, codes = array("h", pcm), _codes(audio_format)
    means = (sum(samples[at : at + 3]) // 3 for at in range(0, len(samples) - 2, 3))
    return bytes(codes[(mean + 32768) >> 4] for mean in means)


def level(window: bytes, audio_format: AudioFormat) -> float:
    """Return the root mean square of a window of audio, 0 to 32767.

    Of PCM every fourth sample is enough to measure energy by, and is four times cheaper.
    """
    samples = decode(window, audio_format)
    if audio_format is PCM:
        samples = samples[::4]
    return math.sqrt(sum(map(mul, samples, samples)) / len(samples)) if samples else 0.0
