"""A parent and its workers as real processes: who serves, who replaces whom, and how all of it ends."""

import itertools
import json
import os
import signal
import socket
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.service_kit.workers.running import Small, eventually, is_alive, small_service

pytestmark = pytest.mark.end_to_end


def test_connections_are_spread_over_all_workers(tmp_path: Path) -> None:
    with small_service(tmp_path, 3) as small:
        answers = [json.loads(small.get("/who")[1]) for _ in range(60)]
        assert {answer["worker"] for answer in answers} == {1, 2, 3}
        assert {answer["pid"] for answer in answers} == set(small.pids().values())
        assert small.process.popen.pid not in small.pids().values()


def test_one_worker_is_one_process_without_a_parent(tmp_path: Path) -> None:
    with small_service(tmp_path, 1) as small:
        assert json.loads(small.get("/who")[1]) == {"worker": None, "pid": small.process.popen.pid}
        assert small.ready() == (200, {"status": "ok"})
        assert not small.lines("worker.start")


def test_a_killed_worker_is_replaced_and_the_others_serve_on(tmp_path: Path) -> None:
    with small_service(tmp_path, 3) as small:
        before = small.pids()
        os.kill(before[2], signal.SIGKILL)
        eventually(lambda: bool(small.lines("worker.end", worker=2, reason="signal 9", level="warning")))
        eventually(lambda: small.ready() == (200, {"status": "ok", "workers": {"ready": 3, "of": 3}}))
        after = small.pids()
        assert after == before | {2: after[2]}
        assert after[2] != before[2]
        assert len(small.lines("worker.replaced", worker=2)) == 1
        small.reach(2)


def test_what_connects_while_a_worker_is_replaced_waits_and_is_served(tmp_path: Path) -> None:
    with small_service(tmp_path, 2) as small:
        for worker in small.pids().values():
            os.kill(worker, signal.SIGKILL)
        assert [small.get("/who")[0] for _ in range(10)] == [200] * 10


def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    with small_service(tmp_path, 2, SMALL_PATIENCE=json.dumps({"silent": 3})) as small:
        before = small.pids()
        hung = small.stall()
        eventually(lambda: bool(small.lines("worker.silent", worker=hung, pid=before[hung])))
        eventually(lambda: bool(small.lines("worker.replaced", worker=hung)))
        assert small.pids()[hung] != before[hung]


def test_a_crash_loop_is_slowed_down_and_the_others_get_its_connections(tmp_path: Path) -> None:
    with small_service(tmp_path, 2, SMALL_PATIENCE=json.dumps({"longest_pause": 60, "failed_starts": 1})) as small:
        small.death.write_text("2 start")
        os.kill(small.pids()[2], signal.SIGKILL)
        eventually(lambda: len(small.lines("worker.end", worker=2)) == 3)
        killed, *failed = small.lines("worker.end", worker=2)
        assert (killed["reason"], [line["reason"] for line in failed]) == ("signal 9", ["status 7"] * 2)
        starts = [datetime.fromisoformat(line["timestamp"]) for line in small.lines("worker.start", worker=2)]
        apart = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(starts)]
        assert apart[1] >= 1  # after none, and before one of 2 s
        # Nothing listens in its place meanwhile: each connection is served, and by the other.
        answers = [json.loads(small.get("/who")[1]) for _ in range(20)]
        assert {answer["worker"] for answer in answers} == {1}
        assert small.ready() == (200, {"status": "ok", "workers": {"ready": 1, "of": 2}})
        assert small.process.popen.poll() is None  # it gives up only when nobody serves


def test_a_worker_that_dies_as_soon_as_it_listens_is_slowed_down_too(tmp_path: Path) -> None:
    with small_service(tmp_path, 2, SMALL_PATIENCE=json.dumps({"longest_pause": 60})) as small:
        small.death.write_text("2 listening")
        os.kill(small.pids()[2], signal.SIGKILL)
        eventually(lambda: len(small.lines("worker.end", worker=2)) == 3)
        lives = small.lines("worker.start", worker=2)
        assert len(lives) == 3  # the fourth waits
        small.death.unlink()
        eventually(lambda: small.ready()[1]["workers"]["ready"] == 2)


def test_who_cannot_start_says_so_once_and_with_its_status(tmp_path: Path) -> None:
    small = Small(tmp_path, 3)
    small.death.write_text("1 start\n2 start\n3 start")
    small.start()
    assert small.process.popen.wait(20) == 7
    assert small.process.log().count("cannot start, and says so") == 1
    assert len(small.lines("worker.start")) == 1
    assert len(small.lines("worker.none")) == 1


