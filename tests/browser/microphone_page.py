"""The page as a person meets it, and what it did meanwhile."""

import base64
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page

from tests.browser.speech import Samples

WAIT_SECONDS = 15.0
WATCH = Path(__file__).with_name("watch.js")


class MicrophonePage:
    """One open page.

    ``Page.wait_for_function`` evaluates text within the page, which its policy refuses; so waiting is polling here.
    """

    def __init__(self, page: Page, url: str, *, watch: bool = True) -> None:
        self.page = page
        self._complaints: list[str] = []
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        if watch:
            page.add_init_script(path=WATCH)
        page.goto(url)

    @property
    def state(self) -> str:
        """The screen it shows."""
        return str(self.page.evaluate("airlock.state"))

    def counter(self, name: str) -> Any:
        """One of the counters it exposes."""
        return self.page.evaluate("name => airlock.counters[name]", name)

    def press(self, name: str) -> None:
        """Press a button by its text."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def wait_for(self, expression: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until an expression in the page is true."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"never: {expression}; it is {self.state}, {self.text('main')}"
            self.page.wait_for_timeout(10)

    def wait_until(self, *states: str) -> None:
        """Wait until it shows one of these screens."""
        self.wait_for(f"{list(states)}.includes(airlock.state)")

    def wait_until_quiet(self) -> None:
        """Wait until an answer has come and was played to its end."""
        self.wait_for("airlock.counters.receivedSamples > 0")
        self.wait_for(
            "airlock.state === 'listening' && airlock.counters.playedSamples === airlock.counters.receivedSamples"
        )

    def text(self, selector: str) -> str:
        """What can be read in a part of it."""
        return self.page.inner_text(selector)

    def turns(self) -> list[str]:
        """The transcript, one line for each turn."""
        items = self.page.locator("#turns > li:visible")
        return [" ".join(text.split()) for text in items.all_inner_texts()]

    def watched(self, expression: str) -> Any:
        """Something of what ``watch.js`` saw."""
        return self.page.evaluate(f"watched.{expression}")

    def heard(self) -> Samples:
        """What went to the loudspeaker, silence included."""
        joined = """() => {
            const bytes = watched.heard.flatMap((block) => [...new Uint8Array(block.buffer)]);
            return Uint8Array.from(bytes).toBase64();
        }"""
        return np.frombuffer(base64.b64decode(self.page.evaluate(joined)), "<f4").astype(np.float64)

    def tokens(self) -> list[str]:
        """The session tokens it connected with."""
        prefix = "openai-insecure-api-key."
        offered: list[list[str]] = self.watched("protocols")
        return [item.removeprefix(prefix) for protocols in offered for item in protocols if item.startswith(prefix)]

    def complaints(self) -> list[str]:
        """Everything the browser had to say against it."""
        violations: list[str] = self.watched("violations")
        return [*self._complaints, *violations]

    def _complain(self, kind: str, text: str) -> None:
        if kind == "error":
            self._complaints.append(text)
