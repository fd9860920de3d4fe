"""Certificates for servers that tests start."""

import ssl
from pathlib import Path

from local_cloud.certificates import ThrowAwayAuthority


def vouched_for(folder: Path) -> tuple[Path, ssl.SSLContext, ssl.SSLContext]:
    """For a server on loopback: the file of who vouches for it, what it serves with, and what trusts it."""
    authority = ThrowAwayAuthority(folder)
    return authority.ca_file, authority.server_context(), authority.client_context()
