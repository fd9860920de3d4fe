"""Operators at work on the whole product: the command line, the list, and what the counts say afterwards."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys

import aiohttp
import pytest

from local_cloud.ports import free_port
from tests.end_to_end.clients import Minted, connect, mint, refused_events, talking
from tests.end_to_end.traces import Traces, until
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

RELAYS = 2
KEY = "op_a-key-for-this-test"
PORT = free_port()
SETTINGS = {
    "OPERATOR_PORT": str(PORT),
    "OPERATOR_KEYS": json.dumps([{"name": "ops", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]),
}


async def operators(*arguments: str, key: str = KEY, url: str = f"http://127.0.0.1:{PORT}") -> tuple[int, str, str]:
    """Run the command line: exit status, output, errors."""
    environment = {"PATH": os.environ["PATH"], "OPERATOR_KEY": key, "OPERATOR_URL": url}
    command = [sys.executable, "-m", "token_service.operators", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


async def listed(*arguments: str) -> list[list[str]]:
    status, output, errors = await operators("sessions", *arguments)
    assert status == 0, errors
    head, *rows = output.splitlines()
    assert head.split()[:3] == ["id", "tenant", "subject"]
    return [row.split() for row in rows]


def session_id(traces: Traces, minted: Minted, relay: int) -> str:
    (line,) = traces.lines("redeem.ok", f"relay-{relay}", token_id=minted.token_id)
    return str(line["session_id"])


async def test_a_session_is_listed_ended_and_gone(stack: Stack, traces: Traces, http: aiohttp.ClientSession) -> None:
    minted = [await mint(http, stack) for _ in range(RELAYS)]
    async with (
        await connect(http, stack, minted[0], relay=0) as first,
        await connect(http, stack, minted[1], relay=1) as second,
    ):
        for talk in (first, second):
            await talk.until("session.created")
        ids = [session_id(traces, each, relay) for relay, each in enumerate(minted)]
        rows = await listed("--tenant", "anonymous")
        assert [row[0] for row in rows] == ids
        assert {row[1] for row in rows} == {"anonymous"}
        assert await listed("--tenant", "acme") == []

        status, output, _ = await operators("end", "--session", ids[1])
        assert (status, output.splitlines()) == (0, ["ordered; live until now:", ids[1]])
        assert (await second.until_closed(2))[0] == 4403
        assert [row[0] for row in await listed()] == [ids[0]]
        assert await first.ask()

        status, output, _ = await operators("end", "--subject", rows[0][2])
        assert ids[0] in output
        assert (await first.until_closed(2))[0] == 4403
    assert await listed() == []
    acts = traces.lines("admin.end", "token_service", operator="ops")
    assert [(act["kind"], act["id"]) for act in acts] == [("session", ids[1]), ("subject", rows[0][2])]


async def test_a_token_is_revoked_by_its_public_id(stack: Stack, http: aiohttp.ClientSession) -> None:
    minted = await mint(http, stack)
    assert (await operators("revoke", minted.token_id))[:2] == (0, "revoked")
    assert (await refused_events(http, stack, minted))[1]["code"] == "token_revoked"


async def test_a_block_keeps_a_tenant_out_until_it_is_lifted(stack: Stack, http: aiohttp.ClientSession) -> None:
    status, output, _ = await operators("block", "--tenant", "anonymous", "--seconds", "60")
    assert (status, output.startswith("tenant ")) == (0, True)
    headers = {"Origin": stack.page_url}
    async with http.post(f"{stack.mint_base_url}/realtime/client_secrets", json={}, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "blocked")
    assert "(anonymous) until " in (await operators("blocks"))[1]
    assert (await operators("unblock", "--tenant", "anonymous"))[1] == "lifted"
    assert (await operators("blocks"))[1] == "nobody is blocked"
    async with talking(http, stack) as (talk, _):
        assert await talk.ask()


async def test_a_name_cannot_write_on_the_terminal(stack: Stack) -> None:
    name = "\x1b]0;owned\x07\x1b[2J\r\n\u202eacme"
    assert (await operators("block", "--tenant", name, "--seconds", "60"))[0] == 0
    _, output, _ = await operators("blocks")
    assert "(\ufffd]0;owned\ufffd\ufffd[2J\ufffd\ufffd\ufffdacme) until " in output
    assert (await operators("unblock", "--tenant", name))[1] == "lifted"


async def test_the_counts_of_all_processes_come_together(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack) as (_, minted):
        await refused_events(http, stack, minted, relay=1)
    await traces.session_end(minted.token_id)

    async def sums() -> dict[str, int]:
        url, headers = f"http://127.0.0.1:{PORT}/v1/operator/summary", {"Authorization": f"Bearer {KEY}"}
        async with http.get(url, headers=headers) as answer:
            total: dict[str, int] = {}
            for minute in (await answer.json())["minutes"]:
                for name, count in minute["counts"].items():
                    total[name] = total.get(name, 0) + count
            return total

    async with asyncio.timeout(10):
        expected = {"minted", "started", "refused:token_used", "ended:browser_closed"}
        while not expected <= (await sums()).keys():  # noqa: ASYNC110 - processes add their counts every few seconds
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("arguments", "how", "says"),
    [
        (["sessions"], {"key": "op_wrong"}, "invalid_token"),
        (["sessions"], {"key": ""}, "OPERATOR_KEY"),
        (["end"], {}, "Name a subject or a tenant"),
        (["block", "--tenant", "acme", "--seconds", "0"], {}, "invalid_request"),
        (["end", "--tenant", "acme", "--subject", ""], {}, "subject: name one"),
        (["end", "--tenant", "acme", "--session", ""], {}, "not both"),
        (["end", "--session", ""], {}, "not_found"),
        (["sessions"], {"url": f"http://127.0.0.1:{free_port()}"}, "no answer"),
    ],
)
async def test_the_command_line_says_why_it_could_not(
    stack: Stack, arguments: list[str], how: dict[str, str], says: str
) -> None:
    status, output, errors = await operators(*arguments, **how)
    assert (status, output) == (1, "")
    assert says in errors
    assert KEY not in errors


async def test_a_new_key_is_made_and_fits_its_entry() -> None:
    status, output, _ = await operators("new-key", "--name", "night shift", key="")
    assert status == 0
    key, entry = (line.split(":", 1)[1].strip() for line in output.splitlines())
    assert json.loads(entry) == {"name": "night shift", "sha256": hashlib.sha256(key.encode()).hexdigest()}


async def test_operator_and_public_listener_are_apart(stack: Stack, http: aiohttp.ClientSession) -> None:
    for url, status in [
        (f"{stack.page_url}/v1/operator/sessions", 404),
        (f"http://127.0.0.1:{PORT}/v1/realtime/client_secrets", 404),
        (f"http://127.0.0.1:{PORT}/", 200),
    ]:
        async with http.get(url, headers={"Authorization": f"Bearer {KEY}"}) as answer:
            assert answer.status == status, url


async def test_a_relay_that_dies_takes_its_sessions_off_the_list(
    stack: Stack, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async with await connect(http, stack, await mint(http, stack), relay=1) as talk:
        await talk.until("session.created")
        assert len(await listed()) == 1
        stack.processes["relay-1"].popen.kill()
        await until(lambda: not traces.redis.keys("airlock:development:live:sess_*"), 31)
    assert await listed() == []
