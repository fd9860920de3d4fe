"""Two upstreams: whichever greets first has the session, and the browser sees nothing of the other's refusal.

The first is Azure's: its key in ``api-key``, and deployments. It is reached as 0.0.0.0, which is no loopback address,
so that it is not called a simulator like the second.
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.realtime import Behaviour, Simulator, faults
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import (
    CARRIAGES,
    MODEL,
    Carriage,
    Json,
    Talk,
    connect,
    handshake,
    mint,
    refused_events,
    talking,
)
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

AZURE_KEY, OPENAI_KEY = "azure-key-1", "sk-second"
DEPLOYMENT = "voice-sweden"
BUSY, BUSY_LONGER = (faults.HttpStatus(status=429, retry_after=seconds) for seconds in (3, 7))
SAYS_BUSY = faults.RejectAfterUpgrade(code="rate_limit_exceeded", type="requests", close_code=1013)
GONE = faults.HttpStatus(status=503)
REFUSALS: dict[str, faults.HandshakeFault] = {
    "busy": BUSY,
    "500": faults.HttpStatus(status=500),
    "503": GONE,
    "no such deployment": faults.HttpStatus(status=404),
    "drops": faults.DropHandshake(),
    "says that it is busy": SAYS_BUSY,
    "says no after the upgrade": faults.RejectAfterUpgrade(code="server_error", type="server_error", close_code=1011),
    "garbage": faults.NoGreeting(text='{"type": "session.crea'),
    "an error and silence": faults.NoGreeting(text='{"type": "error"}'),
    "closes without a word": faults.NoGreeting(then="close"),
    "vanishes without a word": faults.NoGreeting(then="abort"),
}
WRONG_KEYS: dict[str, faults.HandshakeFault] = {
    "401": faults.HttpStatus(status=401),
    "403": faults.HttpStatus(status=403),
    "after the upgrade": faults.RejectAfterUpgrade(),
}
SILENCES: dict[str, faults.HandshakeFault] = {
    "no answer": faults.StallHandshake(),
    "no greeting": faults.NoGreeting(),
    "something else": faults.NoGreeting(text='{"type": "session.novelty", "event_id": "event_1"}'),
}


def profiles_toml(first: Simulator, second: Simulator) -> str:
    return f"""
[profiles.default]
model = "{MODEL}"
callers = ["anonymous"]

[profiles.mini]
model = "{MODEL}-mini"
callers = ["anonymous"]

[profiles.written]
model = "{MODEL}"
callers = ["anonymous"]
open_fields = ["audio.input.transcription"]

[profiles.written.session.audio.input.transcription]
model = "gpt-4o-mini-transcribe"
language = "sv"

[[upstreams]]
name = "first"
kind = "azure"
base_url = "{first.origin.replace("127.0.0.1", "0.0.0.0")}/openai/v1"
auth = "secret:sweden-key"
models = {{ "{MODEL}" = "{DEPLOYMENT}", "gpt-4o-mini-transcribe" = "scribe", "gpt-transcribe" = "scribe" }}

[[upstreams]]
name = "second"
kind = "openai"
base_url = "{second.base_url}"
auth = "secret:openai-api-key"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_simulators() -> AsyncIterator[tuple[Simulator, Simulator]]:
    async with (
        Simulator(Behaviour(pace=None, api_key=AZURE_KEY)) as first,
        Simulator(Behaviour(pace=None, api_key=OPENAI_KEY)) as second,
    ):
        yield first, second


@pytest.fixture
def simulators(running_simulators: tuple[Simulator, Simulator]) -> tuple[Simulator, Simulator]:
    """Both, with nothing planned and nothing remembered from the test before."""
    for simulator in running_simulators:
        simulator.faults.clear()
        simulator.connections.clear()
    return running_simulators


@pytest.fixture
def first(simulators: tuple[Simulator, Simulator]) -> Simulator:
    return simulators[0]


