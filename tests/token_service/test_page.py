from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.serving import serving, talk
from tests.token_service.conftest import MakeSettings
from token_service.app import create_app
from token_service.page import read_page

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' wss://relay.example; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
CANARY = "canary-file"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "frontend"
    (folder / "audio").mkdir(parents=True)
    (folder / "index.html").write_text('<!doctype html><meta name="provider" content="{{provider}}">é')
    (folder / "main.js").write_text('export const text = "{{provider}}";')
    (folder / "style.css").write_text("body { margin: 0 }")
    (folder / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "audio" / "capture.js").write_text("export {};")
    for hidden in ("notes.md", ".env", "package.json", "main.js.map"):
        (folder / hidden).write_text(CANARY)
    (tmp_path / "outside.js").write_text(CANARY)
    (folder / "link.js").symlink_to(tmp_path / "outside.js")
    return folder


@pytest.fixture
async def page_port(folder: Path, make_settings: MakeSettings) -> AsyncIterator[int]:
    async with serving(create_app(*make_settings(serve_page=True, page_folder=folder))) as port:
        yield port


@pytest.fixture
async def page(page_port: int) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{page_port}") as session:
        yield session


async def test_the_page_runs_under_a_strict_policy_and_names_the_provider(page: aiohttp.ClientSession) -> None:
    async with page.get("/") as response:
        assert response.status == 200
        assert response.headers["Content-Security-Policy"] == POLICY
        assert "unsafe" not in POLICY
        assert response.headers["Permissions-Policy"] == (
            "microphone=(self), camera=(), geolocation=(), display-capture=()"
        )
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Server" not in response.headers
        assert await response.text() == '<!doctype html><meta name="provider" content="OpenAI">é'


@pytest.mark.parametrize(
    ("path", "mime_type"),
    [
        ("/", "text/html"),
        ("/main.js", "text/javascript"),
        ("/audio/capture.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/favicon.svg", "image/svg+xml"),
    ],
)
async def test_files_have_their_type_and_the_policy(page: aiohttp.ClientSession, path: str, mime_type: str) -> None:
    async with page.get(path) as response:
        assert response.headers["Content-Type"] == f"{mime_type}; charset=utf-8"
        assert response.headers["Content-Security-Policy"] == POLICY
    async with page.head(path) as response:
        assert response.status == 200


async def test_only_the_page_is_filled_in(page: aiohttp.ClientSession) -> None:
    async with page.get("/main.js") as response:
        assert await response.text() == 'export const text = "{{provider}}";'


async def test_an_unchanged_file_is_not_sent_again(page: aiohttp.ClientSession) -> None:
    async with page.get("/main.js") as response:
        assert response.headers["Cache-Control"] == "no-cache"
        etag = response.headers["ETag"]
    async with page.get("/main.js", headers={"If-None-Match": etag}) as response:
        assert response.status == 304
        assert await response.read() == b""
        assert response.headers["ETag"] == etag
        assert response.headers["Content-Security-Policy"] == POLICY
    async with page.get("/main.js", headers={"If-None-Match": '"other"'}) as response:
        assert response.status == 200


async def test_what_is_sent_is_compressed_for_who_takes_it(page: aiohttp.ClientSession) -> None:
    async with page.get("/main.js", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Vary"] == "Accept-Encoding"
        assert await response.text() == 'export const text = "{{provider}}";'
        zipped = response.headers["ETag"]
    async with page.get("/main.js", headers={"Accept-Encoding": "identity", "If-None-Match": zipped}) as response:
        assert response.status == 200, "the other representation is not the one it knows"
        assert "Content-Encoding" not in response.headers
    async with page.get("/main.js", headers={"Accept-Encoding": "gzip", "If-None-Match": zipped}) as response:
        assert response.status == 304


async def test_scripts_can_be_imported_by_other_sites_and_nothing_else_can_be_read(page: aiohttp.ClientSession) -> None:
    for path, allowed in (("/main.js", "*"), ("/audio/capture.js", "*"), ("/", None), ("/style.css", None)):
        async with page.get(path, headers={"Origin": "https://other.example"}) as response:
            assert response.headers.get("Access-Control-Allow-Origin") == allowed, path


def test_the_whole_page_weighs_little_on_the_wire() -> None:
    files = read_page(Path(__file__).parents[2] / "frontend", provider="OpenAI")
    assert sum(len(file.compressed) for file in files.values()) < 50_000
    assert len(files) > 20


@pytest.mark.parametrize(
    "path",
    [
        "/outside.js",
        "/link.js",
        "/../outside.js",
        "/%2e%2e/outside.js",
        "/..%2foutside.js",
        "/audio/../../outside.js",
        "/audio/..%2f..%2foutside.js",
        "/..\\outside.js",
        "//outside.js",
        "/main.js/",
        "/main.js%00",
        "/MAIN.JS",
        "/audio",
        "/audio/",
        "/notes.md",
        "/.env",
        "/package.json",
        "/main.js.map",
        "/index.html",
        "/profiles.toml",
    ],
)
async def test_nothing_else_can_be_read(page_port: int, path: str) -> None:
    answer = await talk(page_port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.0 400 "))
    assert CANARY.encode() not in answer


async def test_the_page_takes_no_posts(page: aiohttp.ClientSession) -> None:
    async with page.post("/") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"


async def test_the_page_is_served_only_if_asked_for(make_settings: MakeSettings, folder: Path) -> None:
    app = create_app(*make_settings(page_folder=folder))
    async with serving(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http, http.get("/") as answer:
        assert answer.status == 404


def test_the_provider_s_name_cannot_become_markup(folder: Path) -> None:
    files = read_page(folder, provider='"><script>alert(1)</script>')
    assert b"<script>" not in files["/"].content
    assert b"&quot;&gt;&lt;script&gt;" in files["/"].content
