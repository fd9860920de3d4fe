"""``/.well-known/security.txt`` (RFC 9116): whom to tell of a weakness."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

PATH: Final = "/.well-known/security.txt"
_GOOD_FOR: Final = timedelta(days=180)
"""RFC 9116 wants less than a year. A deployment that still runs then says so anew."""
_CONTACT: Final = re.compile(r"mailto:[^\s@<>]+@[^\s@<>]+|https://[^\s<>]+")


def check_contact(contact: str) -> str:
    """The contact, if it is an address for mail or a page over https. Raises ValueError."""
    if not _CONTACT.fullmatch(contact):
        raise ValueError("must be an address such as mailto:security@example.com or https://example.com/security")
    return contact


def security_txt(contact: str, now: datetime) -> str:
    """The file's text. Pure."""
    expires = (now.astimezone(UTC) + _GOOD_FOR).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\n"


def add_security_txt(
    app: web.Application, contact: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> None:
    """Serve it. The date is that of the application's start, so that an abandoned deployment does not renew it."""
    text = security_txt(contact, clock())

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    app.router.add_get(PATH, show)