@pytest.fixture
def second(simulators: tuple[Simulator, Simulator]) -> Simulator:
    return simulators[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    running_simulators: tuple[Simulator, Simulator], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    profiles = folder / "profiles.toml"
    profiles.write_text(profiles_toml(*running_simulators))
    settings = {**DEFAULTS, "AIRLOCK_PROFILES": str(profiles), "OPENAI_API_KEY": OPENAI_KEY, "SWEDEN_KEY": AZURE_KEY}
    with RedisServer() as redis:
        # The address is that of nobody: upstreams of the profiles file take its place.
        stack = Stack(folder, openai_base_url="http://127.0.0.1:1/v1", redis=redis, **settings)
        await asyncio.to_thread(stack.__enter__)
        try:
            yield stack
        finally:
            await asyncio.to_thread(stack.__exit__)


async def converse(
    http: aiohttp.ClientSession, stack: Stack, traces: Traces, carriage: Carriage = "subprotocol"
) -> tuple[str, Json, float]:
    """Hold a session as though nothing were wrong: the token's id, the receipt, and how long the greeting took."""
    minted = await mint(http, stack)
    started_at = asyncio.get_running_loop().time()
    async with await connect(http, stack, minted, carriage) as talk:
        created = await talk.next(15)
        waited = asyncio.get_running_loop().time() - started_at
        assert created["type"] == "session.created"
        assert await talk.ask() == 'You said: "Good day"'
    assert "error" not in [event["type"] for event in talk.seen]
    receipt = await traces.session_end(minted.token_id)
    assert len(traces.lines("redeem.ok", token_id=minted.token_id)) == 1
    assert traces.token(minted.token_id)["state"] == "spent"
    assert "gave_back" not in traces.token(minted.token_id)
    return minted.token_id, receipt, waited


async def be_refused(http: aiohttp.ClientSession, stack: Stack, traces: Traces) -> tuple[Json, float]:
    """Meet a relay that finds no model: the error, and how long it took; the token comes back."""
    minted = await mint(http, stack)
    started_at = asyncio.get_running_loop().time()
    close_code, error = await refused_events(http, stack, minted)
    waited = asyncio.get_running_loop().time() - started_at
    assert close_code == {"upstream_unavailable": 1011, "upstream_busy": 1013}[error["code"]]
    receipt = await traces.session_end(minted.token_id)
    assert (receipt["ending"], receipt["code"], receipt["provider"]) == ("model_failed", error["code"], None)
    assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}
    return error, waited


async def test_the_first_serves_while_it_can(
    stack: Stack, first: Simulator, second: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    token_id, receipt, _ = await converse(http, stack, traces)
    (dialled,) = first.connections
    assert (dialled.path, dialled.query) == ("/openai/v1/realtime", {"model": DEPLOYMENT})
    assert dialled.headers["api-key"] == AZURE_KEY
    assert "Authorization" not in dialled.headers
    assert not second.connections
    assert (receipt["provider"], receipt["model"]) == ("Azure OpenAI", MODEL)
    (started,) = traces.lines("session.start", token_id=token_id)
    assert started["provider"] == "Azure OpenAI"


async def test_people_are_told_of_every_provider_and_then_of_the_one_in_use(
    stack: Stack, first: Simulator, http: aiohttp.ClientSession
) -> None:
    for fault, provider in ((None, "Azure OpenAI"), (GONE, "simulator")):
        if fault:
            first.faults.add(fault)
        async with talking(http, stack, speaks_airlock=True) as (talk, minted):
            assert minted.body["airlock"]["provider"] == "Azure OpenAI, simulator"
            assert (await talk.until("airlock.session.started"))["provider"] == provider


@pytest.mark.parametrize("carriage", CARRIAGES)
@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS.keys())
async def test_when_the_first_refuses_the_second_serves_and_the_browser_sees_nothing_of_it(
    stack: Stack,
    first: Simulator,
    second: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    fault: faults.HandshakeFault,
    carriage: Carriage,
) -> None:
    first.faults.add(fault)
    token_id, receipt, waited = await converse(http, stack, traces, carriage)
    assert waited < 2.5  # at once; the rest is for a slow machine
    assert receipt["provider"] == "simulator"
    assert (len(first.connections), len(second.connections)) == (1, 1)
    dialled = second.connections[0]
    assert (dialled.path, dialled.query) == ("/v1/realtime", {"model": MODEL})
    assert dialled.headers["Authorization"] == f"Bearer {OPENAI_KEY}"
    assert "api-key" not in dialled.headers
    (line,) = traces.lines("upstream.failed", token_id=token_id)
    assert (line["level"], line["upstream"], line["provider"]) == ("warning", "first", "Azure OpenAI")
    await first.connections[0].wait_ended()


