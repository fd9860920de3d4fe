"""The operators' page for everybody: axe-core has nothing against it, in light and dark; the keyboard is enough."""

from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.conftest import Launch
from tests.browser.operators import KEY, operator_url, stack
from tests.stack import Stack

__all__ = ["operator_url", "stack"]

pytestmark = pytest.mark.browser

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDTHS = (320, 1100)


@pytest.fixture
def talking(launch: Launch, stack: Stack) -> Page:
    """Somebody in a session."""
    page = launch().new_page()
    page.goto(stack.page_url)
    message = page.get_by_role("textbox")
    message.fill("Good day")
    message.press("Enter")
    return page


def open_door(launch: Launch, url: str, scheme: Scheme = "light", width: int = 1100) -> Page:
    page = launch().new_context(color_scheme=scheme, viewport={"width": width, "height": 800}).new_page()
    page.goto(url)
    return page


def open_board(page: Page, key: str = KEY) -> None:
    page.get_by_label("Operator key").fill(key)
    page.get_by_role("button", name="Open").click()


def order(page: Page, method: str, path: str, body: object = None) -> None:
    """Give an order beside the page."""
    answer = page.request.fetch(
        f"{page.url}v1/operator/{path}", method=method, headers={"Authorization": f"Bearer {KEY}"}, data=body
    )
    assert answer.ok


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_has_nothing_against_the_door_and_a_wrong_key(
    launch: Launch, stack: Stack, operator_url: str, scheme: Scheme, width: int
) -> None:
    page = open_door(launch, operator_url, scheme, width)
    assert axe.violations(page) == []
    open_board(page, "op_wrong")
    expect(page.get_by_role("status")).to_have_text("That key is not known here.")
    assert axe.violations(page) == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_has_nothing_against_the_board_empty_full_and_without_an_answer(
    launch: Launch, stack: Stack, operator_url: str, scheme: Scheme, width: int
) -> None:
    page = open_door(launch, operator_url, scheme, width)
    order(page, "DELETE", "blocks?tenant=acme")
    open_board(page)
    expect(page.get_by_text("Nobody is talking.")).to_be_visible()
    assert axe.violations(page) == []

    talk = launch().new_page()
    talk.goto(stack.page_url)
    talk.get_by_role("textbox").fill("Good day")
    talk.get_by_role("textbox").press("Enter")
    expect(page.locator("#sessions tbody tr")).to_have_count(1)
    order(page, "PUT", "blocks?tenant=acme", {"seconds": 600})
    assert page.request.get(f"{operator_url}/nowhere").status == 404
    expect(page.get_by_role("button", name="Lift the block of tenant acme")).to_be_visible()
    expect(page.locator("#refusals")).to_contain_text("not_found", timeout=15_000)
    assert axe.violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width

    page.context.set_offline(True)
    expect(page.get_by_role("status")).to_have_text("No answer; trying again.")
    assert axe.violations(page) == []


def test_the_keyboard_alone_opens_the_board_and_ends_a_session(
    launch: Launch, stack: Stack, operator_url: str, talking: Page
) -> None:
    page = open_door(launch, operator_url)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Operator key")).to_be_focused()
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    end = page.get_by_role("button", name="End session")
    expect(end).to_have_count(1)
    for _ in range(5):
        page.keyboard.press("Tab")
        if end.evaluate("button => button === document.activeElement"):
            break
    expect(end).to_be_focused()
    for _ in range(2):  # it is drawn anew every two seconds
        before = page.locator("#sessions tbody tr td:nth-child(8)").inner_text()
        expect(page.locator("#sessions tbody tr td:nth-child(8)")).not_to_have_text(before)
        expect(end).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nobody is talking.")).to_be_visible()
    expect(page.get_by_role("heading", name="Live sessions")).to_be_focused()
    expect(talking.get_by_text("ended by an operator", exact=False).first).to_be_visible()


def test_a_focused_lift_button_stays_and_lifts(launch: Launch, stack: Stack, operator_url: str) -> None:
    page = open_door(launch, operator_url)
    for tenant in ("acme", "globex"):
        order(page, "PUT", f"blocks?tenant={tenant}", {"seconds": 600})
    open_board(page)
    lift = page.get_by_role("button", name="Lift the block of tenant acme")
    lift.focus()
    before = lift.locator("..").inner_text()
    expect(lift.locator("..")).not_to_have_text(before)
    expect(lift).to_be_focused()
    page.keyboard.press("Enter")
    expect(lift).to_have_count(0)
    expect(page.get_by_role("heading", name="Blocked now")).to_be_focused()
    expect(page.get_by_role("button", name="Lift the block of tenant globex")).to_be_visible()


def test_an_order_that_failed_is_told_and_may_be_given_again(
    launch: Launch, stack: Stack, operator_url: str, talking: Page
) -> None:
    page = open_door(launch, operator_url)
    open_board(page)
    end = page.get_by_role("button", name="End session")
    expect(end).to_have_count(1)
    page.context.set_offline(True)
    end.press("Enter")
    expect(page.get_by_role("status")).to_have_text("No answer; trying again.")
    page.context.set_offline(False)
    expect(end).to_be_focused()
    end.press("Enter")
    expect(page.get_by_text("Nobody is talking.")).to_be_visible()
