"""A Redis whose password changes in the vault: new connections use the new one, and no live one is lost."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from redis import Redis
from structlog.testing import capture_logs

from local_cloud.redis_server import RedisServer
from service_kit.redis_address import login_of, without_login
from service_kit.redis_password import connect_by
from service_kit.secrets import Secrets, SharedSecrets
from tests.examples import KEY

OLD, NEW = "canary-old-password", "canary-new-password"


class TheVaultS(Secrets[SharedSecrets]):
    """Secrets that the test replaces."""

    def use(self, redis_url: str) -> None:
        """Put this address in force."""
        self._replace(secrets_with(redis_url))


def secrets_with(redis_url: str) -> SharedSecrets:
    values = {"redis_url": redis_url, "token_signing_keys": KEY, "pseudonym_key": KEY}
    return SharedSecrets.model_validate(values, context={"redis_mode": "single"})


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server, Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "airlock", "on", f">{OLD}", f">{NEW}", "~*", "&*", "+@all")
        admin.config_set("requirepass", OLD)
        yield server


@pytest.mark.parametrize("user", ["", "airlock"])
async def test_new_connections_log_in_with_the_password_in_force(server: RedisServer, user: str) -> None:
    first, second = (server.url.replace("//", f"//{user}:{password}@") for password in (OLD, NEW))
    secrets = TheVaultS(secrets_with(first))
    redis = connect_by(secrets, "single", ssl.create_default_context())
    with Redis.from_url(server.url, password=OLD) as admin:
        assert await redis.answers()
        if user:
            admin.execute_command("ACL", "SETUSER", user, f"<{OLD}")
        else:
            admin.config_set("requirepass", NEW)
        assert await redis.answers()  # the connection that there is
        await redis.leave()
        assert not await redis.answers()
        with capture_logs() as lines:
            secrets.use(second)
        assert lines == []
        assert await redis.answers()
        with capture_logs() as lines:
            secrets.use(second.replace(f":{server.port}", ":1"))
        assert [(line["event"], line["secret"]) for line in lines] == [("secret.changed", "redis-url")]
        assert "canary" not in str(lines)
        await redis.leave()
        assert await redis.answers()
        secrets.use(server.url)  # a slip of the pen: no login
        await redis.leave()
        assert await redis.answers()
    await redis.aclose()


@pytest.mark.parametrize(
    ("url", "login", "rest"),
    [
        ("redis://host:6379/0", (), "redis://host:6379/0"),
        ("rediss://:p%40ss@host/0", ("p@ss",), "rediss://host/0"),
        ("rediss://me:pass@host/0?ssl_ca_certs=%2Fca.pem", ("me", "pass"), "rediss://host/0?ssl_ca_certs=%2Fca.pem"),
        ("rediss://me@host/0", ("me", ""), "rediss://host/0"),
        ("unix:///run/redis?username=me&password=pass&db=2", ("me", "pass"), "unix:///run/redis?db=2"),
        ("rediss://me:pass@one:1,two:2", ("me", "pass"), "rediss://one:1,two:2"),
        (
            "redis://me:pass@one:1,two:2/0?service=x&sentinel_password=other",
            ("me", "pass"),
            "redis://one:1,two:2/0?service=x&sentinel_password=other",
        ),
    ],
)
def test_the_login_of_an_address(url: str, login: tuple[str, ...], rest: str) -> None:
    assert login_of(url) == login
    assert without_login(url) == rest
    assert login_of(rest) == ()
