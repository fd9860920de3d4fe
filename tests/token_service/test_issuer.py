"""The issuer over loopback: fetching its keys, rotation, absence, and answers that are not to be believed."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from local_cloud.certificates import ThrowAwayAuthority
from service_kit.errors import Refusal
from service_kit.log import ALLOWED_KEYS
from service_kit.tls import client_context
from tests.issuer import AUDIENCE, LocalIssuer, ec_key, rsa_key
from token_service.identity import IdentityRules
from token_service.issuer import MAX_DOCUMENT_BYTES, Issuer, Pace
from token_service.issuer_keys import DISCOVERY_PATH

QUIET = Pace(refresh=3_600, retry=3_600, refetch=30, keep=86_400)
"""Nothing in the background after the first fetch."""


class Clock:
    """A monotonic clock that a test advances."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def local() -> AsyncIterator[LocalIssuer]:
    async with LocalIssuer() as local:
        yield local


def knowing(
    local: LocalIssuer, clock: Clock | None = None, pace: Pace = QUIET, tls: ssl.SSLContext | None = None
) -> Issuer:
    rules = IdentityRules(
        issuer=local.url,
        audiences=frozenset({AUDIENCE}),
        algorithms=frozenset({"RS256", "ES256"}),
        tenant="oidc",
    )
    return Issuer(rules, tls or client_context(None), pace=pace, clock=clock or Clock())


async def refusal(issuer: Issuer, token: str) -> tuple[str, float | None]:
    with pytest.raises(Refusal) as caught:
        await issuer.identify(token)
    return caught.value.code, caught.value.retry_after


async def test_tokens_of_both_kinds_of_keys_are_known_after_one_fetch(local: LocalIssuer) -> None:
    issuer = knowing(local)
    async with issuer.running():
        await local.asked("/keys")
        for _ in range(20):
            assert (await issuer.identify(local.token())).subject == "alice"
            assert (await issuer.identify(local.token(ec_key("one"), "ec-1"))).subject == "alice"
    assert local.requests.count("/keys") <= 2  # the background's, and perhaps one of the first token


async def test_the_first_token_may_come_before_the_first_fetch_has_ended(local: LocalIssuer) -> None:
    issuer = knowing(local)
    async with issuer.running():
        assert (await issuer.identify(local.token())).subject == "alice"


async def test_a_new_key_is_fetched_when_a_token_names_it_and_the_old_one_is_forgotten(local: LocalIssuer) -> None:
    clock = Clock()
    issuer = knowing(local, clock)
    async with issuer.running():
        await issuer.identify(local.token())
        clock.now += 31
        local.keys = [rsa_key("two").jwk("rsa-2")]
        assert (await issuer.identify(local.token(rsa_key("two"), "rsa-2"))).subject == "alice"
        assert await refusal(issuer, local.token()) == ("invalid_token", None)


async def test_unknown_keys_cause_one_fetch_in_thirty_seconds(local: LocalIssuer) -> None:
    clock = Clock()
    issuer = knowing(local, clock)
    async with issuer.running():
        await local.asked("/keys")
        await issuer.identify(local.token())
        before = local.requests.count("/keys")
        flood = [local.token(rsa_key("attacker"), f"made-up-{number}") for number in range(50)]

        async def storm() -> None:
            answers = await asyncio.gather(*(refusal(issuer, token) for token in flood))
            assert set(answers) == {("invalid_token", None)}

        await storm()
        assert local.requests.count("/keys") == before
        for seconds, fetches in ((29.9, 0), (0.2, 1), (29.9, 1), (0.2, 2)):
            clock.now += seconds
            await storm()
            assert local.requests.count("/keys") == before + fetches
        assert (await issuer.identify(local.token())).subject == "alice"


async def test_a_token_that_cannot_be_valid_causes_no_fetch(local: LocalIssuer) -> None:
    clock = Clock()
    issuer = knowing(local, clock)
    async with issuer.running():
        await issuer.identify(local.token())
        before = len(local.requests)
        clock.now += 3_600
        for token in (
            local.token(kid="unknown", aud="other"),
            local.token(kid="unknown", iss="https://evil.example"),
            local.token(kid="unknown", exp=1),
            local.token(kid="unknown", header={"alg": "none"}),
        ):
            assert await refusal(issuer, token) == ("invalid_token", None)
        assert len(local.requests) == before


async def test_a_jku_is_never_asked(local: LocalIssuer) -> None:
    async with LocalIssuer() as evil:
        evil.keys = [rsa_key("attacker").jwk("evil-1")]
        issuer = knowing(local)
        async with issuer.running():
            for name in ("jku", "x5u"):
                header = {name: f"{evil.url}/keys", "jwk": evil.keys[0]}
                for kid in ("evil-1", "rsa-1", None):
                    token = local.token(rsa_key("attacker"), kid, header)
                    assert (await refusal(issuer, token))[0] == "invalid_token"
        assert evil.requests == []


