"""A running product, browsers with the microphone a test needs, and pages that must not complain."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

from tests.browser.microphone_page import MicrophonePage
from tests.browser.scripted_relay import Scene, ScriptedRelay
from tests.browser.simulator import SimulatorHandle
from tests.browser.speech import Speech, speak
from tests.stack import Stack

CHROMIUM = "/usr/bin/chromium"

OpenPage = Callable[..., MicrophonePage]
Launch = Callable[..., Browser]


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole product with a simulated model."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def simulator(stack: Stack) -> SimulatorHandle:
    """The model's side."""
    return SimulatorHandle(stack.simulator_url)


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """The driver."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="package")
def question(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    """One sentence, then silence."""
    return speak(tmp_path_factory.mktemp("question"), "How long does one pass last, and how often can I use it?")


@pytest.fixture
def launch(playwright: Playwright) -> Iterator[Launch]:
    """Start a browser: ``microphone`` is a file to speak, ``allowed`` whether the page may listen.

    ``text_pixels`` is the size of text that the person chose in the browser's settings.
    """
    with ExitStack() as browsers:

        def start(
            microphone: Path | None = None, *, allowed: bool = True, device: bool = True, text_pixels: int = 16
        ) -> Browser:
            arguments = ["--use-fake-device-for-media-stream"] if device else []
            arguments.append(f"--blink-settings=defaultFontSize={text_pixels}")
            if allowed:
                arguments.append("--use-fake-ui-for-media-stream")
            if microphone:
                # A missing file would be silence, without a word.
                assert microphone.stat().st_size > 0
                arguments.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
            browsers.callback(browser.close)
            return browser

        yield start


@pytest.fixture(scope="package")
def talking_browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for many pages, with somebody at its microphone who does not stop talking."""
    sentences = ["How long does one pass last? And if I refresh the page?"] * 4
    speech = speak(tmp_path_factory.mktemp("talking"), *sentences, pause_seconds=0.1)
    arguments = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={speech.path}",
    ]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
    yield browser
    browser.close()


@pytest.fixture
def context(talking_browser: Browser) -> Iterator[BrowserContext]:
    """Where one scene plays; a test may prepare it."""
    context = talking_browser.new_context(viewport={"width": 1100, "height": 800}, locale="en-GB")
    yield context
    context.close()


@pytest.fixture
def scene(context: BrowserContext, stack: Stack) -> Scene:
    """The page, with a relay that says what the test wants."""
    return scene_in(context, stack)


def scene_in(context: BrowserContext, stack: Stack) -> Scene:
    """The same in any browser."""
    page = context.new_page()
    relay = ScriptedRelay(page, stack.relay_base_urls[0].replace("http", "ws", 1) + "/realtime")
    return Scene(MicrophonePage(page, stack.page_url), relay)


@pytest.fixture
def open_page(stack: Stack, launch: Launch) -> Iterator[OpenPage]:
    """Open the page; at the end of the test nothing may have been complained of."""
    pages: list[MicrophonePage] = []

    def open_one(browser: Browser | None = None, query: str = "", **options: Any) -> MicrophonePage:
        context = (browser or launch()).new_context(**options)
        pages.append(MicrophonePage(context.new_page(), f"{stack.page_url}/{query}"))
        return pages[-1]

    yield open_one
    for page in pages:
        assert page.complaints() == []
