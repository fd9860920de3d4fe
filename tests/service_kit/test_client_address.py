from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from service_kit.client_address import address_behind_front_door, client_address, limited_as

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


@pytest.mark.parametrize("place", range(4))
def test_an_address_is_one_where_the_library_says_so(place: int) -> None:
    odd = ["", "00", "01", "007", " 1", "1 ", "1\n", "+1", "-1", "0x1", "1e1", "\uff11", "\u0661", "1.1", "1/8"]
    for octet in (*map(str, range(1_000)), *odd):
        octets = ["1"] * 4
        octets[place] = octet
        text = ".".join(octets)
        try:
            address = str(ip_address(text))
        except ValueError:
            address = ""
        assert client_address(text, [], ()) == address


def test_nobody_is_believed_without_an_edge() -> None:
    assert client_address("10.0.0.1", ["1.2.3.4"], ()) == "10.0.0.1"


ID = "5b9b1b1e-0000-4000-8000-00000000f00d"


def behind_front_door(
    peer: str = "10.0.0.1", ids: tuple[str, ...] = (ID,), socket_addresses: tuple[str, ...] = ("203.0.113.9",)
) -> str | None:
    return address_behind_front_door(
        peer, trusted_edge=EDGE, expected_id=ID, ids=ids, socket_addresses=socket_addresses
    )


@pytest.mark.parametrize(
    ("told", "address"),
    [("203.0.113.9", "203.0.113.9"), ("2001:DB8:0::1", "2001:db8::1"), ("::ffff:1.2.3.4", "1.2.3.4")],
)
def test_front_door_tells_the_address_that_it_saw(told: str, address: str) -> None:
    assert behind_front_door(socket_addresses=(told,)) == address


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"peer": "203.0.113.9"}, id="the right id from anywhere"),
        pytest.param({"peer": ""}, id="no address"),
        pytest.param({"ids": ()}, id="no id"),
        pytest.param({"ids": ("",)}, id="empty id"),
        pytest.param({"ids": (ID[:-1],)}, id="shorter id"),
        pytest.param({"ids": (ID.replace("f00d", "f00e"),)}, id="another Front Door"),
        pytest.param({"ids": ("\udcff",)}, id="not text"),
        pytest.param({"ids": (ID, ID)}, id="twice"),
        pytest.param({"ids": ("x", ID)}, id="two ids"),
        pytest.param({"socket_addresses": ()}, id="no socket address"),
        pytest.param({"socket_addresses": ("unknown",)}, id="no address in it"),
        pytest.param({"socket_addresses": ("1.2.3.4", "203.0.113.9")}, id="two socket addresses"),
        pytest.param({"socket_addresses": ("1.2.3.4, 203.0.113.9",)}, id="a list of them"),
    ],
)
def test_what_did_not_come_through_our_front_door_has_no_address(changes: dict[str, Any]) -> None:
    assert behind_front_door(**changes) is None


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_host_s_many_ipv6_addresses_are_counted_as_one(address: str, counted: str) -> None:
    assert limited_as(address) == counted
