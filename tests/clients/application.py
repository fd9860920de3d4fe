"""Other people's clients in applications that run as their own would: processes, and a page in Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Protocol

from aiohttp import web
from playwright.async_api import Page, async_playwright

from tests.browser.conftest import CHROMIUM
from tests.clients.job import Job, Outcome

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
AGENTS_BUNDLE: Final = ROOT / "node_modules/@openai/agents-realtime/dist/bundle/openai-realtime-agents.umd.js"
SECONDS: Final = 30.0
_LONGEST_LINE: Final = 32 << 20


class Application(Protocol):
    """Holds one conversation after the other."""

    async def hold(self, job: Job) -> Outcome:
        """One of them."""


@cache
def node() -> tuple[str, ...]:
    """How Node is started, with its own WebSocket wherever it has one: from 22 on, and by a flag from 20.10 on."""
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    major = int(told.removeprefix("v").partition(".")[0])
    if major >= 22:
        return ("node",)
    if major >= 20:
        return ("node", "--experimental-websocket")
    return ("node", "--require", str(HERE / "websocket.cjs"))


def environment(ca_file: Path) -> dict[str, str]:
    """What makes Node and Python trust an authority, with nothing said in the application."""
    trust = {"NODE_EXTRA_CA_CERTS": str(ca_file), "SSL_CERT_FILE": str(ca_file)}
    # The Agents SDKs tell OpenAI what they do unless they are told not to; nothing leaves this machine.
    return {**os.environ, **trust, "OPENAI_AGENTS_DISABLE_TRACING": "1"}


class _Process:
    """A line in, a line out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def hold(self, job: Job) -> Outcome:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(job.as_json().encode() + b"\n")
        async with asyncio.timeout(SECONDS):
            line = await self._process.stdout.readline()
        assert line, "the application ended; its own words are above"
        return Outcome.from_json(json.loads(line))


@asynccontextmanager
async def process(command: tuple[str, ...], ca_file: Path) -> AsyncIterator[Application]:
    """An application that runs while the block does."""
    running = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment(ca_file),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        yield _Process(running)
    finally:
        running.kill()
        await running.communicate()


class _InPage:
    """The page of agents.html."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def hold(self, job: Job) -> Outcome:
        async with asyncio.timeout(SECONDS):
            told: dict[str, Any] = await self._page.evaluate("(job) => hold(job)", json.loads(job.as_json()))
        return Outcome.from_json(told)


@asynccontextmanager
async def chromium(url: str) -> AsyncIterator[Page]:
    """A page that does not ask who vouches for the relay's certificate."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM)
        context = await browser.new_context(ignore_https_errors=True)
        page = await context.new_page()
        await page.goto(url)
        try:
            yield page
        finally:
            await browser.close()


def agents_site() -> web.Application:
    """A site whose page is an application of the Agents SDK."""
    files = {"/": HERE / "agents.html", "/agents.mjs": HERE / "agents.mjs", "/sdk.js": AGENTS_BUNDLE}
    app = web.Application()
    for path, file in files.items():
        app.router.add_get(path, _served(file))
    return app


def _served(file: Path) -> Any:
    async def serve(_: web.Request) -> web.FileResponse:
        # Python's table of types knows .mjs on most machines only.
        return web.FileResponse(file, headers={"Content-Type": "text/javascript"} if file.suffix == ".mjs" else None)

    return serve


@asynccontextmanager
async def agents_page(site_url: str) -> AsyncIterator[Application]:
    """That page in Chromium."""
    async with chromium(site_url) as page:
        yield _InPage(page)


@dataclass(frozen=True, slots=True)
class Client:
    """A client that we run; what is installed of it is looked at only when it is.

    Attributes:
        name: as people call it.
        package: where it comes from, by PyPI's or npm's name.
        script: its application, a module of Python or a file of Node; None for the page.
    """

    name: str
    package: str
    script: str | None
    arguments: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its name in a test's."""
        return re.sub(r"[^a-z]+", "-", self.name.lower()).strip("-")

    @property
    def version(self) -> str:
        """The one that is run."""
        if self.is_python:
            return metadata.version(self.package)
        told: str = json.loads((ROOT / "node_modules" / self.package / "package.json").read_text("utf-8"))["version"]
        return told

    def application(self, ca_file: Path, site_url: str) -> AbstractAsyncContextManager[Application]:
        """Its application, running while a block does."""
        if self.script is None:
            return agents_page(site_url)
        if self.is_python:
            return process((sys.executable, "-m", self.script, *self.arguments), ca_file)
        return process((*node(), str(HERE / self.script), *self.arguments), ca_file)

    @property
    def is_python(self) -> bool:
        """Whether a Python program uses it."""
        return self.script is not None and not self.script.endswith(".mjs")

    @property
    def offers_subprotocols(self) -> bool:
        """Whether it shows its token as browsers must."""
        return self.script is None or self.arguments == ("websocket",)


CLIENTS: Final = (
    Client("openai-python, async", "openai", "tests.clients.openai_python", ("async",)),
    Client("openai-python, sync", "openai", "tests.clients.openai_python", ("sync",)),
    Client("openai-node, `ws`", "openai", "openai_node.mjs", ("ws",)),
    Client("openai-node, native WebSocket", "openai", "openai_node.mjs", ("websocket",)),
    Client("Agents SDK, Node", "@openai/agents-realtime", "agents_node.mjs"),
    Client("Agents SDK, browser", "@openai/agents-realtime", None),
    Client("Agents SDK, Python", "openai-agents", "tests.clients.openai_agents"),
)
