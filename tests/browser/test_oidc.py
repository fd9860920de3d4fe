"""A page of another site whose people have accounts, in a real browser: its fetch with a credential, its WebSocket."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Launch
from tests.issuer import AUDIENCE, LocalIssuer
from tests.stack import Stack

pytestmark = pytest.mark.browser

MINT = """async ([url, token]) => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    try {
        const answer = await fetch(url, { method: "POST", headers, body: "{}" });
        return [answer.status, await answer.json()];
    } catch (error) {
        return [0, error.name];
    }
}"""
FIRST_EVENT = """([url, token]) => new Promise((resolve) => {
    const socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${token}`]);
    socket.onmessage = ({ data }) => resolve(JSON.parse(data).type);
    socket.onclose = ({ code }) => resolve(code);
})"""


@contextmanager
def running_issuer() -> Iterator[LocalIssuer]:
    """An issuer beside this test's blocking browser; its address also serves as the site: an empty page."""
    issuer = LocalIssuer()
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(issuer.start(), loop).result(10)
        yield issuer
        asyncio.run_coroutine_threadsafe(issuer.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_page_of_an_allowed_site_mints_with_its_person_s_token_and_connects(launch: Launch, tmp_path: Path) -> None:
    with running_issuer() as issuer:
        settings: dict[str, Any] = {
            "ALLOWED_ORIGINS": issuer.url,
            "CALLERS": "oidc",
            "OIDC_ISSUER": issuer.url,
            "OIDC_AUDIENCE": AUDIENCE,
        }
        with Stack(tmp_path, **settings) as stack:
            mint_url = f"{stack.mint_base_url}/realtime/client_secrets"
            context = launch().new_context()

            def page_at(address: str) -> Page:
                page = context.new_page()
                page.goto(f"{address}/page")
                return page

            def ask(page: Page, token: str) -> Any:
                return page.evaluate(MINT, [mint_url, token])

            page = page_at(issuer.url)
            status, minted = ask(page, issuer.token())
            assert status == 200, minted
            relay_url = minted["airlock"]["relay_url"]
            assert page.evaluate(FIRST_EVENT, [relay_url, minted["value"]]) == "session.created"

            # The page may read why it was refused.
            status, refused = ask(page, issuer.token(aud="another-page"))
            assert (status, refused["error"]["code"]) == (401, "invalid_token")

            # Another site gets nothing, not even with the person's token.
            assert ask(page_at(issuer.url.replace("127.0.0.1", "localhost")), issuer.token()) == [0, "TypeError"]
