"""The conformance kit against real relays: ours, which passes every check, and one that is bad in every way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from local_cloud.conformance.catalogue import GROUPS
from local_cloud.ports import free_port
from tests.local_cloud.conformance.kit import KEY, Kit, Verdict, names
from tests.serving import serving
from tests.stack import Process, Stack

pytestmark = pytest.mark.end_to_end

PROFILES = Path(__file__).parent / "profiles.toml"
CLUMSY = names("compatibility")
"""What only a clumsy relay breaks: the others are of use to honest clients."""
PARROT = {"Why the upstream closed is told in the relay's words"}
FRAGILE = {"After broken clients the relay serves the others"}


async def test_our_relay_passes_every_check(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    stack = Stack(
        tmp_path, openai_base_url=kit.upstream, OPENAI_API_KEY=KEY, AIRLOCK_PROFILES=str(PROFILES), SERVE_PAGE="false"
    )
    await asyncio.to_thread(stack.__enter__)
    try:
        verdict = await kit.judge(
            *("--relay", f"{stack.relay_base_urls[0].replace('http', 'ws', 1)}/realtime"),
            *("--mint", f"{stack.mint_base_url}/realtime/client_secrets"),
            *("--mint-header", f"Origin: {stack.page_url}", "--origin", stack.page_url),
            *("--log", str(stack.processes["relay-0"].log_path)),
            *("--log", str(stack.processes["token_service"].log_path)),
        )
    finally:
        await asyncio.to_thread(stack.__exit__)
    assert verdict.named("fail") | verdict.named("n.a.") == set(), verdict.printed
    assert verdict.named("pass") == names()
    assert verdict.status == 0


@asynccontextmanager
async def bad_relay(folder: Path, upstream: str, *vices: str) -> AsyncIterator[tuple[str, ...]]:
    """What the kit must know of one, while it runs."""
    port, log = free_port(), folder / f"bad-{'-'.join(vices)}.log"
    process = Process(
        "tests.local_cloud.conformance.bad_relay",
        *(str(port), f"{upstream}/realtime", KEY, *vices),
        environment={},
        log_path=log,
    )
    relay, mint = f"ws://127.0.0.1:{port}/v1/realtime", f"http://127.0.0.1:{port}/mint"
    try:
        yield ("--relay", relay, "--mint", mint, "--origin", "http://localhost:8080", "--log", str(log))
    finally:
        process.popen.kill()
        process.popen.wait()


async def judged(folder: Path, group: str, *vices: str) -> Verdict:
    """What the kit says of one group of checks against a bad relay."""
    kit, own = Kit(folder), folder / f"{group}-{'-'.join(vices)}"
    own.mkdir()
    async with bad_relay(own, kit.upstream, *vices) as described:
        return await kit.judge(*described, "--only", group, "--patience", "1", "--session-seconds", "1")


async def test_every_check_fails_against_a_relay_that_breaks_its_rule(tmp_path: Path) -> None:
    vices = {"endings": ["hoarding"]}
    groups = [group for group in GROUPS if group != "compatibility"]
    verdicts = await asyncio.gather(*(judged(tmp_path, group, *vices.get(group, ())) for group in groups))
    failed = set[str]().union(*(verdict.named("fail") for verdict in verdicts))
    assert names() - failed == CLUMSY | PARROT | FRAGILE
    # Each for its own reason: the relay does hold sessions.
    assert [verdict.printed for verdict in verdicts if "no ordinary session" in verdict.printed] == []
    assert {verdict.status for verdict in verdicts} == {1}


async def test_checks_of_faults_that_exclude_those_fail_too(tmp_path: Path) -> None:
    clumsy, parrot, fragile = await asyncio.gather(
        judged(tmp_path, "compatibility", "clumsy"),
        judged(tmp_path, "endings", "parrot"),
        judged(tmp_path, "wire-hygiene", "fragile"),
    )
    assert clumsy.named("fail") == CLUMSY
    assert parrot.named("fail") >= PARROT
    assert fragile.named("fail") >= FRAGILE
    assert "no ordinary session" not in clumsy.printed + parrot.printed


async def test_a_relay_that_holds_no_session_is_not_judged(tmp_path: Path) -> None:
    address = f"ws://127.0.0.1:{free_port()}/v1/realtime"
    verdict = await Kit(tmp_path).judge("--relay", address, "--credential", "x", "--wait", "0")
    assert verdict.status == 2
    assert "nothing was judged" in verdict.printed
    assert verdict.outcomes == {}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--relay", "wss://relay.example/v1/realtime", "--credential", "x"], "relay.example is not this machine"),
        (["--relay", "ws://10.0.0.1/v1/realtime", "--credential", "x"], "10.0.0.1 is not this machine"),
        (
            ["--relay", "ws://localhost:1/", "--mint", "https://mint.example/", "--mint-header", "A: b"],
            "mint.example is not this machine",
        ),
        (["--relay", "ws://localhost:1/"], "Give --mint or --credential"),
        (["--relay", "ws://localhost:1/", "--credential", "x", "--mint", "http://localhost:1/"], "and not both"),
        (["--relay", "http://localhost:1/", "--credential", "x"], "ws:// or wss://"),
        (["--relay", "ws://localhost:1/?a=b", "--credential", "x"], "without a query"),
    ],
)
async def test_what_may_not_be_tested_is_refused_before_anything_is_asked(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    verdict = await Kit(tmp_path).judge(*arguments, "--wait", "0")
    assert verdict.status == 1
    assert complaint in verdict.printed
    assert "upstream must be" not in verdict.printed


async def test_a_mint_s_redirect_is_not_followed(tmp_path: Path) -> None:
    """It could lead to a host that nobody may test."""
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", redirect)
    async with serving(app) as port:
        address = f"127.0.0.1:{port}"
        verdict = await Kit(tmp_path).judge(
            "--relay", f"ws://{address}/v1/realtime", "--mint", f"http://{address}/mint", "--wait", "0"
        )
    assert verdict.status == 2
    assert "HTTP 307" in verdict.printed
    assert asked == ["/mint"]


async def test_a_host_that_somebody_vouches_for_may_be_tested(tmp_path: Path) -> None:
    arguments = ("--relay", "ws://relay.invalid:1/", "--credential", "x", "--wait", "0", "--yes-i-may-test-this-host")
    verdict = await Kit(tmp_path).judge(*arguments)
    assert verdict.status == 2
    assert "nobody listens at relay.invalid" in verdict.printed
