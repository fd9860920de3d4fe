"""Both backends tell the same: names, dimensions, numbers and traces; nothing secret, to nobody else, and in no file.

The same run of both services, refusals, alarms and failing models included, once with each backend, against a stand-in
for Application Insights. Canaries are planted in whatever a session has.
"""

import asyncio
import base64
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from local_cloud.application_insights import ApplicationInsights, Behaviour
from local_cloud.realtime import Simulator, faults
from local_cloud.redis_server import RedisServer
from service_kit.redis_client import Pseudonyms
from service_kit.telemetry.catalogue import ATTRIBUTES, EVENTS, METRICS, SPANS, MetricKind
from tests.end_to_end.clients import Json, Talk, appends, connect, mint, refused_status
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.test_nothing_leaks import encoded, found
from tests.end_to_end.traces import Traces, until
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

CALLER_KEY = "sk-canary-caller-77b1"
UPSTREAM_KEY = "sk-canary-upstream-77b1"
SIGNING_KEY = "canary-signing-key-77b1-0123456789abcdef-0123456789"
PSEUDONYM_KEY = "canary-pseudonym-key-77b1-0123456789abcdef-01234567"
INSTRUCTIONS = "canary-instructions: the attic door code is 3319"
TYPED = "canary-typed: my shoe size is large"
SUBJECT = "canary-subject@example.com"
TENANT = "canary-tenant"
REFERENCE = "canary-reference"
FROM_MODEL = f"Incorrect API key provided: {UPSTREAM_KEY}, {INSTRUCTIONS}"
AUDIO = bytes(byte % 40 for byte in random.Random(77).randbytes(2_400) for _ in range(2))
"""100 ms that no detector takes for a voice."""
CLIENTS_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENTS_SPAN = "b7ad6b7169203331"
MINT = "POST /v1/realtime/client_secrets"
OTHER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

SETTINGS = DEFAULTS | {
    "OPENAI_API_KEY": UPSTREAM_KEY,
    "TOKEN_SIGNING_KEYS": SIGNING_KEY,
    "PSEUDONYM_KEY": PSEUDONYM_KEY,
    "TELEMETRY_INTERVAL_SECONDS": "0.5",
    "CALLER_API_KEYS": json.dumps(
        [
            {
                "name": "shop",
                "sha256": sha256(CALLER_KEY.encode()).hexdigest(),
                "tenant": TENANT,
                "profiles": ["default"],
                "max_sessions_per_subject": 100,
            }
        ]
    ),
}

EXPECTED_NUMBERS = {
    ("token_service", "airlock_mints_total"): 5,
    ("token_service", "airlock_refusals_total", "invalid_request"): 1,
    ("token_service", "airlock_refusals_total", "invalid_token"): 1,
    ("relay", "airlock_refusals_total", "invalid_token"): 1,
    ("relay", "airlock_refusals_total", "token_used"): 2,
    ("relay", "airlock_redemptions_total"): 4,
    ("relay", "airlock_replays_total", "live"): 1,
    ("relay", "airlock_sessions_started_total"): 3,
    ("relay", "airlock_endings_total", "browser_closed"): 3,
    ("relay", "airlock_endings_total", "model_failed"): 1,
    ("relay", "airlock_upstream_failures_total", "auth"): 1,
    ("relay", "airlock_audio_seconds_total", "in"): 0.4,
}
EXPECTED_COUNTS = {("relay", "airlock_upstream_ready_ms"): 3, ("relay", "airlock_first_audio_ms"): 1}
EXPECTED_SPANS = {
    ("token_service", "Request", MINT, "200", True): 5,
    ("token_service", "Request", MINT, "400", False): 1,
    ("relay", "Request", "GET /v1/realtime", "101", True): 4,
    ("relay", "RemoteDependency", "redeem", "", True): 4,
    ("relay", "RemoteDependency", "upstream", "", True): 3,
    ("relay", "RemoteDependency", "upstream", "", False): 1,
    ("relay", "RemoteDependency", "session", "", True): 3,
    ("relay", "RemoteDependency", "session", "", False): 1,
}
EXPECTED_EVENTS = {
    ("relay", "redeem.replay", "live"): 1,
    ("relay", "upstream.auth_failed", None): 1,
    ("relay", "drain.start", None): 1,
    ("token_service", "drain.start", None): 1,
}


