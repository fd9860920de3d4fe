"""The page in Debian's Firefox: the same conversation as in Chromium.

It needs the packages firefox-esr and pulseaudio. The page must never ask this Firefox for ``outputLatency`` or
``getOutputTimestamp()``: it asks another process, and when a stream has just begun gets no answer for ever, more often
than not, so the page and its remote control stand still.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.browser.firefox import running_firefox
from tests.browser.simulator import SimulatorHandle
from tests.stack import Stack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("firefox-esr") or not shutil.which("pulseaudio"), reason="no Firefox"),
]

LONG_ANSWER = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


def test_a_spoken_turn_and_an_interruption_in_firefox(stack: Stack, simulator: SimulatorHandle, tmp_path: Path) -> None:
    with running_firefox(tmp_path) as firefox:
        firefox.open(stack.page_url)
        firefox.click("#main")
        firefox.wait_for("airlock.state === 'hearing' && airlock.counters.sentSamples > 24000")

        # The microphone hums for ever, so it is the silence of a muted one that ends the turn.
        firefox.click("#mute")
        firefox.wait_for("airlock.counters.receivedSamples > 0")
        firefox.wait_for("airlock.state === 'muted'")
        counters = firefox.evaluate("airlock.counters")
        assert counters["playedSamples"] == counters["receivedSamples"] == len(simulator.sent_audio())
        hum = simulator.received_audio()[12_000:24_000]
        spectrum = np.abs(np.fft.rfft(hum * np.hanning(len(hum))))
        loudest = np.argmax(spectrum) * 24_000 / len(hum)
        print(f"\nFirefox: {loudest:.0f} Hz arrives, {counters['lastAnswer']}")  # noqa: T201 - figures
        # One clean tone: nothing was lost, repeated or folded back.
        around = slice(max(0, int(np.argmax(spectrum)) - 8), int(np.argmax(spectrum)) + 9)
        assert np.sum(spectrum[around] ** 2) > 0.99 * np.sum(spectrum**2)

        # The hum again, over an answer to what was typed.
        simulator.answer_with(LONG_ANSWER)
        firefox.evaluate("airlock.say('Count for me') ?? null")
        firefox.wait_for("airlock.state === 'speaking' && airlock.counters.playedSamples > 24000")
        firefox.click("#mute")
        truncate = simulator.wait_received("conversation.item.truncate")
        interruption = firefox.evaluate("airlock.counters.lastInterruption")
        assert truncate["audio_end_ms"] == interruption["heardMilliseconds"]
        assert 0 <= interruption["playedMilliseconds"] - truncate["audio_end_ms"] < 50
        print(f"Firefox: {interruption}")  # noqa: T201 - figures

        firefox.click("#main")
        assert firefox.evaluate("airlock.state") == "ended"
        firefox.wait_for("document.getElementById('receipt').hidden === false")
        assert firefox.evaluate("document.querySelectorAll('#turns .mark').length") == 1
