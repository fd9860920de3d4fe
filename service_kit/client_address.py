"""Who is calling, by address: the peer's, unless the peer is a trusted edge that tells us better. Pure."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Networks = Sequence[IPv4Network | IPv6Network]
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")


def client_address(peer: str, forwarded_for: Sequence[str], trusted_edge: Networks) -> str:
    """The client's address in its canonical spelling.

    ``forwarded_for`` are the values of every ``X-Forwarded-For`` line, in order. They are read from the right, each
    hop vouching for the one before, and only while the hops so far are in ``trusted_edge``; an entry that is no
    address ends the reading, since whoever is beyond it said so himself.
    """
    address = _canonical(peer)
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    while hops and _is_trusted(address, trusted_edge):
        claimed = _canonical(hops.pop())
        if not claimed:
            break
        address = claimed
    return address


def address_behind_front_door(
    peer: str,
    *,
    trusted_edge: Networks,
    expected_id: str,
    ids: Sequence[str],
    socket_addresses: Sequence[str],
) -> str | None:
    """The client's address as Azure Front Door saw it; None if the request did not come through our Front Door.

    ``ids`` and ``socket_addresses`` are the values of every ``X-Azure-FDID`` and ``X-Azure-SocketIP`` line. The id is
    no secret: who knows it can send it, but not from the networks of ``trusted_edge`` (Microsoft Learn, "Secure traffic
    to Azure Front Door origins", 2026-11).
    """
    if not _is_trusted(_canonical(peer), trusted_edge) or len(ids) != 1 or len(socket_addresses) != 1:
        return None
    # aiohttp keeps header bytes that are not UTF-8 as surrogates.
    if not hmac.compare_digest(ids[0].encode(errors="surrogateescape"), expected_id.encode()):
        return None
    return _canonical(socket_addresses[0]) or None


def limited_as(address: str) -> str:
    """Whom limits count an address as: itself, or its /64 for IPv6, where one host has as many as it likes."""
    if ":" not in address:
        return address
    return str(ip_network((IPv6Address(address.partition("%")[0]), 64), strict=False))


def _canonical(text: str) -> str:
    if _IPV4.fullmatch(text):  # which has no other spelling; the library takes five times as long to say so
        return text
    try:
        parsed = ip_address(text)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def _is_trusted(address: str, trusted_edge: Networks) -> bool:
    return bool(address) and any(ip_address(address) in network for network in trusted_edge)