def test_when_nobody_is_left_and_nobody_can_be_started_the_parent_ends(tmp_path: Path) -> None:
    with small_service(tmp_path, 2, SMALL_PATIENCE=json.dumps({"longest_pause": 0.1, "failed_starts": 4})) as small:
        small.death.write_text("1 start\n2 start")
        for worker in small.pids().values():
            os.kill(worker, signal.SIGKILL)
        assert small.process.popen.wait(30) == 7
        assert len(small.lines("worker.end", reason="status 7")) >= 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"DRAIN_SECONDS": "soon", "PSEUDONYM_KEY": "short"}, ["DRAIN_SECONDS: ", "PSEUDONYM_KEY: "]),
        ({"WORKERS": "65"}, ["WORKERS: "]),
    ],
)
def test_wrong_settings_are_told_once_and_nobody_is_started(
    tmp_path: Path, settings: dict[str, str], said: list[str]
) -> None:
    small = Small(tmp_path, 3, **settings)
    small.start()
    assert small.process.popen.wait(20) == 2
    assert small.process.log().count("Cannot start. Please correct:") == 1
    assert [small.process.log().count(each) for each in said] == [1] * len(said)
    assert not small.lines("worker.start")


@pytest.mark.parametrize("variable", ["PORT", "OPERATOR_PORT"])
def test_a_port_in_use_is_told_as_by_a_single_process(tmp_path: Path, variable: str) -> None:
    logs = {}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for workers in (1, 3):
            (folder := tmp_path / str(workers)).mkdir()
            small = Small(folder, workers, **{variable: port})
            small.start()
            assert small.process.popen.wait(20) == 2
            logs[workers] = small.process.log()
    assert logs[3] == logs[1]
    assert f"{variable}: cannot listen on 127.0.0.1 port {port}: Address already in use" in logs[1]


def test_another_service_cannot_join_the_port(tmp_path: Path) -> None:
    with small_service(tmp_path, 2) as small:
        (folder := tmp_path / "other").mkdir()
        other = Small(folder, 2, PORT=str(small.port))
        other.start()
        assert other.process.popen.wait(20) == 2
        assert "PORT: cannot listen" in other.process.log()


def test_without_secrets_yet_all_say_so_and_production_tells_once_what_it_checked(tmp_path: Path) -> None:
    nowhere = {
        "KEY_VAULT_URL": "https://127.0.0.1:1",
        "IDENTITY_ENDPOINT": "http://127.0.0.1:1",
        "IDENTITY_HEADER": "x",
    }
    none = dict.fromkeys(("OPERATOR_KEYS", "PSEUDONYM_KEY", "REDIS_URL", "TOKEN_SIGNING_KEYS"), "")
    small = Small(tmp_path, 2, AIRLOCK_ENV="production", ALLOWED_ORIGINS="https://example.com", **nowhere, **none)
    small.start()
    try:
        eventually(lambda: len(small.lines("listening", port=small.port)) == 2)
        unready = {"status": "unavailable", "failing": ["secrets"], "workers": {"ready": 0, "of": 2}}
        assert [small.ready() for _ in range(10)] == [(503, unready)] * 10
        assert small.get("/healthz")[0] == 200
        assert small.process.log().count("Production mode. Checked:") == 1
    finally:
        assert small.process.stop() == 0


# --- The drain ---


def test_a_stop_drains_all_workers_at_the_same_time_and_ends_with_0(tmp_path: Path) -> None:
    with small_service(tmp_path, 3) as small:
        began = time.monotonic()
        small.process.terminate()
        eventually(lambda: small.ready()[0] == 503, 1)
        for _ in range(20):  # whoever is asked
            assert small.ready() == (503, {"status": "unavailable", "failing": ["draining"]})
        assert small.process.popen.wait(20) == 0
        assert time.monotonic() - began >= 1
        assert sorted(line["worker"] for line in small.lines("worker.end", reason="status 0", level="info")) == [
            1,
            2,
            3,
        ]
        assert [len(small.lines("drain.start", worker=number)) for number in (1, 2, 3)] == [1, 1, 1]
        assert not any(map(is_alive, small.pids().values()))


def test_a_second_stop_ends_at_once(tmp_path: Path) -> None:
    with small_service(tmp_path, 2, DRAIN_SECONDS="60") as small:
        small.process.terminate()
        eventually(lambda: len(small.lines("drain.start")) == 3)
        assert small.process.popen.poll() is None
        small.process.popen.send_signal(signal.SIGINT)
        assert small.process.popen.wait(15) == 0


