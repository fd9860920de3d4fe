"""The operators' page in a real browser: a key opens it, it keeps itself up to date, and it ends a session."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Launch
from tests.browser.operators import KEY, operator_url, stack
from tests.stack import Stack

__all__ = ["operator_url", "stack"]

pytestmark = pytest.mark.browser


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def page(launch: Launch, stack: Stack, operator_url: str, complaints: list[str]) -> Page:
    page = launch().new_page()
    page.on("console", lambda message: complaints.extend([message.text] if message.type == "error" else []))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(operator_url)
    return page


def open_board(page: Page, key: str = KEY) -> None:
    page.get_by_label("Operator key").fill(key)
    page.get_by_role("button", name="Open").click()


def test_a_session_is_seen_and_ended(
    page: Page, launch: Launch, stack: Stack, complaints: list[str], tmp_path: Path
) -> None:
    open_board(page)
    expect(page.get_by_text("Nobody is talking.")).to_be_visible()
    talk = launch().new_page()
    talk.goto(stack.page_url)
    message = talk.get_by_role("textbox")
    message.fill("Good day")
    message.press("Enter")
    row = page.locator("#sessions tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("anonymous")
    expect(page.locator("#live")).to_have_text("1")
    expect(page.locator("#bars-started")).to_have_attribute("aria-label", "1 in the last hour", timeout=15_000)
    page.screenshot(path=tmp_path / "operators.png", full_page=True)
    row.get_by_role("button").click()
    expect(page.get_by_text("Nobody is talking.")).to_be_visible()
    expect(talk.get_by_text("ended by an operator", exact=False).first).to_be_visible()
    expect(page.locator("#endings")).to_contain_text("revoked", timeout=15_000)
    assert not complaints


def test_a_wrong_key_opens_nothing(page: Page) -> None:
    open_board(page, "op_wrong")
    expect(page.get_by_role("status")).to_have_text("That key is not known here.")
    expect(page.locator("#board")).to_be_hidden()


def test_the_key_is_nowhere_but_in_memory(page: Page, complaints: list[str]) -> None:
    open_board(page)
    expect(page.locator("#board")).to_be_visible()
    assert KEY not in page.content()
    assert page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])") == '[{},{},""]'
    page.reload()
    expect(page.get_by_label("Operator key")).to_be_visible()
    expect(page.locator("#board")).to_be_hidden()
    assert not complaints
