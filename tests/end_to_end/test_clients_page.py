"""The examples of docs/clients.md, each as it stands."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from local_cloud.realtime import Simulator
from tests.clients.application import AGENTS_BUNDLE, ROOT, SECONDS, chromium, environment, node
from tests.end_to_end.clients import SHOP_KEY, mint, with_a_shop
from tests.end_to_end.secured import Secured, serving_tls
from tests.serving import serving

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs/clients.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
SAID = "I read your two words."


def examples(*languages: str) -> list[tuple[str, str]]:
    return [(language, text) for language, text in EXAMPLES if language in languages]


class Site:
    """Somebody's site, with one of the examples as its page and a backend that mints."""

    url: str
    page: str
    secured: Secured

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._show)
        app.router.add_get("/openai-realtime-agents.umd.js", self._bundle)
        app.router.add_post("/session-token", self._mint)
        return app

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(text=self.page, content_type="text/html")

    async def _bundle(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(AGENTS_BUNDLE)

    async def _mint(self, _: web.Request) -> web.Response:
        return web.json_response((await mint(self.secured.http, self.secured.stack, api_key=SHOP_KEY)).body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    tmp_path_factory: pytest.TempPathFactory, running_simulator: Simulator, websocket_library: str
) -> AsyncIterator[Site]:
    site = Site()
    async with serving(site.app()) as port:
        site.url = f"http://127.0.0.1:{port}"
        settings = with_a_shop("default") | {"ALLOWED_ORIGINS": site.url}
        folder = tmp_path_factory.mktemp("clients_page")
        async with serving_tls(folder, running_simulator, websocket_library, **settings) as site.secured:
            yield site


@pytest.mark.parametrize(("language", "text"), examples("python", "js"))
async def test_a_program_says_what_it_heard(site: Site, tmp_path: Path, language: str, text: str) -> None:
    program = tmp_path / ("example.py" if language == "python" else "example.mjs")
    program.write_text(text, "utf-8")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    running = await asyncio.create_subprocess_exec(
        *((sys.executable,) if language == "python" else node()),
        str(program),
        env={
            **environment(site.secured.authority.ca_file),
            "AIRLOCK_MINT_URL": site.secured.stack.mint_base_url,
            "AIRLOCK_RELAY_URL": site.secured.stack.relay_base_urls[0],
            "AIRLOCK_API_KEY": SHOP_KEY,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            said, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
    assert said.decode().splitlines() == [SAID]
    assert running.returncode == 0


@pytest.mark.parametrize("text", [text for _, text in examples("html")])
async def test_a_page_shows_what_it_heard(site: Site, text: str) -> None:
    site.page = text
    async with chromium(site.url) as page:
        await page.get_by_text(SAID, exact=True).wait_for(timeout=SECONDS * 1_000)


async def test_every_example_is_run() -> None:
    assert [language for language, _ in EXAMPLES if language not in ("python", "js", "html")] == []
    assert len(EXAMPLES) == 8