@dataclass
class Run:
    """What is left of one run.

    Attributes:
        envelopes: what arrived.
        watched: what the services did: lines of :mod:`tests.end_to_end.watched.sitecustomize`.
        folder: where HOME and TMPDIR were.
        tokens: those that were minted.
    """

    backend: str
    envelopes: list[Json] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    folder: Path = Path()
    ingestion_port: int = 0
    tokens: list[str] = field(default_factory=list)
    upgrade_headers: list[dict[str, str]] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    logs: str = ""

    def of(self, kind: str) -> Iterator[tuple[str, Json, Json]]:
        """Role, base data and tags of each envelope of one kind."""
        for envelope in self.envelopes:
            if envelope["data"]["baseType"] == f"{kind}Data":
                yield envelope["tags"]["ai.cloud.role"], envelope["data"]["baseData"], envelope["tags"]

    def points(self) -> Iterator[tuple[str, Json, Json]]:
        """Role, data point and dimensions of each number."""
        for role, data, _ in self.of("Metric"):
            (point,) = data["metrics"]
            yield role, point, data.get("properties") or {}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["opencensus", "otel"])
async def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, running_simulator: Simulator
) -> AsyncIterator[Run]:
    run = Run(request.param, folder=tmp_path_factory.mktemp("machine"))
    for name in ("home", "tmp"):
        (run.folder / name).mkdir()
    with RedisServer() as redis:
        async with ApplicationInsights() as ingestion, aiohttp.ClientSession() as http:
            run.ingestion_port = int(ingestion.url.rpartition(":")[2])
            stack = Stack(
                tmp_path_factory.mktemp("stack"),
                openai_base_url=running_simulator.base_url,
                redis=redis,
                **SETTINGS,
                TELEMETRY=run.backend,
                APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.connection_string,
                HOME=str(run.folder / "home"),
                TMPDIR=str(run.folder / "tmp"),
                PYTHONPATH=f"{Path(__file__).parent / 'watched'}:{ROOT}",
                PYTHONDONTWRITEBYTECODE="1",
                WATCHED_FILE=str(run.folder / "watched"),
            )
            # Now and then it fails, which must lose nothing and be kept nowhere.
            ingestion.behaviour = Behaviour(status=500, every=3)
            await asyncio.to_thread(stack.__enter__)
            try:
                running_simulator.faults.clear()
                with Traces(stack) as traces:
                    await happen(http, stack, traces, running_simulator, run)
                ingestion.behaviour = Behaviour()
            finally:
                await asyncio.to_thread(stack.__exit__)
            run.exit_codes = [stack.processes[name].popen.returncode for name in ("token_service", "relay-0")]
            run.logs = stack.logs()
        run.envelopes = list(ingestion.envelopes)
        run.watched = (run.folder / "watched").read_text().splitlines()
        yield run


