"""The launcher starts, watches and stops its children, here stand-ins for the services."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from redis import Redis

from local_cloud import launcher
from local_cloud.__main__ import main, port_problems, redis_problems
from local_cloud.launcher import ServiceFailed, launch, readable
from local_cloud.plan import Service
from local_cloud.ports import free_port
from local_cloud.redis_server import RedisServer

FOLDER = Path(__file__).parent


def stand_in(name: str, mode: str = "") -> Service:
    port = free_port()
    return Service(
        name=name,
        command=(sys.executable, str(FOLDER / "stand_in.py"), str(port), mode),
        ready_url=f"http://127.0.0.1:{port}/readyz",
        environment=os.environ,
    )


def interrupt() -> None:
    """Do what Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)


async def test_children_start_are_announced_and_stop_in_reverse_order() -> None:
    shown: list[str] = []
    await launch(
        [stand_in("first"), stand_in("second")],
        folder=FOLDER,
        on_ready=interrupt,
        drain_seconds=20,
        show=shown.append,
        verbose=True,
    )
    assert [line.split("|")[0].strip() for line in shown if "service.stopped" in line] == ["second", "first"]
    assert sum("service.started" in line for line in shown) == 2


async def test_child_that_cannot_start_is_shown_with_its_last_lines() -> None:
    with pytest.raises(ServiceFailed, match=r"(?s)second ended by itself \(exit code 1\).*a setting is missing"):
        await launch(
            [stand_in("first"), stand_in("second", "die")], folder=FOLDER, on_ready=interrupt, drain_seconds=20
        )


async def test_child_that_dies_later_ends_the_others() -> None:
    services = [stand_in("first"), stand_in("second")]
    shown: list[str] = []

    async def break_first() -> None:
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientError):
                await client.get(services[0].ready_url.replace("readyz", "die"))

    breaking: list[asyncio.Task[None]] = []
    with pytest.raises(ServiceFailed, match=r"(?s)first ended by itself \(exit code 3\).*going down"):
        await launch(
            services,
            folder=FOLDER,
            on_ready=lambda: breaking.append(asyncio.create_task(break_first())),
            show=shown.append,
            drain_seconds=20,
        )
    await breaking[0]
    assert any(line.startswith("second") and "service.stopped" in line for line in shown)


async def test_child_that_never_becomes_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "READY_SECONDS", 3.0)
    with pytest.raises(ServiceFailed, match=r"slow was not ready within 3 s; .* answered: 503"):
        await launch([stand_in("slow", "never-ready")], folder=FOLDER, on_ready=interrupt, drain_seconds=20)


async def test_second_interrupt_kills_a_child_that_will_not_leave() -> None:
    def show(line: str) -> None:
        if line.startswith("Stopping"):
            asyncio.get_running_loop().call_soon(interrupt)

    began = time.monotonic()
    await launch([stand_in("stubborn", "stubborn")], folder=FOLDER, on_ready=interrupt, drain_seconds=20, show=show)
    assert time.monotonic() - began < 20  # far below the drain


async def test_child_that_will_not_leave_is_killed_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "STOP_MARGIN_SECONDS", 0.2)
    await launch([stand_in("stubborn", "stubborn")], folder=FOLDER, on_ready=interrupt, drain_seconds=0)


async def test_redis_is_stopped_too() -> None:
    with RedisServer() as redis:
        await launch([stand_in("only")], servers=[redis], folder=FOLDER, on_ready=interrupt, drain_seconds=20)
        assert redis.wait() == 0


async def test_death_of_redis_ends_everything() -> None:
    with (
        RedisServer() as redis,
        Redis.from_url(redis.url) as client,
        pytest.raises(ServiceFailed, match="Redis ended by itself"),
    ):
        await launch(
            [stand_in("only")],
            servers=[redis],
            folder=FOLDER,
            on_ready=lambda: client.shutdown(nosave=True),
            drain_seconds=20,
        )


@pytest.mark.parametrize("port", ["0", "65536", "web"])
def test_what_is_no_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--page-port", port])
    assert f"--page-port: invalid port_number value: '{port}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "quiet", "verbose"),
    [
        ("Traceback (most recent call last):", "Traceback (most recent call last):", None),
        ('{"level": "info", "event": "session.started"}', None, "info session.started"),
        (
            '{"level": "warning", "event": "redis.lost", "timestamp": "now", "tries": 3, "note": "a b"}',
            'warning redis.lost tries=3 note="a b"',
            None,
        ),
        ('{"event": "bare"}', None, "info bare"),
        ("[1]", "[1]", None),
    ],
)
def test_log_lines_are_shown_readable(line: str, quiet: str | None, verbose: str | None) -> None:
    assert readable(line, verbose=False) == quiet
    assert readable(line, verbose=True) == (verbose or quiet)


def test_taken_ports_are_named_with_the_flag_that_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken, free = holder.getsockname()[1], free_port()
        assert port_problems(free, free_port()) == []
        assert f"Port {taken} cannot be used for the token service" in port_problems(taken, free)[0]
        (relay_problem,) = port_problems(free, taken)
        assert "another program listens on it" in relay_problem
        assert "--relay-port" in relay_problem
        assert "AIRLOCK_RELAY_PORT" in relay_problem


def test_a_given_redis_that_does_not_answer_is_named_without_its_password() -> None:
    (problem,) = redis_problems(f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert "REDIS_URL, at 127.0.0.1" in problem
    assert "secret" not in problem


def test_a_given_redis_that_answers_is_no_problem() -> None:
    assert redis_problems(None) == []
    with RedisServer() as server:
        assert redis_problems(server.url) == []


def test_launcher_starts_nothing_when_a_port_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert main(["--page-port", str(port), "--relay-port", str(free_port())]) == 1
    captured = capsys.readouterr()
    assert f"Port {port}" in captured.err
    assert captured.out == ""
