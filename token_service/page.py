"""A page: its files, read once at start and served from memory under a strict policy.

Only what was read then can ever be served, so no request can name a file outside the folder.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

PROVIDER_PLACEHOLDER: Final = "{{provider}}"
_MIME_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is served."""

    content: bytes
    compressed: bytes
    mime_type: str
    etag: str


def read_page(folder: Path, *, provider: str = "") -> dict[str, PageFile]:
    """The page's files by URL path; ``index.html`` is at ``/``. Other types than the page's, and links, stay out."""
    files = {}
    for path in sorted(folder.rglob("*")):
        mime_type = _MIME_TYPES.get(path.suffix)
        if mime_type is None or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            continue
        content = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        if name == "index.html":
            name = ""
            content = content.replace(PROVIDER_PLACEHOLDER.encode(), html.escape(provider).encode())
        compressed = gzip.compress(content, mtime=0)
        files[f"/{name}"] = PageFile(content, compressed, mime_type, sha256(content).hexdigest()[:32])
    return files


def page_headers(relay_origin: str) -> dict[str, str]:
    """What the microphone page runs under (frontend reference §8)."""
    return {
        # Older Safari does not take 'self' for WebSockets, and the relay may be elsewhere.
        "Content-Security-Policy": page_policy(f"'self' {relay_origin}"),
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
    }


def page_policy(connect_to: str) -> str:
    """A Content-Security-Policy for a page of our own files that speaks to nobody but ``connect_to``."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",  # governs worklets too
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": connect_to,
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in policy.items())


def add_page(app: web.Application, files: Mapping[str, PageFile], headers: Mapping[str, str]) -> None:
    """Serve the files with these headers."""
    for path, file in files.items():
        app.router.add_get(path, partial(_answer, file, headers))


async def _answer(file: PageFile, headers: Mapping[str, str], request: web.Request) -> web.Response:
    """The page itself is never kept by a browser; its parts are, and asked about each time.

    Compressed for whoever takes it: all of it is public and the same for everybody, so its length tells nothing.
    """
    zipped = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    etag = f"{file.etag}-gzip" if zipped else file.etag
    if any(known.value == etag for known in request.if_none_match or ()):
        response = web.Response(status=304, headers=headers)
    else:
        body = file.compressed if zipped else file.content
        response = web.Response(body=body, content_type=file.mime_type, charset="utf-8", headers=headers)
        if zipped:
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    response.etag = etag
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    if file.mime_type == "text/javascript":
        # Another site may import the library: it is the same for everybody, and holds no secret.
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
    response.headers[hdrs.CACHE_CONTROL] = "no-store" if file.mime_type == "text/html" else "no-cache"
    return response
