"""What can be told of the page's layout by rule, so that no eye has to find it."""

from pathlib import Path

from playwright.sync_api import Page

_MISPLACED_WORDS = Path(__file__).with_name("misplaced_words.js").read_text("utf-8")
_SMALL_TARGETS = """() => [...document.querySelectorAll("button, select, input:not([type]), summary, label")]
    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 44)
    .map((node) => `small: ${node.id || node.textContent}`)"""


def faults(page: Page) -> list[str]:
    """Sideways scrolling, targets too small for a finger, words out of sight or on other words."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    small: list[str] = page.evaluate(_SMALL_TARGETS)
    misplaced: list[str] = page.evaluate(_MISPLACED_WORDS)
    return [*([f"{wide} px to scroll sideways"] if wide > 0 else []), *small, *misplaced]
