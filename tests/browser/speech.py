"""Speech for the fake microphone, and how alike two recordings are."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

WIRE_RATE = 24_000
Samples = npt.NDArray[np.float64]

_LEAD_SECONDS = 0.6  # the browser loses the first tens of milliseconds of the file
_ENVELOPE_WINDOW = WIRE_RATE // 50


@dataclass(frozen=True)
class Speech:
    """A microphone's file, and the same sound as the wire should carry it."""

    path: Path
    samples: Samples


def speak(folder: Path, *sentences: str, pause_seconds: float = 3.0) -> Speech:
    """Write sentences, each followed by silence, to a file that Chromium can play into a page."""
    parts = []
    for number, sentence in enumerate(sentences):
        spoken, padded = folder / f"spoken-{number}.wav", folder / f"padded-{number}.wav"
        _run("espeak-ng", "-s", "150", "-w", str(spoken), sentence)
        lead = _LEAD_SECONDS if number == 0 else 0
        _run(
            "sox", str(spoken), "-r", "48000", "-c", "1", "-b", "16", str(padded), "pad", str(lead), str(pause_seconds)
        )
        parts.append(str(padded))
    path, wire = folder / "speech.wav", folder / "speech.raw"
    _run("sox", *parts, str(path))
    _run("sox", str(path), "-r", str(WIRE_RATE), "-b", "16", "-e", "signed", str(wire))
    return Speech(path, from_pcm16(wire.read_bytes()))


def silence(folder: Path) -> Path:
    """A file for a microphone before which nobody speaks; without a file Chromium's beeps."""
    path = folder / "silence.wav"
    _run("sox", "-n", "-r", "48000", "-c", "1", "-b", "16", str(path), "trim", "0", "1")
    return path


def from_pcm16(audio: bytes) -> Samples:
    """Little-endian PCM16 as numbers from -1 to 1."""
    return np.frombuffer(audio, "<i2").astype(np.float64) / 32768


def correlation(received: Samples, expected: Samples) -> float:
    """The normalised correlation at the best shift, over the part of ``expected`` that is not silent at either end."""
    loud = np.flatnonzero(np.abs(expected) > np.abs(expected).max() / 100)
    wanted = expected[loud[0] : loud[-1] + 1]
    if len(received) < len(wanted):
        return 0.0
    size = 1 << (len(received) + len(wanted)).bit_length()
    products = np.fft.irfft(np.fft.rfft(received, size) * np.conj(np.fft.rfft(wanted, size)), size)
    shift = int(np.argmax(products[: len(received) - len(wanted) + 1]))
    part = received[shift : shift + len(wanted)]
    return float(np.dot(part, wanted) / max(1e-12, float(np.linalg.norm(part) * np.linalg.norm(wanted))))


def envelope(samples: Samples) -> Samples:
    """The loudness of every 20 ms, its mean taken off."""
    whole = samples[: len(samples) // _ENVELOPE_WINDOW * _ENVELOPE_WINDOW].reshape(-1, _ENVELOPE_WINDOW)
    loudness: Samples = np.sqrt(np.mean(whole**2, axis=1))
    return loudness


def envelope_correlation(received: Samples, expected: Samples) -> float:
    """How alike the rise and fall of two recordings is: Pearson's coefficient at the best shift of 20 ms steps."""
    heard, wanted = envelope(received), envelope(expected)
    loud = np.flatnonzero(wanted > wanted.max() / 20)
    wanted = wanted[loud[0] : loud[-1] + 1]
    shifts = range(max(0, len(heard) - len(wanted) + 1))
    return max((float(np.corrcoef(heard[at : at + len(wanted)], wanted)[0, 1]) for at in shifts), default=0.0)


def figures(*parts: object) -> None:
    """What a measurement found, for who runs the tests with ``-s``."""
    print("\n  " + " ".join(f"{part:.5g}" if isinstance(part, float) else str(part) for part in parts))  # noqa: T201


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