async def happen(http: aiohttp.ClientSession, stack: Stack, traces: Traces, simulator: Simulator, run: Run) -> None:
    """Everything that is to be told."""
    # An ordinary session, with audio and text both ways, whose client has a trace.
    client = {"traceparent": f"00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01", "tracestate": "canary=1"}
    first = await fresh(http, stack, run, **client)
    first_connection = simulator.connections[-1].number + 1 if simulator.connections else 0
    async with await connect_with(http, stack, first, client) as talk:
        await talk.until("session.created")
        await talk.send(*appends(AUDIO * 4), {"type": "input_audio_buffer.commit"})
        await talk.until("conversation.item.done")
        await talk.ask(TYPED)
        await talk.send({"type": "response.create"})
        await talk.until("response.done")
        # Its token comes again while it lives.
        status, *_ = await refused_status(http, stack, first)
        assert status == 401
        await until(lambda: bool(traces.lines("redeem.replay")))
    # And once more when it is over: refused, and no alarm.
    await until(lambda: bool(traces.lines("session.end")))
    await until(lambda: bool(traces.redis.hget(record_of(traces), "ended")))
    status, *_ = await refused_status(http, stack, first)
    assert status == 401
    # Sessions without a client's trace, and with another one at the upgrade.
    for headers in ({}, {"traceparent": f"00-{OTHER_TRACE}-{CLIENTS_SPAN}-00"}):
        async with await connect_with(http, stack, await fresh(http, stack, run), headers) as talk:
            await talk.until("session.created")
    # A model that refuses our key, and says so in its own words.
    simulator.faults.add(faults.HttpStatus(status=401, message=FROM_MODEL, code="invalid_api_key"))
    async with await connect(http, stack, await fresh(http, stack, run)) as talk:
        await talk.until_closed()
    # What is refused: a token that is none, a mint with a field that is not allowed, a mint by nobody.
    await refused_status(http, stack, "ek_canary-no-token")
    url = f"{stack.mint_base_url}/realtime/client_secrets"
    for key, body in ((CALLER_KEY, {"airlock": {"profile": INSTRUCTIONS}}), (CALLER_KEY + "x", {})):
        async with http.post(url, json=body, headers={"Authorization": f"Bearer {key}"}) as answer:
            assert answer.status in (400, 401)
    run.tokens.append((await mint(http, stack)).token)
    await until(lambda: len(traces.lines("session.end")) == 4)
    run.upgrade_headers = [
        dict(connection.headers) for connection in simulator.connections if connection.number >= first_connection
    ]


def record_of(traces: Traces) -> str:
    token_id = traces.lines("session.end")[0]["token_id"]
    return f"airlock:development:token:{token_id}"


async def fresh(http: aiohttp.ClientSession, stack: Stack, run: Run, **headers: str) -> str:
    """A token of the shop's, with canaries in it."""
    body = {
        "session": {"type": "realtime", "instructions": INSTRUCTIONS},
        "airlock": {"subject": SUBJECT, "reference_id": REFERENCE, "metadata": {"canary-key": "canary-value"}},
    }
    async with http.post(
        f"{stack.mint_base_url}/realtime/client_secrets",
        json=body,
        headers={"Authorization": f"Bearer {CALLER_KEY}", **headers},
    ) as answer:
        token: str = (await answer.json())["value"]
    run.tokens.append(token)
    return token


async def connect_with(http: aiohttp.ClientSession, stack: Stack, token: str, headers: dict[str, str]) -> Talk:
    """Connect as a client that sends headers of its own."""
    url = f"{stack.relay_base_urls[0]}/realtime"
    headers = {"Authorization": f"Bearer {token}", "Origin": stack.page_url, **headers}
    return Talk(await http.ws_connect(url, headers=headers, max_msg_size=0))


def numbers(run: Run) -> Counter[tuple[str, ...]]:
    """The sum of each counter's deltas."""
    sums: Counter[tuple[str, ...]] = Counter()
    for role, point, dimensions in run.points():
        if point["name"] in METRICS and METRICS[point["name"]].kind is MetricKind.COUNTER:
            sums[(role, point["name"], *dimensions.values())] += point["value"]
    return sums


async def test_the_numbers_are_those_of_what_happened(run: Run) -> None:
    sums = numbers(run)
    assert {key: round(sums[key], 6) for key in EXPECTED_NUMBERS} == EXPECTED_NUMBERS
    told = {key for key in sums if key[1] in {name for _, name, *_ in EXPECTED_NUMBERS}}
    assert told == EXPECTED_NUMBERS.keys() | {("relay", "airlock_audio_seconds_total", "out")}
    assert sums["relay", "airlock_cost_usd_total"] > 0
    assert sums["relay", "airlock_tokens_total", "output"] > 0
    assert sums["relay", "airlock_bytes_total", "out"] > sums["relay", "airlock_bytes_total", "in"] / 10
    assert ("relay", "airlock_telemetry_dropped_total", "metrics") not in sums


