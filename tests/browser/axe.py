"""axe-core, run within a page: every rule of WCAG 2.0 to 2.2 A and AA, and the best practices."""

from pathlib import Path

from playwright.sync_api import Page

_SOURCE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
_RUN = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`));
}"""


def violations(page: Page) -> list[str]:
    """What axe-core has against the page as it is now; nothing is added to it, so its policy stays as it is."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_SOURCE.read_text("utf-8"))
    found: list[str] = page.evaluate(_RUN)
    return found
