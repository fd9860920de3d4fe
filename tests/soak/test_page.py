"""An hour at the page: its heap stays what it was.

What an hour brings is brought in minutes, where that is honest. The page's own clock is pushed on in steps, so all
the timers, pings and countdowns of an hour run. The model answers at once, and each answer is as long as a speaker
makes it, but is stopped once all of it is there, so that an hour of speech arrives, is decoded, queued and dropped.
Only the microphone runs at its own speed, and what it sends leaves nothing behind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM
from tests.browser.microphone_page import MicrophonePage
from tests.browser.simulator import SimulatorHandle
from tests.stack import Stack

pytestmark = pytest.mark.soak

TURNS = 190
WARM_UP = 10
STEP_MILLISECONDS = 2_000
STEPS_PER_TURN = 9
MOST_LEFT_SECONDS = 300
NOTE_ANSWERS = """() => {
    window.ponged = 0;
    window.answers = 0;
    airlock.addEventListener("event", ({ detail: { event } }) => {
        if (event.type === "airlock.pong") ponged = event.t;
        if (event.type === "response.done") answers += 1;
    });
}"""
MOST_GROWTH_BYTES = 10_000_000
MOST_NODES_PER_TURN = 14
"""The transcript grows with what is said: five nodes for a question, eight for an answer cut short."""
MOST_EVENT_LINES = 200
SPEECH_SECONDS = 3_600


@dataclass(frozen=True)
class Held:
    """What the page holds after its garbage is collected."""

    heap_bytes: int
    nodes: int
    listeners: int


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    profiles = tmp_path / "profiles.toml"
    text = Path("profiles.toml").read_text("utf-8").replace("max_session_seconds = 600", "max_session_seconds = 3600")
    for usual, enough in (("max_total_tokens = 200000", "= 100000000"), ("max_cost_usd = 2.0", "= 100000")):
        assert usual in text
        text = text.replace(usual, usual.partition("=")[0] + enough)
    profiles.write_text(text, "utf-8")
    with Stack(tmp_path, simulator_arguments=("--pace", "0", "--no-record"), AIRLOCK_PROFILES=str(profiles)) as stack:
        yield stack


def test_an_hour_s_conversation_leaves_the_page_as_small_as_it_was(stack: Stack) -> None:
    simulator = SimulatorHandle(stack.simulator_url)
    answer = " ".join(["one two three four five six seven eight nine ten"] * 12)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        )
        context = browser.new_context()
        page = MicrophonePage(context.new_page(), "about:blank", watch=False)
        page.page.clock.install()
        page.page.goto(stack.page_url)
        devtools = context.new_cdp_session(page.page)

        def held() -> Held:
            devtools.send("HeapProfiler.collectGarbage")
            counted = devtools.send("Memory.getDOMCounters")
            used = devtools.send("Runtime.getHeapUsage")["usedSize"]
            return Held(int(used), int(counted["nodes"]), int(counted["jsEventListeners"]))

        page.page.evaluate(NOTE_ANSWERS)
        page.page.get_by_text("Events", exact=True).click()  # its lines are nodes only while it is open
        page.press("Start talking")
        page.wait_for("airlock.facts.phase === 'live'")
        page.page.evaluate("airlock.hold(true)")  # so that the fake microphone is sent, and its beeps are no questions
        before = Held(0, 0, 0)
        for turn in range(TURNS):
            if turn == WARM_UP:
                before = held()
            simulator.answer_with(answer)
            page.page.evaluate("airlock.say('Count for me')")
            page.wait_for(f"answers === {turn + 1} && airlock.facts.sounding", 60)
            page.page.evaluate("airlock.stopSpeaking()")
            for _ in range(STEPS_PER_TURN):
                ponged = page.page.evaluate("ponged")
                page.page.clock.fast_forward(STEP_MILLISECONDS)
                # A clock that runs ahead of the pongs would take the connection for dead.
                page.wait_for(f"ponged > {ponged}")
        after = held()
        seconds = page.counter("receivedSamples") / 24_000
        left = page.page.evaluate("airlock.timeLeft.seconds")
        print(f"\n{before} after {WARM_UP} turns, {after} after {TURNS};")  # noqa: T201 - figures
        print(f"{seconds:.0f} s of speech received; {left:.0f} s left, {page.counter('tokens')} tokens")  # noqa: T201
        assert page.state in ("hearing", "thinking", "speaking")
        assert page.counter("sentSamples") > 24_000 * 20
        assert page.counter("tokens") == 1, "it was one session"
        assert left < MOST_LEFT_SECONDS
        assert seconds > SPEECH_SECONDS
        assert after.heap_bytes - before.heap_bytes < MOST_GROWTH_BYTES
        assert after.nodes - before.nodes < MOST_NODES_PER_TURN * (TURNS - WARM_UP)
        assert after.listeners == before.listeners
        assert page.page.locator("#event-lines li").count() <= MOST_EVENT_LINES
        assert page.page.locator("#turns > li").count() == 2 * TURNS
        assert page.counter("droppedFrames") == page.counter("overflowedSamples") == 0
        browser.close()