async def test_a_distribution_is_told_with_its_buckets(run: Run) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    in_buckets: Counter[tuple[str, str]] = Counter()
    for role, point, dimensions in run.points():
        if point["name"].endswith("_bucket"):
            assert "up_to" in dimensions
            in_buckets[role, point["name"].removesuffix("_bucket")] += point["value"]
        elif METRICS[point["name"]].kind is MetricKind.TIMING:
            counts[role, point["name"]] += point["count"]
            assert 0 < point["max"] <= point["value"]
    assert {key: counts[key] for key in EXPECTED_COUNTS} == EXPECTED_COUNTS
    assert counts == in_buckets
    assert {name for _, name in counts} >= {"airlock_redis_ms", "airlock_event_loop_lag_ms"}


async def test_every_name_and_dimension_is_in_the_table(run: Run) -> None:
    for role, point, dimensions in run.points():
        metric = METRICS[point["name"].removesuffix("_bucket")]
        assert metric.service in ("both", role)
        assert dimensions.keys() - {"up_to"} == metric.dimensions.keys()
        assert all(dimensions[name] in values for name, values in metric.dimensions.items())
    for _, data, _ in run.of("Event"):
        assert data["name"] in EVENTS
        assert data["properties"].keys() | data["measurements"].keys() <= ATTRIBUTES
    for kind in ("Request", "RemoteDependency"):
        for _, data, _ in run.of(kind):
            assert data["name"] in SPANS
            assert data["properties"].keys() - {"_MS.links"} <= ATTRIBUTES
    kinds = {envelope["data"]["baseType"] for envelope in run.envelopes}
    assert kinds == {"MetricData", "EventData", "RequestData", "RemoteDependencyData"}


async def test_what_may_have_to_be_looked_at_is_an_event(run: Run) -> None:
    events = Counter((role, data["name"], data["properties"].get("reason")) for role, data, _ in run.of("Event"))
    assert {key: events[key] for key in EXPECTED_EVENTS} == EXPECTED_EVENTS
    ((_, data, tags),) = [event for event in run.of("Event") if event[1]["name"] == "redeem.replay"]
    assert data["properties"].keys() == {"token_id", "session_id", "request_id", "reason"}
    assert tags["ai.operation.id"] == "0" * 32


async def test_no_websocket_is_a_failed_or_an_endless_request(run: Run) -> None:
    # How a dependency says why it failed is each backend's own business.
    spans = Counter(
        (role, kind, data["name"], data["responseCode"] if kind == "Request" else "", data["success"])
        for kind in ("Request", "RemoteDependency")
        for role, data, _ in run.of(kind)
    )
    assert spans == EXPECTED_SPANS
    for _, data, _ in run.of("Request"):
        assert data["duration"] < "0.00:00:05"


async def test_one_trace_leads_from_the_mint_to_the_session_s_end(run: Run) -> None:
    spans = [
        (data["name"], tags["ai.operation.id"], tags.get("ai.operation.parentId"), data)
        for kind in ("Request", "RemoteDependency")
        for _, data, tags in run.of(kind)
    ]
    by_trace: dict[str, list[str]] = {}
    for name, trace, _, _ in spans:
        by_trace.setdefault(trace, []).append(name)
    whole = sorted(SPANS)
    # The client's own trace, from its span on; one of ours; one beside another; one that failed.
    assert sorted(by_trace[CLIENTS_TRACE]) == whole
    assert by_trace[OTHER_TRACE] == ["GET /v1/realtime"]
    assert sorted(map(tuple, map(sorted, by_trace.values()))).count(tuple(whole)) == 3
    ids = {data["id"]: name for name, _, _, data in spans}
    for name, trace, parent, _ in spans:
        if name.startswith("POST"):
            assert parent == (CLIENTS_SPAN if trace == CLIENTS_TRACE else None)
        elif name == "GET /v1/realtime":
            # The client shows its own span both times, so the upgrade is no child of the mint.
            assert parent == CLIENTS_SPAN or ids[parent].startswith("POST")
        elif name == "upstream":
            assert ids[parent] == "session"
        else:
            # Beside another trace there is no upgrade in this one.
            assert ids[parent] == next(name for name in ("GET /v1/realtime", MINT) if name in by_trace[trace])
    links = [json.loads(data["properties"]["_MS.links"]) for *_, data in spans if "_MS.links" in data["properties"]]
    ((link,),) = links
    assert (link["operation_Id"], ids[link["id"]]) == (OTHER_TRACE, "GET /v1/realtime")


