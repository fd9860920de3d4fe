"""How the page looks and is used by those who need it otherwise: zoom, stillness, keyboard, screen reader."""

import pytest
from playwright.sync_api import Page

from tests.browser import layout
from tests.browser.conftest import Launch, OpenPage, scene_in
from tests.browser.screens import Reach, answered, ended, much_said, nobody_speaks
from tests.browser.scripted_relay import Scene, place_of
from tests.browser.simulator import SimulatorHandle
from tests.browser.speech import Speech
from tests.browser.test_interruption import LONG_ANSWER
from tests.stack import Stack

pytestmark = pytest.mark.browser


COUNT_DRAWINGS = """() => {
    window.drawn = 0;
    for (const path of document.querySelectorAll(".side path")) {
        new MutationObserver((changes) => (drawn += changes.length)).observe(path, { attributes: true });
    }
}"""
RING = "getComputedStyle(document.activeElement).outline"


@pytest.mark.parametrize("live", [False, True])
def test_reduced_motion_draws_nothing_while_nobody_speaks(scene: Scene, live: bool) -> None:
    page = scene.page.page
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    if live:
        nobody_speaks(scene)
        scene.live()
    page.evaluate(COUNT_DRAWINGS)
    page.wait_for_timeout(2000)  # what is measured is a rate
    assert page.evaluate("drawn") == 0
    assert page.evaluate("document.getAnimations().length") == 0


def focus(page: Page) -> str:
    """Where the focus is, which can be seen."""
    focused: str = page.evaluate("document.activeElement.id || document.activeElement.textContent")
    assert page.evaluate("document.activeElement !== document.body")
    assert "3px" in page.evaluate(RING), focused
    return focused


def tab_to(page: Page, name: str) -> None:
    """Press Tab until this has the focus."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if focus(page) == name:
            return
    pytest.fail(f"Tab never leads to {name}")


def test_the_keyboard_alone_is_enough_for_a_whole_conversation(
    launch: Launch, open_page: OpenPage, simulator: SimulatorHandle, question: Speech
) -> None:
    """Start, talk, stop the answer, mute, hold, type, look, copy, save, end and start again; and where the focus is."""
    microphone = open_page(launch(question.path))
    page, keyboard = microphone.page, microphone.page.keyboard
    page.context.grant_permissions(["clipboard-read", "clipboard-write", "microphone"])

    tab_to(page, "main")
    keyboard.press("Enter")
    microphone.wait_until("listening", "hearing")
    assert focus(page) == "main", "End is where Start was"

    simulator.answer_with(LONG_ANSWER)
    microphone.wait_until("speaking")
    tab_to(page, "stop")
    keyboard.press("Enter")
    microphone.wait_until("listening")
    assert focus(page) == "heading", "a second press must not end the session"

    tab_to(page, "mute")
    keyboard.press("Space")
    microphone.wait_until("muted")
    assert focus(page) == "mute"
    keyboard.press("Space")
    microphone.wait_until("listening")
    assert focus(page) == "mute"

    tab_to(page, "hold")
    keyboard.down("Space")
    microphone.wait_for("airlock.facts.holding")
    sent = microphone.counter("sentSamples")
    microphone.wait_for(f"airlock.counters.sentSamples > {sent} + 4800")
    keyboard.up("Space")
    simulator.wait_received("input_audio_buffer.commit")
    assert focus(page) == "hold"
    microphone.wait_until("speaking")
    keyboard.press("Escape")
    microphone.wait_until("hold")

    keyboard.press("Shift+Tab")
    assert focus(page) == "hands-free"
    keyboard.press("Enter")
    microphone.wait_until("listening")
    assert focus(page) == "heading"

    tab_to(page, "message")
    keyboard.type("Good day")
    keyboard.press("Enter")
    microphone.wait_for("document.querySelector('#turns').textContent.includes('Good day')")
    assert focus(page) == "message"
    microphone.wait_until("speaking")
    keyboard.press("Escape")
    microphone.wait_until("listening")

    tab_to(page, "Events")
    keyboard.press("Enter")
    tab_to(page, "event-lines")
    assert "session.created" in page.inner_text("#event-lines")

    page.evaluate("() => document.querySelector('h1').focus()")
    tab_to(page, "copy")
    keyboard.press("Enter")
    microphone.wait_for("document.getElementById('notice').textContent === 'Transcript copied.'")
    assert "You: Good day" in page.evaluate("navigator.clipboard.readText()")
    tab_to(page, "save")
    with page.expect_download() as download:
        keyboard.press("Enter")
    assert "You: Good day" in download.value.path().read_text("utf-8")

    page.evaluate("() => document.querySelector('h1').focus()")
    tab_to(page, "main")
    keyboard.press("Enter")
    assert microphone.state == "ended"
    assert focus(page) == "heading"
    tab_to(page, "main")
    keyboard.press("Enter")
    microphone.wait_until("listening", "hearing")
    keyboard.press("Enter")
    assert microphone.state == "ended"


def test_every_control_is_reached_by_tab_in_reading_order(scene: Scene) -> None:
    scene.speaking()
    scene.page.page.get_by_text("Settings").click()
    scene.page.page.get_by_text("Events", exact=True).click()
    scene.page.page.evaluate("() => document.querySelector('h1').focus()")
    order = []
    for _ in range(20):
        scene.page.page.keyboard.press("Tab")
        focused = scene.page.page.evaluate("document.activeElement.id || document.activeElement.textContent")
        if not focused or focused in order or scene.page.page.evaluate("document.activeElement === document.body"):
            break
        order.append(focused)
        ring = "getComputedStyle(document.activeElement).outlineWidth"
        assert scene.page.page.evaluate(ring) == "3px", focused
    expected = (
        "main mute hold stop microphone copy save message send Settings voice announce shortcuts Events event-lines"
    )
    assert order == expected.split()


BUSIEST = [Scene.interrupted, answered, much_said, ended]


@pytest.mark.parametrize("reach", BUSIEST, ids=lambda reach: reach.__name__)
def test_nothing_is_lost_at_twice_the_size(scene: Scene, reach: Reach) -> None:
    """A browser's zoom means fewer CSS pixels: half of 1280 at 200 %, a quarter at 400 %."""
    reach(scene)
    for width in (640, 320):
        scene.page.page.set_viewport_size({"width": width, "height": 512})
        assert layout.faults(scene.page.page) == []


