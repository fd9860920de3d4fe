"""How a session ends when it is not the person who ends it, and a token that is refused."""

from pathlib import Path

import pytest

from tests.browser.conftest import Launch, OpenPage
from tests.browser.microphone_page import MicrophonePage
from tests.stack import Stack

pytestmark = pytest.mark.browser


def test_the_time_limit_ends_politely_with_the_relays_receipt(launch: Launch, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    shipped = Path("profiles.toml").read_text(encoding="utf-8")
    profiles.write_text(shipped.replace("max_session_seconds = 600", "max_session_seconds = 3"), encoding="utf-8")
    with Stack(tmp_path, AIRLOCK_PROFILES=str(profiles)) as stack:
        page = MicrophonePage(launch().new_context().new_page(), stack.page_url)
        page.press("Start talking")
        page.wait_for("document.getElementById('left').textContent === '0:02 left'")
        page.wait_until("time-up")
        assert "limit of 3 seconds. Microphone off." in page.text("#hint")
        receipt = page.text("#receipt")
        assert "time limit" in receipt
        assert "0 bytes" in receipt
        assert page.watched("tracks.map((track) => track.readyState)") == ["ended"]
        assert page.complaints() == []


def test_a_refused_token_holds_the_button_back(open_page: OpenPage) -> None:
    page = open_page()
    page.page.evaluate("""() => {
        const body = JSON.stringify({ error: { message: "Too fast.", code: "rate_limited" } });
        window.fetch = async () => new Response(body, { status: 429, headers: { "Retry-After": "2" } });
    }""")
    page.page.get_by_label("Message").fill("Hello")
    page.press("Send")
    page.wait_until("busy")
    button = page.page.locator("#main")
    assert button.is_disabled()
    assert button.inner_text() == "Try again in 0:02"
    page.wait_for("!document.getElementById('main').disabled")
    assert button.inner_text() == "Try again"
    assert page.page.get_by_role("alert").inner_text() == "Try again in 2 seconds."
