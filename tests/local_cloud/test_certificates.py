"""The throw-away authority's certificates pass the strictest check there is, and fail for other names."""

import asyncio
import ssl
from pathlib import Path

import pytest

from local_cloud.certificates import ThrowAwayAuthority


async def shake_hands(serves_with: ssl.SSLContext, trusts: ssl.SSLContext, name: str) -> None:
    """Connect to a server on loopback, checking it as ``name``."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=serves_with)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusts, server_hostname=name)
        await reader.read()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_strict_verification_is_content(tmp_path: Path, name: str) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    trusts = authority.client_context()
    trusts.verify_flags |= ssl.VERIFY_X509_STRICT
    await shake_hands(authority.server_context(), trusts, name)


async def test_another_name_is_refused(tmp_path: Path) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        await shake_hands(authority.server_context("redis.example"), authority.client_context(), "127.0.0.1")
    await shake_hands(authority.server_context("redis.example"), authority.client_context(), "redis.example")


async def test_another_authority_s_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = ThrowAwayAuthority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake_hands(other.server_context(), ThrowAwayAuthority(tmp_path).client_context(), "localhost")


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    _, key = ThrowAwayAuthority(tmp_path).issue()
    assert key.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE KEY" not in (tmp_path / "ca.pem").read_bytes()