@pytest.mark.parametrize("reach", BUSIEST, ids=lambda reach: reach.__name__)
def test_nothing_is_lost_with_text_of_twice_the_size(launch: Launch, stack: Stack, reach: Reach) -> None:
    scene = scene_in(launch(text_pixels=32).new_context(), stack)
    assert scene.page.page.evaluate("getComputedStyle(document.body).fontSize") == "32px"
    reach(scene)
    for width in (1280, 640, 390):
        scene.page.page.set_viewport_size({"width": width, "height": 1024})
        assert layout.faults(scene.page.page) == []


def test_reduced_motion_steps_instead_of_waving(scene: Scene) -> None:
    scene.page.page.emulate_media(reduced_motion="reduce")
    scene.speaking()
    scene.page.page.evaluate("""() => {
        window.drawn = 0;
        new MutationObserver((changes) => (drawn += changes.length))
            .observe(document.getElementById("wire-assistant"), { attributeFilter: ["d"] });
    }""")
    scene.page.page.wait_for_timeout(2000)  # what is measured is a rate
    assert 1 <= scene.page.page.evaluate("drawn") <= 9
    assert scene.page.page.evaluate("document.getElementById('wire-assistant').getAttribute('d')").count("L") == 0


def test_what_a_screen_reader_is_told(scene: Scene) -> None:
    """All of it, word for word: no ticking number, no text as it streams, no answer that was just spoken aloud."""
    page = scene.page.page
    page.evaluate("""() => {
        window.told = [];
        for (const region of document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]")) {
            const note = () => region.textContent && told.push(`${region.id}: ${region.textContent}`);
            new MutationObserver(note).observe(region, { childList: true, characterData: true, subtree: true });
        }
    }""")
    nobody_speaks(scene)
    scene.live()
    scene.relay.listen()
    scene.page.wait_until("hearing")
    scene.relay.send("input_audio_buffer.speech_stopped", item_id="item_you")
    scene.relay.told("And how often?", item="item_you")
    scene.page.wait_until("thinking")
    scene.relay.speak("Once.", 1.5)
    scene.page.wait_until("speaking")
    scene.page.press("Mute")
    scene.page.press("Unmute")
    scene.relay.finish("Once.")
    scene.page.wait_until("listening")
    scene.page.press("Mute")
    scene.page.wait_until("muted")
    scene.page.press("Unmute")
    scene.page.wait_until("listening")
    scene.relay.start(60.9)  # the number under the ring goes on and on
    scene.relay.send("airlock.session.expiring", seconds_left=60)
    scene.page.wait_for("document.getElementById('left').textContent === '0:58 left'")
    assert page.get_attribute("#turns li.assistant", "aria-busy") == "false"
    page.get_by_text("Settings").click()
    page.get_by_label("Announce each reply").check()
    scene.relay.send("response.output_text.delta", **place_of("b"), delta="It works")
    scene.relay.send("response.output_text.done", **place_of("b"), text="It works once.")
    scene.page.wait_for("told.at(-1) === 'status: It works once.'")
    scene.relay.close(4403, "session_revoked")
    scene.page.wait_until("policy")
    assert page.evaluate("told") == [
        "status: Allow the microphone. Your browser is asking now, usually near the address bar.",
        "status: Connecting. Your microphone is ready. Nothing is sent yet.",
        "status: Listening. Speak when you like.",
        "status: Hearing you.",
        "status: One moment.",
        "status: Speaking. Start talking to interrupt.",
        "status: You are muted.",
        "status: You are no longer muted.",
        "status: Assistant finished. Listening.",
        "status: Muted. Nothing is being heard. The microphone is still held by this page; End lets it go.",
        "status: Listening. Speak when you like.",
        "status: 60 seconds left.",
        "status: It works once.",
        "remedy: The operator said so.",
    ]


def test_single_keys_do_nothing_until_they_are_asked_for(scene: Scene) -> None:
    scene.live()
    page = scene.page.page
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("m")
    assert not page.evaluate("airlock.facts.muted")
    page.get_by_text("Settings").click()
    page.get_by_label("Keys: M to mute").check()
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("m")
    scene.page.wait_until("muted")
    page.keyboard.press("m")
    page.get_by_label("Message").press_sequentially("mm ")
    assert not page.evaluate("airlock.facts.muted")
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.down(" ")
    scene.page.wait_for("airlock.facts.holding")
    page.keyboard.up(" ")
    scene.page.wait_for("!airlock.facts.holding")