@pytest.mark.parametrize("fault", WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
async def test_a_key_that_is_not_accepted_raises_an_alert_and_the_second_serves(
    stack: Stack,
    first: Simulator,
    second: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    fault: faults.HandshakeFault,
) -> None:
    first.faults.add(fault)
    token_id, receipt, _ = await converse(http, stack, traces)
    assert receipt["provider"] == "simulator"
    assert (len(first.connections), len(second.connections)) == (1, 1)
    (line,) = traces.lines("upstream.auth_failed", token_id=token_id)
    assert (line["level"], line["upstream"]) == ("error", "first")
    assert AZURE_KEY not in stack.logs()


@pytest.mark.parametrize("fault", SILENCES.values(), ids=SILENCES.keys())
async def test_a_silent_first_has_three_seconds(
    stack: Stack,
    first: Simulator,
    second: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    fault: faults.HandshakeFault,
) -> None:
    first.faults.add(fault)
    _, receipt, waited = await converse(http, stack, traces)
    assert 2.9 < waited < 8
    assert receipt["provider"] == "simulator"
    assert (len(first.connections), len(second.connections)) == (1, 1)


async def test_all_dials_together_have_ten_seconds(
    stack: Stack, first: Simulator, second: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    async def meet(fault: faults.HandshakeFault) -> None:
        error, waited = await be_refused(http, stack, traces)
        assert error["code"] == "upstream_unavailable"
        assert 9.9 < waited < 14

    for fault in SILENCES.values():
        first.faults.add(fault)
        second.faults.add(fault)
    await asyncio.gather(*map(meet, SILENCES.values()))
    assert (len(first.connections), len(second.connections)) == (3, 3)


@pytest.mark.parametrize(
    ("at_first", "at_second", "code", "retry_after"),
    [
        pytest.param(GONE, faults.DropHandshake(), "upstream_unavailable", None, id="both gone"),
        pytest.param(GONE, BUSY_LONGER, "upstream_busy", 7, id="the last busy"),
        pytest.param(BUSY, GONE, "upstream_unavailable", None, id="the first busy"),
        pytest.param(BUSY, BUSY_LONGER, "upstream_busy", 3, id="both busy"),
        pytest.param(BUSY_LONGER, BUSY, "upstream_busy", 3, id="both busy, the last shorter"),
        pytest.param(GONE, SAYS_BUSY, "upstream_busy", 5, id="the last busy, after the upgrade"),
        pytest.param(SAYS_BUSY, BUSY, "upstream_busy", 3, id="both busy, the first after the upgrade"),
        pytest.param(GONE, faults.RejectAfterUpgrade(), "upstream_unavailable", None, id="a wrong key"),
        pytest.param(GONE, REFUSALS["garbage"], "upstream_unavailable", None, id="garbage"),
    ],
)
async def test_when_both_refuse_the_client_is_told_once_and_the_token_goes_back(
    stack: Stack,
    first: Simulator,
    second: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    at_first: faults.HandshakeFault,
    at_second: faults.HandshakeFault,
    code: str,
    retry_after: int | None,
) -> None:
    first.faults.add(at_first)
    second.faults.add(at_second)
    error, waited = await be_refused(http, stack, traces)
    assert (error["code"], error.get("retry_after")) == (code, retry_after)
    assert waited < 2.5
    assert (len(first.connections), len(second.connections)) == (1, 1)


async def test_a_redirect_is_a_refusal_and_is_not_followed(
    stack: Stack, first: Simulator, second: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    first.faults.add(faults.HttpStatus(status=307, location=f"{second.base_url}/realtime?model=elsewhere"))
    await converse(http, stack, traces)
    (dialled,) = second.connections
    assert dialled.query == {"model": MODEL}
    assert "api-key" not in dialled.headers


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.RefuseSessionUpdate(), id="error"),
        pytest.param(faults.AlterSessionUpdated(changes={"max_output_tokens": "inf"}), id="other values"),
        pytest.param(faults.Interject(after="session.created", then="close", close_code=1011), id="closes"),
    ],
)
async def test_once_the_first_has_greeted_the_second_is_not_tried(
    stack: Stack,
    first: Simulator,
    second: Simulator,
    traces: Traces,
    http: aiohttp.ClientSession,
    fault: faults.SessionFault,
) -> None:
    first.faults.add(fault)
    minted = await mint(http, stack)
    code, error = await refused_events(http, stack, minted)
    assert (code, error["code"]) == (1011, "upstream_unavailable")
    assert (await traces.session_end(minted.token_id))["provider"] == "Azure OpenAI"
    assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}
    assert (len(first.connections), len(second.connections)) == (1, 0)


async def test_an_upstream_without_the_model_is_not_dialled(
    stack: Stack, first: Simulator, second: Simulator, http: aiohttp.ClientSession
) -> None:
    async with talking(http, stack, airlock={"profile": "mini"}):
        assert [dialled.query for dialled in second.connections] == [{"model": f"{MODEL}-mini"}]
    assert not first.connections


