"""Who gets a connection, of several that listen on one port."""

import contextlib
import select
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from local_cloud.ports import free_port
from service_kit.ports import OPERATORS, PUBLIC, Port, bound
from service_kit.workers.doors import Door

HOST = "127.0.0.1"
WORKERS = (1, 2, 3)


@pytest.fixture
def number() -> int:
    return free_port()


@pytest.fixture
def clients(number: int) -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for client in opened:
        client.close()


@pytest.fixture
def open_doors() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as doors:
        yield doors


@pytest.fixture
def door(number: int, open_doors: contextlib.ExitStack) -> Door:
    return open_doors.enter_context(contextlib.closing(Door(Port(HOST, number, PUBLIC))))


def listening(door: Door) -> dict[int, socket.socket]:
    """Each worker's socket; it listens, as its worker would make it."""
    sockets = {}
    for worker in WORKERS:
        (sockets[worker],) = door.sockets_of(worker)
        sockets[worker].listen(128)
    return sockets


def connections(number: int, clients: list[socket.socket], sockets: dict[int, socket.socket]) -> Counter[int]:
    """How many of 90 connections each worker could accept."""
    clients += [socket.create_connection((HOST, number)) for _ in range(90)]
    taken: Counter[int] = Counter()
    for worker, each in sockets.items():
        while select.select([each], [], [], 0)[0]:
            clients.append(each.accept()[0])
            taken[worker] += 1
    return taken


def test_each_worker_gets_its_share(number: int, clients: list[socket.socket], door: Door) -> None:
    taken = connections(number, clients, listening(door))
    assert taken.total() == 90
    assert min(taken[worker] for worker in WORKERS) >= 10


def test_who_left_gets_none_and_the_others_get_all(number: int, clients: list[socket.socket], door: Door) -> None:
    sockets = listening(door)
    door.leave(2)
    del sockets[2]
    taken = connections(number, clients, sockets)
    assert (taken.total(), set(taken)) == (90, {1, 3})


def test_who_is_back_gets_nothing_until_it_listens(number: int, clients: list[socket.socket], door: Door) -> None:
    sockets = listening(door)
    door.leave(2)
    (sockets[2],) = door.sockets_of(2)
    del sockets[2]
    assert connections(number, clients, sockets).total() == 90


def test_a_successor_has_the_same_sockets(door: Door) -> None:
    assert door.sockets_of(1) is door.sockets_of(1)


@pytest.mark.parametrize(("variable", "spreads"), [(OPERATORS, None), (PUBLIC, False)])
def test_where_nothing_spreads_all_share_one_socket(
    number: int,
    variable: str,
    spreads: bool | None,
    clients: list[socket.socket],
    open_doors: contextlib.ExitStack,
) -> None:
    """Operators' listeners, and other systems than Linux."""
    door = open_doors.enter_context(contextlib.closing(Door(Port(HOST, number, variable), spreads=spreads)))
    sockets = listening(door)
    assert len({each.fileno() for each in sockets.values()}) == 1
    door.leave(1)
    assert connections(number, clients, sockets).total() == 90


def test_the_port_is_kept_while_nobody_listens(number: int, door: Door) -> None:
    for worker in WORKERS:
        door.sockets_of(worker)
        door.leave(worker)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, number))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, number))


def test_a_port_that_others_share_is_taken_too(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    (taken,) = bound(HOST, number, is_shared=True)
    taken.listen()
    with taken, pytest.raises(SystemExit, match="2"):
        Door(Port(HOST, number, PUBLIC))
    assert f"PORT: cannot listen on {HOST} port {number}: Address already in use" in capsys.readouterr().err


def test_any_free_port_is_one_port_for_all(open_doors: contextlib.ExitStack) -> None:
    door = open_doors.enter_context(contextlib.closing(Door(Port(HOST, 0, PUBLIC))))
    numbers = {each.getsockname()[1] for worker in WORKERS for each in door.sockets_of(worker)}
    assert len(numbers) == 1
    assert numbers != {0}


def test_all_addresses_of_a_host_are_bound(number: int) -> None:
    sockets = bound("localhost", number)
    found = {each[4][0] for each in socket.getaddrinfo("localhost", number, type=socket.SOCK_STREAM)}
    assert {each.getsockname()[0] for each in sockets} == found
    for each in sockets:
        each.close()