def test_signals_to_each_process_of_the_service_are_one_order_to_stop(tmp_path: Path) -> None:
    """As service managers send them, and a terminal's Ctrl-C."""
    with small_service(tmp_path, 2) as small:
        began = time.monotonic()
        for pid in (*small.pids().values(), small.process.popen.pid):
            os.kill(pid, signal.SIGTERM)
        assert small.process.popen.wait(20) == 0
        assert time.monotonic() - began >= 1  # it drained
        assert not small.lines("worker.replaced")


def test_a_worker_leaves_its_signals_to_the_parent(tmp_path: Path) -> None:
    with small_service(tmp_path, 2) as small:
        pids = small.pids()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(pids[1], number)
        small.reach(1)
        assert small.pids() == pids
        assert small.ready()[0] == 200


def test_a_worker_that_does_not_end_is_killed_and_told(tmp_path: Path) -> None:
    with small_service(tmp_path, 2, SMALL_PATIENCE=json.dumps({"beyond_drain": 0.5})) as small:
        small.stall()
        small.process.terminate()
        assert small.process.popen.wait(20) == 1
        assert len(small.lines("worker.end", reason="signal 9", level="warning")) == 1
        assert not any(map(is_alive, small.pids().values()))


def test_a_stop_while_workers_start_leaves_nobody(tmp_path: Path) -> None:
    small = Small(tmp_path, 3)
    small.start()
    eventually(lambda: bool(small.lines("worker.start")))
    small.process.terminate()
    assert small.process.popen.wait(20) == 0
    assert not any(map(is_alive, small.pids().values()))


@pytest.mark.parametrize("hangs", [False, True])
def test_a_killed_parent_leaves_nobody_behind(tmp_path: Path, *, hangs: bool) -> None:
    with small_service(tmp_path, 3, DRAIN_SECONDS="60") as small:
        if hangs:
            small.stall()
        small.process.popen.kill()
        eventually(lambda: not any(map(is_alive, small.pids().values())), 20)
        assert len(small.lines("parent.gone")) == 3 - hangs
        # They ended in order, at once.
        assert len(small.lines("drain.end")) == 3 - hangs


# --- One answer for all ---


def test_it_is_ready_as_long_as_one_worker_is(tmp_path: Path) -> None:
    with small_service(tmp_path, 2) as small:
        small.reach(1, "unready")
        answer = (200, {"status": "ok", "workers": {"ready": 1, "of": 2}})
        eventually(lambda: all(small.ready() == answer for _ in range(20)))  # whoever is asked
        small.reach(2, "unready")
        unready = {"status": "unavailable", "failing": ["wellness"], "workers": {"ready": 0, "of": 2}}
        eventually(lambda: all(small.ready() == (503, unready) for _ in range(20)))
        assert small.get("/healthz")[0] == 200


def test_a_worker_that_starts_makes_nobody_unready(tmp_path: Path) -> None:
    with small_service(tmp_path, 2) as small:
        os.kill(small.pids()[2], signal.SIGKILL)
        while not small.lines("worker.replaced"):
            assert small.ready()[0] != 503


def test_numbers_are_those_of_all_and_never_go_back(tmp_path: Path) -> None:
    with small_service(tmp_path, 2) as small:
        for number in (1, 2):
            small.reach(number, "count")
            small.reach(number, f"live?sessions={10 * number}")
        counted = eventually_told(small, "airlock_sessions_started_total", at_least=2)
        eventually(lambda: small.metrics()["airlock_live_sessions"] == 30)
        os.kill(small.pids()[2], signal.SIGKILL)
        eventually(lambda: small.metrics()["airlock_workers_replaced_total"] == 1)
        eventually(lambda: small.metrics()["airlock_live_sessions"] == 10)  # those of the dead are gone
        after = small.metrics()
        assert after["airlock_sessions_started_total"] == counted
        assert after["airlock_upstream_ready_ms_count"] == counted
        small.reach(2, "count")
        eventually_told(small, "airlock_sessions_started_total", at_least=counted + 1)


def eventually_told(small: Small, name: str, *, at_least: float) -> float:
    """What a counter is, once it is so much."""
    eventually(lambda: small.metrics()[name] >= at_least)
    return small.metrics()[name]


def test_each_line_names_its_worker(tmp_path: Path) -> None:
    with small_service(tmp_path, 2) as small:
        assert sorted(line["worker"] for line in small.lines("listening", port=small.port)) == [1, 2]
        assert sorted(line["worker"] for line in small.lines("listening", port=small.operator_port)) == [1, 2]
