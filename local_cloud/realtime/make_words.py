"""Make the simulator's voice: `words.ulaw` and `words.json`, from espeak-ng and sox.

Run it after changing what the simulator can say: `apt-get install espeak-ng sox`, then
`python -m local_cloud.realtime.make_words`. The two files are committed, so that nothing else needs those programs.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from local_cloud.realtime.voice import MANY, SMALL, TENS

RATE_HZ = 16_000
TRIM = ["silence", "1", "0.005", "0.6%"]

NUMBERS = [*SMALL, *TENS, MANY]
PHRASES = [
    "I heard",
    "less than a second of you.",
    "second of you.",
    "seconds of you.",
    "I read your",
    "word.",
    "words.",
    "The tool answered",
    "The tool answered.",
    "with",
    "Hello, I am listening.",
    "Are you still there?",
]


def synthesise(text: str, folder: Path) -> bytes:
    """Return ``text`` spoken, without silence around it, as µ-law at ``RATE_HZ``."""
    spoken, trimmed = folder / "spoken.wav", folder / "trimmed.raw"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "155", "-p", "45", "-w", spoken, text], check=True)  # noqa: S607 - PATH's
    # One side is trimmed and faded, then, reversed, the other: sox cannot fade out sound whose length it does not know.
    trim_both_sides = [*TRIM, "fade", "0.004", "reverse", *TRIM, "fade", "0.012", "reverse"]
    output = ["-r", str(RATE_HZ), "-e", "u-law", "-b", "8", "-c", "1", "-t", "raw", str(trimmed)]
    subprocess.run(
        ["sox", spoken, *output, "norm", "-4", *trim_both_sides],  # noqa: S607 - PATH's
        check=True,
    )
    return trimmed.read_bytes()


def main() -> None:
    """Write the two files beside this module."""
    here = Path(__file__).parent
    audio, index = bytearray(), {}
    with tempfile.TemporaryDirectory() as folder:
        for text in NUMBERS + PHRASES:
            # A comma makes the voice hold its pitch, a full stop makes it fall: numbers stand inside a sentence.
            sound = synthesise(f"{text}," if text in NUMBERS else text, Path(folder))
            index[text] = [len(audio), len(sound)]
            audio += sound
    (here / "words.ulaw").write_bytes(audio)
    (here / "words.json").write_text(json.dumps(index, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
