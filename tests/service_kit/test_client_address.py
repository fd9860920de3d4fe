from __future__ import annotations

from ipaddress import ip_network

import pytest

from service_kit.client_address import client_address

EDGE = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        pytest.param("203.0.113.9", [], "203.0.113.9", id="direct"),
        pytest.param("203.0.113.9", ["1.2.3.4"], "203.0.113.9", id="a stranger's header is not believed"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="edge without header"),
        pytest.param("10.0.0.1", ["1.2.3.4"], "1.2.3.4", id="edge tells"),
        pytest.param("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4", id="what the client put before is not believed"),
        pytest.param("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4", id="several lines are one list"),
        pytest.param("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4", id="two hops of the edge"),
        pytest.param("10.0.0.1", ["10.9.9.9, 10.0.0.2"], "10.9.9.9", id="all of it the edge"),
        pytest.param("10.0.0.1", ["1.2.3.4, unknown"], "10.0.0.1", id="no address ends the reading"),
        pytest.param("10.0.0.1", ["1.2.3.4:5555"], "10.0.0.1", id="a port is not an address"),
        pytest.param("10.0.0.1", [""], "10.0.0.1", id="empty header"),
        pytest.param("10.0.0.1", ["1.2.3.4,"], "10.0.0.1", id="trailing comma"),
        pytest.param("10.0.0.1", ["\udcff"], "10.0.0.1", id="not text"),
        pytest.param("fd00::1", ["2001:DB8:0::1"], "2001:db8::1", id="canonical spelling"),
        pytest.param("::ffff:10.0.0.1", ["::ffff:1.2.3.4"], "1.2.3.4", id="IPv4 in IPv6"),
        pytest.param("", ["1.2.3.4"], "", id="a peer without address is nobody's edge"),
    ],
)
def test_client_address(peer: str, forwarded_for: list[str], address: str) -> None:
    assert client_address(peer, forwarded_for, EDGE) == address


def test_nobody_is_believed_without_an_edge() -> None:
    assert client_address("10.0.0.1", ["1.2.3.4"], ()) == "10.0.0.1"