async def test_a_browser_that_leaves_during_the_first_dial_costs_no_second(
    stack: Stack, first: Simulator, second: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    first.faults.add(faults.NoGreeting())
    minted = await mint(http, stack)
    talk = await connect(http, stack, minted)
    await until(lambda: bool(first.connections))
    talk.abort()
    assert (await traces.session_end(minted.token_id, 2))["ending"] == "browser_vanished"
    await first.connections[0].wait_ended()
    assert traces.token(minted.token_id) == {"state": "minted", "gave_back": "1"}
    assert not second.connections


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_nothing_of_the_client_s_request_reaches_either_upstream(
    stack: Stack, first: Simulator, second: Simulator, http: aiohttp.ClientSession, carriage: Carriage
) -> None:
    canary = "canary-of-the-client"
    first.faults.add(GONE)
    minted = await mint(http, stack)
    headers, protocols = handshake(minted.token, carriage, origin=stack.page_url)
    headers |= {"X-Canary": canary, "Cookie": f"c={canary}", "OpenAI-Organization": canary, "User-Agent": canary}
    url = f"{stack.relay_base_urls[0]}/realtime?model={MODEL}&canary={canary}"
    async with Talk(await http.ws_connect(url, headers=headers, protocols=protocols)) as talk:
        await talk.until("session.created")
    ours = {"host", "upgrade", "connection", "sec-websocket-version", "sec-websocket-key", "user-agent",
            "openai-safety-identifier"}  # fmt: skip
    optional = {"accept", "accept-encoding", "sec-websocket-extensions"}  # the library's own
    for simulator, key in ((first, "api-key"), (second, "authorization")):
        (dialled,) = simulator.connections
        assert {name.lower() for name in dialled.headers} - optional == ours | {key}
        assert canary not in str(dict(dialled.headers)) + str(dialled.query)
        assert minted.token not in str(dict(dialled.headers))
        assert not dialled.protocols


@pytest.mark.parametrize("carriage", CARRIAGES)
async def test_a_transcription_model_is_a_deployment_where_there_is_one_and_the_browser_sees_the_model(
    stack: Stack, first: Simulator, second: Simulator, http: aiohttp.ClientSession, carriage: Carriage
) -> None:
    for upstream, names in (
        (first, ["scribe", "scribe", "whisper-1"]),
        (second, ["gpt-4o-mini-transcribe", "gpt-transcribe", "whisper-1"]),
    ):
        if upstream is second:
            first.faults.add(GONE)
        minted = await mint(http, stack, airlock={"profile": "written"})
        async with await connect(http, stack, minted, carriage) as talk:
            seen = [await talk.until("session.created")]
            for model in ("gpt-transcribe", "whisper-1"):
                session = {"type": "realtime", "audio": {"input": {"transcription": {"model": model}}}}
                await talk.send({"type": "session.update", "session": session})
                seen.append(await talk.until("session.updated"))
            shown = [event["session"]["audio"]["input"]["transcription"]["model"] for event in seen]
            assert shown == ["gpt-4o-mini-transcribe", "gpt-transcribe", "whisper-1"]
            (dialled,) = upstream.connections
            asked = [
                event["session"]["audio"]["input"]["transcription"]
                for event in dialled.received.of_type("session.update")
            ]
            assert [each["model"] for each in asked] == names
            assert asked[0]["language"] == "sv"


async def test_the_lock_is_confirmed_whether_the_upstream_names_the_deployment_or_the_model(
    stack: Stack, first: Simulator, traces: Traces, http: aiohttp.ClientSession
) -> None:
    for name, is_confirmed in (("scribe", True), ("gpt-4o-mini-transcribe", True), ("gpt-transcribe", False)):
        transcription = {"model": name, "language": "sv"}
        first.faults.add(faults.AlterSessionUpdated(changes={"audio": {"input": {"transcription": transcription}}}))
        minted = await mint(http, stack, airlock={"profile": "written"})
        if is_confirmed:
            async with await connect(http, stack, minted) as talk:
                created = await talk.until("session.created")
                assert created["session"]["audio"]["input"]["transcription"]["model"] == "gpt-4o-mini-transcribe"
        else:
            assert (await refused_events(http, stack, minted))[1]["code"] == "upstream_unavailable"
            assert (await traces.session_end(minted.token_id))["ending"] == "not_locked"
