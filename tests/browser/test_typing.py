"""Typing is a whole way to use the page, and the way out when the microphone cannot be had."""

import pytest

from tests.browser.conftest import Launch, OpenPage
from tests.browser.simulator import SimulatorHandle

pytestmark = pytest.mark.browser


def test_typing_needs_no_microphone(open_page: OpenPage, simulator: SimulatorHandle) -> None:
    page = open_page()
    page.page.get_by_label("Message").fill("How long does one pass last?")
    page.press("Send")
    page.wait_for("document.querySelectorAll('#turns > li.assistant:not(.interim)').length === 1")
    you, assistant = page.turns()
    assert you == "You How long does one pass last?"
    assert assistant.startswith("Assistant You said")
    assert page.watched("tracks.length") == page.watched("contexts.length") == 0
    assert simulator.received("input_audio_buffer.append") == []
    page.press("End")
    assert "The microphone was not used." in page.text("#hint")


def test_a_blocked_microphone_says_so_and_typing_goes_on(launch: Launch, open_page: OpenPage) -> None:
    page = open_page(launch(allowed=False))
    page.press("Start talking")
    page.wait_until("denied")
    assert page.text("#heading") == "The microphone is blocked."
    assert "Nothing was heard." in page.text("#hint")
    assert "Open the site settings next to the address" in page.page.get_by_role("alert").inner_text()
    assert page.counter("tokens") == 0
    page.press("Type instead")
    page.wait_until("ready")
    page.page.keyboard.type("Hello there")
    page.page.keyboard.press("Enter")
    page.wait_for("document.querySelectorAll('#turns > li.assistant:not(.interim)').length === 1")
    assert page.page.get_by_role("alert").inner_text() == ""
    page.press("End")


def test_no_microphone_at_all(launch: Launch, open_page: OpenPage) -> None:
    page = open_page(launch(device=False))
    page.press("Start talking")
    page.wait_until("no-microphone")
    assert page.text("#heading") == "No microphone found."


@pytest.mark.parametrize(
    ("error", "state"),
    [("NotReadableError", "busy-microphone"), ("AbortError", "busy-microphone"), ("SecurityError", "insecure")],
)
def test_other_failures_have_their_own_words(open_page: OpenPage, error: str, state: str) -> None:
    page = open_page()
    page.page.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', name); }; }", error
    )
    page.press("Start talking")
    page.wait_until(state)


def test_a_question_never_answered_can_be_cancelled(open_page: OpenPage) -> None:
    page = open_page()
    page.page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); }")
    page.press("Start talking")
    page.wait_until("asking")
    page.press("Cancel")
    assert page.state == "idle"
    page.wait_for("watched.contexts.every((context) => context.state === 'closed')")