async def test_without_the_issuer_nothing_can_be_told_and_once_it_is_back_all_is_well(local: LocalIssuer) -> None:
    await local.stop()
    clock = Clock()
    issuer = knowing(local, clock)
    async with issuer.running():
        assert await refusal(issuer, local.token()) == ("unavailable", QUIET.retry)
        # what could never be valid is still refused as such
        assert await refusal(issuer, local.token(aud="other")) == ("invalid_token", None)
        assert await refusal(issuer, local.token(header={"alg": "none"})) == ("invalid_token", None)
        await local.start()
        clock.now += 31
        assert (await issuer.identify(local.token())).subject == "alice"


async def test_the_background_tries_again_by_itself(local: LocalIssuer) -> None:
    await local.stop()
    issuer = knowing(local, pace=Pace(retry=0.01, refetch=0.05, refresh=3_600))
    async with issuer.running():
        assert (await refusal(issuer, local.token()))[0] == "unavailable"
        await local.start()
        await local.asked("/keys")
        assert (await issuer.identify(local.token())).subject == "alice"


async def test_the_background_drops_a_withdrawn_key(local: LocalIssuer) -> None:
    issuer = knowing(local, pace=Pace(refresh=0.01))
    async with issuer.running():
        await issuer.identify(local.token())
        local.keys = [rsa_key("two").jwk("rsa-2")]
        fetched = local.requests.count("/keys")
        await local.asked("/keys", fetched + 2)  # one that began after the change has ended
        assert await refusal(issuer, local.token()) == ("invalid_token", None)


async def test_keys_are_kept_for_a_day_while_the_issuer_is_away(local: LocalIssuer) -> None:
    clock = Clock()
    issuer = knowing(local, clock)
    async with issuer.running():
        await issuer.identify(local.token())
        await local.stop()
        clock.now += 86_399
        assert (await issuer.identify(local.token())).subject == "alice"
        # a key that we do not know may be a new one of an issuer that we cannot ask
        assert (await refusal(issuer, local.token(kid="newer")))[0] == "unavailable"
        clock.now += 2
        assert (await refusal(issuer, local.token()))[0] == "unavailable"


def redirect(local: LocalIssuer, evil: LocalIssuer) -> Callable[[web.Request], web.StreamResponse]:
    def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": f"{evil.url}{request.path}"})

    return answer


async def test_redirects_are_not_followed(local: LocalIssuer) -> None:
    async with LocalIssuer() as evil:
        evil.metadata = local.metadata | {"jwks_uri": f"{evil.url}/keys"}
        local.answer = redirect(local, evil)
        issuer = knowing(local)
        async with issuer.running():
            assert (await refusal(issuer, local.token()))[0] == "unavailable"
        assert local.requests
        assert evil.requests == []


def json_of(document: object) -> Callable[[web.Request], web.StreamResponse]:
    return lambda _: web.json_response(document)


def body_of(body: bytes, **headers: str) -> Callable[[web.Request], web.StreamResponse]:
    return lambda _: web.Response(body=body, content_type="application/json", headers=headers)


@pytest.mark.parametrize(
    "answer",
    [
        json_of({"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"}),
        json_of({}),
        json_of([]),
        body_of(b""),
        body_of(b"<html>"),
        body_of(b"\xff\xfe"),
        body_of(b'{"issuer":1,"issuer":2}'),
        body_of(b"[" * 100_000),
        body_of(b" " * MAX_DOCUMENT_BYTES + b"{}"),
        body_of(gzip.compress(b"{}"), **{"Content-Encoding": "gzip"}),
        lambda _: web.Response(status=500),
        lambda _: web.Response(status=404),
        lambda _: web.Response(status=204),
    ],
)
async def test_an_answer_that_cannot_be_believed_is_none(
    local: LocalIssuer, answer: Callable[[web.Request], web.StreamResponse]
) -> None:
    local.answer = answer
    clock = Clock()
    issuer = knowing(local, clock)
    with capture_logs() as lines:
        async with issuer.running():
            assert (await refusal(issuer, local.token()))[0] == "unavailable"
            local.answer = None
            clock.now += 31
            await issuer.identify(local.token())
            local.answer = answer
            clock.now += 31
            await refusal(issuer, local.token(kid="newer"))
            assert (await issuer.identify(local.token())).subject == "alice"  # the good keys stayed
    assert "issuer.failed" in {line["event"] for line in lines}
    for line in lines:
        assert line.keys() - {"log_level"} <= ALLOWED_KEYS


