"""Who is calling, by address: the peer's, unless the peer is a trusted edge that tells us better. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address


def client_address(peer: str, forwarded_for: Sequence[str], trusted_edge: Sequence[IPv4Network | IPv6Network]) -> str:
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


def _canonical(text: str) -> str:
    try:
        parsed = ip_address(text)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def _is_trusted(address: str, trusted_edge: Sequence[IPv4Network | IPv6Network]) -> bool:
    return bool(address) and any(ip_address(address) in network for network in trusted_edge)