async def test_the_model_sees_no_trace(run: Run) -> None:
    assert len(run.upgrade_headers) == 4
    for headers in run.upgrade_headers:
        assert not {"traceparent", "tracestate", "request-id", "baggage"} & {name.lower() for name in headers}


async def test_no_envelope_holds_a_canary(run: Run) -> None:
    text = json.dumps(run.envelopes).encode()
    never = (CALLER_KEY, UPSTREAM_KEY, SIGNING_KEY, PSEUDONYM_KEY, INSTRUCTIONS, TYPED, SUBJECT, TENANT, REFERENCE)
    assert found(encoded(*never), text) == []
    for word in ("canary", "attic door", "shoe size", "127.0.0.1", "::1", "localhost", str(ROOT)):
        assert word.encode() not in text
    assert found([AUDIO[:60], base64.b64encode(AUDIO)[:60], AUDIO[:60].hex().encode()], text) == []
    parts = [part for token in run.tokens for part in (token, token.split(".")[0][3:], token[-30:])]
    assert found([part.encode() for part in parts], text) == []
    # Not even what stands for a subject, a tenant or an address in the log.
    pseudonyms = Pseudonyms(PSEUDONYM_KEY)
    stand_ins = [pseudonyms.of(TENANT, SUBJECT), pseudonyms.of(TENANT, ""), pseudonyms.of_address("127.0.0.1")]
    assert found([name.encode() for name in stand_ins], run.logs.encode()) != []
    assert found([name.encode() for name in stand_ins], text) == []


async def test_nobody_else_is_connected_to_and_no_file_is_written(run: Run) -> None:
    redis_or_ingestion = [line for line in run.watched if line.startswith("connect")]
    assert {line for line in redis_or_ingestion if "127.0.0.1" not in line} == set()
    assert any(str(run.ingestion_port) in line for line in redis_or_ingestion)
    assert {line for line in run.watched if line.startswith("resolve")} <= {
        f"resolve {name}" for name in ("127.0.0.1", "localhost", "b'127.0.0.1'")
    }
    assert [line for line in run.watched if line.startswith("write") and "/dev/null" not in line] == []
    assert sorted(path.name for path in run.folder.rglob("*")) == ["home", "tmp", "watched"]


async def test_what_is_left_is_sent_before_the_process_ends(run: Run) -> None:
    assert run.exit_codes == [0, 0]
    assert {role for role, data, _ in run.of("Event") if data["name"] == "drain.start"} == {"relay", "token_service"}


_SEEN: dict[str, Any] = {}


async def test_both_backends_tell_the_same(run: Run) -> None:
    _SEEN[run.backend] = {
        "series": {
            (role, point["name"], *sorted(dimensions.items()))
            for role, point, dimensions in run.points()
            if not point["name"].endswith("_bucket")
        },
        "numbers": {
            key: round(number, 6)
            for key, number in numbers(run).items()
            if key[1] != "airlock_bytes_total" or key[2] == "in"
        },
        "properties": {
            (role, kind, data["name"], *sorted(data["properties"].keys() | (data.get("measurements") or {}).keys()))
            for kind in ("Event", "Request", "RemoteDependency")
            for role, data, _ in run.of(kind)
        },
    }
    if len(_SEEN) == 2:
        first, second = _SEEN.values()
        for what in first:
            assert first[what] == second[what], what
