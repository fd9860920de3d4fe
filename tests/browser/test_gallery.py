"""Every screen of the page: reached by what leads to it, its words, its look by theme and width, and what axe says.

The pictures are left in ``screenshots/`` for the eye: THEME-WIDTH-SCREEN.png.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser import axe, layout
from tests.browser.conftest import Launch
from tests.browser.screens import SCREENS, VARIANTS, Screen
from tests.browser.scripted_relay import Scene
from tests.stack import Stack

pytestmark = pytest.mark.browser

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
FREEZE = Path(__file__).with_name("freeze.js")
WIDTHS = (1100, 390, 320)
THEMES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "forced_colors": "none"},
    "dark": {"color_scheme": "dark", "forced_colors": "none"},
    "forced": {"color_scheme": "dark", "forced_colors": "active"},
}
# Half-faded text has half its contrast.
FADED = "Promise.all(document.getAnimations().filter((a) => a.animationName === 'fade').map((a) => a.finished))"


@pytest.fixture
def frozen(context: BrowserContext) -> None:
    context.add_init_script(path=FREEZE)


def photograph(page: Page, name: str) -> None:
    """In every theme and width; whatever can be told by rule instead of by eye is told here."""
    for theme, media in THEMES.items():
        page.emulate_media(**media)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            page.screenshot(path=SCREENSHOTS / f"{theme}-{width}-{name}.png", full_page=True)
            assert layout.faults(page) == []
            assert axe.violations(page) == []


@pytest.mark.parametrize("screen", SCREENS + VARIANTS, ids=lambda screen: screen.name)
@pytest.mark.usefixtures("frozen")
def test_screen(scene: Scene, screen: Screen) -> None:
    page = scene.page.page
    if not screen.state:
        page.evaluate("name => freezeAt(name)", screen.name)
    screen.reach(scene)
    scene.page.wait_until(screen.state or screen.name)
    page.evaluate("() => { window.frozen = true; }")

    assert page.inner_text("h1") == screen.heading
    words = " ".join(page.inner_text("main").split())
    assert [said for said in screen.says if said not in words] == []
    assert sorted(page.locator("#stage button:visible").all_inner_texts()) == sorted(screen.buttons)
    assert page.inner_text("#word")
    assert page.locator(".dot").is_visible()
    if "End" not in screen.buttons:
        assert not page.evaluate("document.querySelector('.moving')"), "no session, no voice"

    page.evaluate(FADED)
    photograph(page, screen.name)
    refused = [complaint for complaint in scene.page.complaints() if "Failed to load resource" not in complaint]
    assert refused == []


def test_every_screen_of_the_page_is_here(scene: Scene) -> None:
    known = scene.page.page.evaluate("async () => Object.keys((await import('/copy.js')).SCREENS)")
    assert sorted(known) == sorted(screen.name for screen in SCREENS)


def test_without_javascript_the_page_says_what_it_needs(launch: Launch, stack: Stack) -> None:
    page = launch().new_context(java_script_enabled=False).new_page()
    page.goto(stack.page_url)
    assert "This page needs JavaScript" in page.inner_text("body")
    page.screenshot(path=SCREENSHOTS / "light-1100-no-javascript.png", full_page=True)
