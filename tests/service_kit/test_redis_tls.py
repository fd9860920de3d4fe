"""Redis over TLS, in each mode: whom it is believed, and that one context is enough for all connections."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import get_args

import pytest

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.redis_server import RedisServer
from service_kit.redis_address import RedisMode
from service_kit.redis_client import RedisUnavailable, Script, connect
from service_kit.tls import client_context
from tests.tls_redis import REDIS_SERVER, needs_redis_server, tls_options, tls_redis

pytestmark = needs_redis_server
MODES = get_args(RedisMode)


async def answers(url: str, mode: RedisMode, extra_ca_file: Path | None) -> bool:
    async with aclosing(connect(url, mode, tls=client_context(extra_ca_file))) as client:
        try:
            await Script(client, "return redis.call('SET', KEYS[1], 1, 'PX', 1)")("airlock:test:tls")
        except RedisUnavailable:
            return False
        return True


@pytest.mark.parametrize("mode", MODES)
async def test_the_extra_authority_is_believed_and_without_it_nobody_is(tmp_path: Path, mode: RedisMode) -> None:
    with tls_redis(mode, ThrowAwayAuthority(tmp_path)) as (url, _):
        assert await answers(url, mode, tmp_path / "ca.pem")
        assert not await answers(url, mode, None)
        (tmp_path / "other").mkdir()
        assert not await answers(url, mode, ThrowAwayAuthority(tmp_path / "other").ca_file)


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    options = tls_options(authority, "redis.example")
    assert REDIS_SERVER is not None
    with RedisServer(binary=Path(REDIS_SERVER), options=options):
        assert not await answers(f"rediss://127.0.0.1:{options['tls-port']}", "single", authority.ca_file)


async def test_a_subscription_is_carried_too(tmp_path: Path) -> None:
    with tls_redis("single", ThrowAwayAuthority(tmp_path)) as (url, _):
        tls = client_context(tmp_path / "ca.pem")
        async with aclosing(connect(url, tls=tls)) as client, client.pubsub() as subscription, asyncio.timeout(10):
            await subscription.subscribe("news")
            assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
            await client.publish("news", "good")
            assert (await subscription.get_message(timeout=5))["data"] == b"good"


@pytest.mark.parametrize("mode", MODES)
async def test_all_connections_share_one_context(
    tmp_path: Path, mode: RedisMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_redis(mode, ThrowAwayAuthority(tmp_path)) as (url, _):
        tls = client_context(tmp_path / "ca.pem")

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("another context is made")

        monkeypatch.setattr("ssl.create_default_context", refuse)
        async with aclosing(connect(url, mode, tls=tls)) as client:
            assert await asyncio.gather(*(client.answers() for _ in range(5))) == [True] * 5


async def test_a_certificate_of_ours_is_shown_where_the_address_names_one(tmp_path: Path) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    with tls_redis("single", authority, tls_auth_clients="yes") as (url, _):
        assert not await answers(url, "single", authority.ca_file)
        certificate, key = authority.issue("airlock")
        own = f"{url}?ssl_certfile={certificate}&ssl_keyfile={key}"
        assert await answers(own, "single", authority.ca_file)
        assert not await answers(own, "single", None)
