"""The certificate that a service shows where it ends TLS itself; read anew when its files change.

Who renews it (certbot, cert-manager, a mounted secret) needs no restart: a new connection gets the new certificate, and
those that exist go on. Files that do not fit, as when one of the two was not written yet, change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import structlog

LOOK_SECONDS: Final = 5.0
"""How often the files are looked at: a look costs two calls of the system."""
_Stamp = tuple[tuple[int, int, int], ...] | None


def check_pair(certificate: Path, key: Path) -> None:
    """See that a certificate (PEM, its chain after it) and a private key belong together. Raises ValueError."""
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from error
    try:
        _context(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(f"{certificate} and {key} are no certificate and its private key, in PEM form") from error


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # Tickets are all that a server says before it was asked. A client that reads in one thread and writes in another,
    # as openai-python's synchronous one does, may lose its request over them: CPython's ssl has been seen to.
    context.num_tickets = 0
    # A key with a passphrase is not asked for at a terminal that nobody sits at.
    context.load_cert_chain(certificate, key, password=lambda: b"")
    return context


class Certificate:
    """A pair of files, and what to serve with.

    Attributes:
        context: give this to the listener; each handshake takes the pair that was in force when it began.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ssl.SSLError or OSError; ``check_pair`` says more."""
        self._files = (certificate, key)
        self._stamp = self._look()
        self._current = _context(certificate, key)
        self.context = _context(certificate, key)
        self.context.sni_callback = self._show

    def _show(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def renew(self) -> bool | None:
        """Read the files if they changed: whether they fit, or None where nothing changed."""
        stamp = self._look()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            self._current = _context(*self._files)
        except (ssl.SSLError, OSError):
            return False
        return True

    @contextlib.asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Follow the files while the block runs."""
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def _follow(self) -> None:
        log: Any = structlog.get_logger()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            match await asyncio.to_thread(self.renew):
                case True:
                    log.info("certificate.renewed")
                case False:
                    log.error("certificate.invalid")

    def _look(self) -> _Stamp:
        """What changes when a file is written or replaced, behind a link too; None where one is not there."""
        try:
            states = [path.stat() for path in self._files]
        except OSError:
            return None
        return tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states)
