"""Pictures for the eye, and what can be measured of them: nothing scrolls sideways, nothing moves needlessly."""

from pathlib import Path
from typing import Literal

import pytest

from tests.browser.conftest import Launch, OpenPage
from tests.browser.speech import Speech

pytestmark = pytest.mark.browser

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1100])
def test_screens_fit(
    launch: Launch, open_page: OpenPage, question: Speech, scheme: Literal["light", "dark"], width: int
) -> None:
    page = open_page(launch(question.path), color_scheme=scheme, viewport={"width": width, "height": 800})
    for state in ("idle", "hearing", "speaking", "ended"):
        if state == "hearing":
            page.press("Start talking")
        if state == "ended":
            page.press("End")
        page.wait_until(state)
        page.page.wait_for_timeout(300)
        page.page.screenshot(path=SCREENSHOTS / f"{scheme}-{width}-{state}.png", full_page=True)
        assert page.page.evaluate("document.documentElement.scrollWidth") == width


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
