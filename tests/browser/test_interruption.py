"""The person talks over the assistant: it falls silent, and the model learns what was heard."""

from pathlib import Path

import numpy as np
import pytest

from tests.browser.conftest import Launch, OpenPage
from tests.browser.simulator import SimulatorHandle
from tests.browser.speech import Speech, figures, speak

pytestmark = pytest.mark.browser

LONG_ANSWER = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


def test_speech_over_the_answer_cuts_it_where_it_was_heard(
    launch: Launch, open_page: OpenPage, simulator: SimulatorHandle, tmp_path: Path
) -> None:
    speech = speak(tmp_path, "Please count for me.", "Stop now, that is enough.", pause_seconds=2.5)
    simulator.answer_with(LONG_ANSWER)
    page = open_page(launch(speech.path), "?raw=1")
    page.press("Start talking")
    page.wait_until("speaking")
    page.wait_until("interrupted")
    blocks = page.watched("heard.length")
    assert page.text("#heading") == "Go ahead."

    truncate = simulator.wait_received("conversation.item.truncate")
    interruption = page.counter("lastInterruption")
    assert truncate["audio_end_ms"] == interruption["heardMilliseconds"]
    assert 0 <= interruption["playedMilliseconds"] - truncate["audio_end_ms"] < 50
    page.wait_for("document.querySelector('.mark') !== null")
    cut = next(turn for turn in page.turns() if turn.startswith("Assistant"))
    assert cut.endswith("— interrupted")
    assert "sixteen" not in cut

    # What went to the loudspeaker, by a tap that knows nothing of the page's counting.
    page.wait_for(f"watched.heard.length > {blocks}")  # the block in which it fell silent is whole
    loud = np.flatnonzero(page.heard())
    heard_milliseconds = float(loud[-1] - loud[0]) / 24
    assert abs(heard_milliseconds - interruption["playedMilliseconds"]) < 50
    figures("flush, ms", interruption["flushMilliseconds"])
    figures(
        "cut at, ms",
        truncate["audio_end_ms"],
        "; went out",
        heard_milliseconds,
        "; counted",
        interruption["playedMilliseconds"],
    )

    # The model's answers go in order, so what it says of the cut one after this is late.
    delta = simulator.sent("response.output_audio.delta")[0]
    before = page.counter("receivedSamples"), page.counter("droppedDeltas")
    simulator.emit({**delta, "event_id": "event_late"})
    page.wait_for(f"airlock.counters.droppedDeltas > {before[1]}")
    assert delta["item_id"] == truncate["item_id"]
    assert page.counter("receivedSamples") == before[0]
    page.press("End")


def test_stop_silences_the_answer(
    launch: Launch, open_page: OpenPage, simulator: SimulatorHandle, question: Speech
) -> None:
    simulator.answer_with(LONG_ANSWER)
    page = open_page(launch(question.path))
    page.press("Start talking")
    page.wait_until("speaking")
    page.page.wait_for_timeout(500)
    page.press("Stop")
    truncate = simulator.wait_received("conversation.item.truncate")
    assert truncate["audio_end_ms"] > 300
    page.wait_until("listening", "hearing")
    page.press("End")
