"""``airlock.js`` as another site uses it: the example of docs/library.md, served from another Origin."""

import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Page, expect

from local_cloud.ports import free_port
from tests.browser.conftest import Launch
from tests.browser.simulator import SimulatorHandle
from tests.browser.speech import Speech
from tests.stack import Stack

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, site_url: str) -> Iterator[Stack]:
    """A deployment that lets this one site in."""
    with Stack(tmp_path_factory.mktemp("library"), ALLOWED_ORIGINS=site_url) as running:
        yield running


@pytest.fixture(scope="module")
def site(stack: Stack, site_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example, word for word, on a server of its own."""
    example = re.search(r"```html\n(.*?)```", (ROOT / "docs/library.md").read_text("utf-8"), re.DOTALL)
    assert example
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(example[1].replace("AIRLOCK", stack.page_url), "utf-8")
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", int(site_url.rsplit(":", 1)[1])), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield site_url
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page(launch: Launch, site: str, question: Speech) -> Page:
    page = launch(question.path).new_page()
    page.goto(site)
    return page


def test_the_example_talks_from_another_origin(page: Page, simulator: SimulatorHandle, question: Speech) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.get_by_role("button", name="Talk").click()
    expect(page.locator("#turns li")).to_have_count(2, timeout=20_000)
    you, assistant = page.locator("#turns li").all_inner_texts()
    assert you.startswith("you: (")
    assert assistant.startswith("assistant: I heard")
    page.get_by_role("button", name="End").click()
    expect(page.locator("#state")).to_have_text("ended")
    for event in ("in session.created", "in airlock.session.started", "out input_audio_buffer.append"):
        assert event in said


def test_typing_tools_and_raw_events_go_through_it(page: Page, simulator: SimulatorHandle, stack: Stack) -> None:
    typed = page.evaluate(
        """async (address) => {
            const { Airlock } = await import(`${address}/airlock.js`);
            const airlock = new Airlock({ headers: async () => ({}) });
            const done = new Promise((resolve) => airlock.addEventListener("turn", ({ detail }) => {
                if (detail.who === "assistant" && detail.final) resolve(detail.text);
            }));
            const before = airlock.send({ type: "input_audio_buffer.clear" });
            airlock.start({ text: true });
            airlock.say("Good day to you");
            const answer = await done;
            const during = airlock.send({ type: "input_audio_buffer.clear" });
            const left = airlock.timeLeft;
            const transcript = airlock.transcript;
            airlock.end();
            return { before, answer, during, left, transcript, state: airlock.state, after: airlock.timeLeft };
        }""",
        stack.page_url,
    )
    assert typed["answer"] == 'You said: "Good day to you"'
    assert typed["transcript"] == 'You: Good day to you\nAssistant: You said: "Good day to you"'
    assert (typed["before"], typed["during"], typed["state"], typed["after"]) == (False, True, "ended", None)
    assert 590 < typed["left"]["seconds"] <= 600
    assert simulator.received("input_audio_buffer.clear")


def test_another_site_that_is_not_allowed_gets_no_token(page: Page, stack: Stack, site: str) -> None:
    page.goto(site.replace("127.0.0.1", "localhost"))
    page.get_by_role("button", name="Talk").click()
    expect(page.locator("#state")).to_have_text("unreachable")


def test_no_property_and_no_event_has_the_token(page: Page) -> None:
    page.evaluate("""() => {
        window.offered = [];
        window.WebSocket = class extends WebSocket {
            constructor(url, protocols) { super(url, protocols); offered.push(...protocols); }
        };
    }""")
    seen = page.evaluate(
        """async () => {
            const { Airlock } = await import(document.scripts[0].textContent.match(/from "(.*?)"/)[1]);
            const airlock = new Airlock();
            const seen = [];
            for (const type of ["state", "turn", "event", "notice", "about", "microphone"]) {
                airlock.addEventListener(type, ({ detail }) => seen.push(JSON.stringify(detail)));
            }
            const started = new Promise((resolve) => airlock.addEventListener("about", resolve));
            airlock.start({ text: true });
            await started;
            await new Promise((resolve) => airlock.addEventListener("state", resolve));
            const own = Object.values(airlock).map((value) => JSON.stringify(value));
            airlock.end();
            return [...seen, ...own].join();
        }"""
    )
    (token,) = [item for item in page.evaluate("offered") if item.startswith("openai-insecure-api-key.")]
    assert token.removeprefix("openai-insecure-api-key.").startswith("ek_")
    assert token.removeprefix("openai-insecure-api-key.") not in seen
    assert "session.created" in seen or "connected" in seen or "live" in seen
