"""How the page looks and is used by those who need it otherwise: zoom, stillness, keyboard, screen reader."""

import pytest

from tests.browser.conftest import Launch, OpenPage
from tests.browser.scripted_relay import Scene
from tests.browser.speech import Speech

pytestmark = pytest.mark.browser


def test_reduced_motion_draws_nothing_while_nobody_speaks(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    count = """() => {
        window.drawn = 0;
        new MutationObserver((changes) => (drawn += changes.length))
            .observe(document.querySelector(".wire"), { subtree: true, attributes: true });
    }"""
    page.page.evaluate(count)
    page.page.wait_for_timeout(2000)
    assert page.page.evaluate("drawn") == 0
    assert page.page.evaluate("document.getAnimations().length") == 0


def test_the_keyboard_alone_is_enough(launch: Launch, open_page: OpenPage, question: Speech) -> None:
    page = open_page(launch(question.path))
    keyboard = page.page.keyboard
    keyboard.press("Tab")
    keyboard.press("Enter")
    page.wait_until("listening", "hearing")
    assert page.page.evaluate("document.activeElement.id") == "main"
    page.wait_until("speaking")
    keyboard.press("Escape")
    page.wait_until("listening")
    keyboard.press("Enter")
    assert page.state == "ended"
    assert page.page.evaluate("document.activeElement.id") == "heading"


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


@pytest.mark.parametrize(("width", "zoom"), [(640, 2), (1280, 4), (550, 2)])
def test_zoom_needs_no_sideways_scrolling(scene: Scene, width: int, zoom: int) -> None:
    """What a browser's zoom does to the layout: that many fewer CSS pixels, with fewer device pixels to each."""
    scene.interrupted()
    page = scene.page.page
    page.set_viewport_size({"width": width // zoom, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= max(width // zoom, 320)
    page.set_viewport_size({"width": width, "height": 700})
    page.evaluate("() => document.documentElement.style.setProperty('font-size', '200%')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


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
    page = scene.page.page
    page.evaluate("""() => {
        window.told = [];
        const status = document.getElementById("status");
        new MutationObserver(() => told.push(status.textContent)).observe(status, { childList: true });
    }""")
    scene.speaking()
    scene.relay.send("response.output_audio_transcript.done", item_id="item_a", transcript="Five minutes.")
    told = page.evaluate("told")
    assert "Listening. Speak when you like." in told
    assert "Speaking. Start talking to interrupt." in told
    assert not any("Five minutes" in words for words in told), "it was spoken aloud just now"
    assert not any("left" in words for words in told), "no ticking number"
    live = page.evaluate(
        "[...document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log]')].map(({id}) => id)"
    )
    assert live == ["remedy", "status"]
    assert page.get_attribute("#turns li.assistant", "aria-busy") == "false"

    page.get_by_text("Settings").click()
    page.get_by_label("Announce each reply").check()
    place = {"item_id": "item_b", "response_id": "resp_b", "output_index": 0, "content_index": 0}
    scene.relay.send("response.output_text.done", **place, text="It works once.")
    scene.page.wait_for("told.at(-1) === 'It works once.'")


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