@pytest.mark.parametrize("status", [201, 203, 404, 500])
async def test_only_a_plain_success_is_an_answer(local: LocalIssuer, status: int) -> None:
    local.answer = lambda request: web.json_response(local.document(request.path), status=status)
    issuer = knowing(local)
    async with issuer.running():
        assert (await refusal(issuer, local.token()))[0] == "unavailable"


@pytest.mark.parametrize("size", [MAX_DOCUMENT_BYTES, MAX_DOCUMENT_BYTES + 1])
@pytest.mark.parametrize("path", [DISCOVERY_PATH, "/keys"])
async def test_a_document_has_a_largest_size(local: LocalIssuer, path: str, size: int) -> None:
    def padded(request: web.Request) -> web.StreamResponse:
        document = json.dumps(local.document(request.path)).encode()
        return web.Response(body=document.ljust(size) if request.path == path else document)

    local.answer = padded
    issuer = knowing(local)
    async with issuer.running():
        if size > MAX_DOCUMENT_BYTES:
            assert (await refusal(issuer, local.token()))[0] == "unavailable"
        else:
            assert (await issuer.identify(local.token())).subject == "alice"


async def test_a_bomb_is_not_unpacked(local: LocalIssuer) -> None:
    """Otherwise a few kilobytes would hold the process for seconds."""
    bomb = gzip.compress(json.dumps({"issuer": local.url, "pad": "x" * 200_000}).encode())
    local.answer = body_of(bomb, **{"Content-Encoding": "gzip"})
    issuer = knowing(local)
    with capture_logs() as lines:
        async with issuer.running():
            await refusal(issuer, local.token())
    assert {line["error"] for line in lines if line["event"] == "issuer.failed"} == {"InvalidJson"}


async def test_a_silent_issuer_is_not_waited_for(local: LocalIssuer) -> None:
    await local.stop()
    with socket.create_server(("127.0.0.1", local.port)):
        issuer = knowing(local, pace=Pace(fetch=0.2, retry=3_600))
        async with issuer.running(), asyncio.timeout(10):
            assert (await refusal(issuer, local.token()))[0] == "unavailable"


async def test_an_issuer_that_drips_is_not_waited_for(local: LocalIssuer) -> None:
    dripping: set[asyncio.Task[None] | None] = set()

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dripping.add(asyncio.current_task())
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):  # once it is not waited for
            while True:
                writer.write(b"1\r\n \r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    await local.stop()
    async with asyncio.timeout(10), await asyncio.start_server(drip, "127.0.0.1", local.port):
        issuer = knowing(local, pace=Pace(fetch=0.2, retry=3_600))
        async with issuer.running():
            assert (await refusal(issuer, local.token()))[0] == "unavailable"
        assert dripping
        await asyncio.gather(*(task for task in dripping if task))


async def test_environment_proxies_are_not_used(local: LocalIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalIssuer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        issuer = knowing(local)
        async with issuer.running():
            await issuer.identify(local.token())
        assert proxy.requests == []


async def test_an_issuer_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    local = LocalIssuer()
    local.url = f"https://localhost:{local.port}"
    local.metadata = {"issuer": local.url, "jwks_uri": f"{local.url}/keys"}
    await local.start(ThrowAwayAuthority(tmp_path).server_context())
    issuer = knowing(local)
    with capture_logs() as lines:
        async with issuer.running():
            assert (await refusal(issuer, local.token()))[0] == "unavailable"
    await local.stop()
    assert local.requests == []
    assert {line["error"] for line in lines} == {"ClientConnectorCertificateError"}


async def test_an_issuer_that_the_extra_authority_vouches_for_is_believed(tmp_path: Path) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    local = LocalIssuer()
    local.url = f"https://localhost:{local.port}"
    local.metadata = {"issuer": local.url, "jwks_uri": f"{local.url}/keys"}
    await local.start(authority.server_context())
    issuer = knowing(local, tls=client_context(authority.ca_file))
    async with issuer.running():
        assert (await issuer.identify(local.token())).subject == "alice"
    await local.stop()


async def test_the_fetch_ends_with_the_service(local: LocalIssuer) -> None:
    await local.stop()
    with socket.create_server(("127.0.0.1", local.port)) as listener:
        listener.setblocking(False)
        issuer = knowing(local)
        async with asyncio.timeout(3), issuer.running():
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        connection.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "keys of the issuer"]


async def test_metadata_is_asked_for_where_discovery_says(local: LocalIssuer) -> None:
    issuer = knowing(local)
    async with issuer.running():
        await issuer.identify(local.token())
    assert set(local.requests) == {DISCOVERY_PATH, "/keys"}
