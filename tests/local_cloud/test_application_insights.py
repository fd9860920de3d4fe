"""The stand-in for Application Insights answers as the service does, fails when told to, and shows what arrived."""

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from local_cloud.application_insights import INSTRUMENTATION_KEY, ApplicationInsights, Behaviour, in_a_line
from tests.stack import ROOT

Json = dict[str, Any]


def envelope(name: str = "an.event", **changes: Any) -> Json:
    return {
        "name": "Microsoft.ApplicationInsights.Event",
        "time": "2026-11-22T09:00:00Z",
        "iKey": INSTRUMENTATION_KEY,
        "tags": {"ai.cloud.role": "relay"},
        "data": {"baseType": "EventData", "baseData": {"name": name, "properties": {"reason": "<b>live</b>"}}},
    } | changes


@pytest.fixture
async def ingestion() -> AsyncIterator[ApplicationInsights]:
    async with ApplicationInsights() as ingestion:
        yield ingestion


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def post(
    http: aiohttp.ClientSession, ingestion: ApplicationInsights, body: bytes, path: str = "/v2.1/track", **headers: str
) -> tuple[int, Json]:
    async with http.post(f"{ingestion.url}{path}", data=body, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("path", ["/v2/track", "/v2.1/track"])
@pytest.mark.parametrize("is_gzip", [False, True])
@pytest.mark.parametrize("is_array", [False, True])
async def test_it_takes_what_exporters_post(
    ingestion: ApplicationInsights, http: aiohttp.ClientSession, path: str, is_gzip: bool, is_array: bool
) -> None:
    sent = [envelope("one"), envelope("two")]
    body = json.dumps(sent).encode() if is_array else b"\n".join(json.dumps(each).encode() for each in sent)
    headers = {"Content-Encoding": "gzip"} if is_gzip else {}
    status, answer = await post(http, ingestion, gzip.compress(body) if is_gzip else body, path, **headers)
    assert (status, answer) == (200, {"itemsReceived": 2, "itemsAccepted": 2, "errors": []})
    assert list(ingestion.envelopes) == sent


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"nonsense"])
async def test_what_is_no_envelope_is_refused(
    ingestion: ApplicationInsights, http: aiohttp.ClientSession, body: bytes
) -> None:
    status, answer = await post(http, ingestion, body)
    assert status == (200 if not body else 400)
    assert answer["itemsAccepted"] == 0
    assert (await post(http, ingestion, b"no gzip", **{"Content-Encoding": "gzip"}))[0] == 400
    assert not ingestion.envelopes


async def test_a_bad_envelope_among_good_ones_is_named(
    ingestion: ApplicationInsights, http: aiohttp.ClientSession
) -> None:
    status, answer = await post(http, ingestion, json.dumps([envelope(), envelope(iKey="canary")]).encode())
    assert (status, answer["itemsAccepted"]) == (206, 1)
    assert [(error["index"], error["statusCode"]) for error in answer["errors"]] == [(1, 400)]


@pytest.mark.parametrize("status", [402, 429, 439, 500])
async def test_it_fails_when_told_to_every_so_often(
    ingestion: ApplicationInsights, http: aiohttp.ClientSession, status: int
) -> None:
    async with http.patch(f"{ingestion.url}/_ingestion/behaviour", json={"status": status, "every": 2}) as answer:
        assert answer.status == 204
    body = json.dumps([envelope()]).encode()
    assert [(await post(http, ingestion, body))[0] for _ in range(4)] == [status, 200, status, 200]
    assert len(ingestion.envelopes) == 2
    async with http.patch(f"{ingestion.url}/_ingestion/behaviour", json={"unknown": 1}) as answer:
        assert answer.status == 400


async def test_a_black_hole_never_answers_until_it_stops(http: aiohttp.ClientSession) -> None:
    async with ApplicationInsights() as ingestion:
        ingestion.behaviour = Behaviour(is_black_hole=True)
        asking = asyncio.create_task(post(http, ingestion, json.dumps([envelope()]).encode()))
        done, _ = await asyncio.wait([asking], timeout=0.2)
        assert not done
    assert (await asking)[0] == 503


async def test_its_page_shows_what_arrived_and_runs_none_of_it(
    ingestion: ApplicationInsights, http: aiohttp.ClientSession
) -> None:
    await post(http, ingestion, json.dumps([envelope("<script>alert(1)</script>")]).encode())
    async with http.get(ingestion.url) as answer:
        page = await answer.text()
    assert "1 envelopes arrived" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>" not in page
    async with http.get(f"{ingestion.url}/_ingestion/envelopes") as answer:
        assert len((await answer.json())["envelopes"]) == 1
    async with http.delete(f"{ingestion.url}/_ingestion/envelopes") as answer:
        assert answer.status == 204
    assert not ingestion.envelopes


def test_an_envelope_is_a_line_for_people() -> None:
    assert in_a_line(envelope()) == "2026-11-22T09:00:00Z relay Event an.event reason=<b>live</b>"
    metric = {"metrics": [{"name": "m", "value": 3, "count": 2}], "properties": {"code": "x"}}
    told = envelope(data={"baseType": "MetricData", "baseData": metric})
    assert in_a_line(told) == "2026-11-22T09:00:00Z relay Metric m code=x value=3 count=2"


async def test_as_a_process_it_prints_where_it_is_and_what_arrives(http: aiohttp.ClientSession) -> None:
    command = [sys.executable, "-m", "local_cloud.application_insights", "--port", "0", "--print"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            url = (await process.stdout.readline()).decode().split()[-1]
            variable = (await process.stdout.readline()).decode()
            assert variable == (
                f"APPLICATIONINSIGHTS_CONNECTION_STRING=InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={url};\n"
            )
            async with http.post(f"{url}v2.1/track", json=[envelope()]) as answer:
                assert answer.status == 200
            assert b"Event an.event" in await process.stdout.readline()
    finally:
        process.terminate()
        assert await process.wait() == 0
