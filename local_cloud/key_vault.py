"""Azure Key Vault's secrets on loopback, over HTTPS with a certificate of a throw-away authority.

It speaks to Azure's own client: a request without a token is answered 401 with a challenge, and a token is taken only
if the identity stand-in issued it for the vault. The challenge names the resource ``https://0.0.1:PORT``: the client
wants the vault's host to end with ``.`` and the resource's, port included, and ``127.0.0.1:PORT`` does.

Secrets and behaviour are set by attributes within a process, or under ``/_vault`` on the same port from outside it:

| Route | What |
| --- | --- |
| ``PUT /_vault/secrets/NAME`` | a new version: ``{"value": "...", "enabled": true}`` |
| ``DELETE /_vault/secrets/NAME`` | no such secret any more |
| ``GET /_vault/reads`` | what was read, oldest first: name, version and status, never a value |
| ``PATCH /_vault/behaviour`` | change some of it: ``{"delay_seconds": 2, "is_down": true}`` |
| ``POST /_vault/faults`` | the next answers: ``{"kind": "throttled", "retry_after": "3", "times": 2}`` |
| ``DELETE /_vault/faults`` | forget those still to come |

As a process: ``python -m local_cloud.key_vault --port 9200 --secrets secrets.json``.
"""

import argparse
import asyncio
import json
import secrets
import signal
import ssl
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from aiohttp import web

from local_cloud.access_tokens import InvalidAccessToken, read
from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.managed_identity import CLIENT_ID

_TENANT = "https://login.microsoftonline.com/00000000-0000-4000-8000-00000000aaaa"
_API_VERSIONS = ("7.", "202")
_ERRORS: Mapping[str, tuple[int, str, str | None]] = {
    # kind of fault: status, code, innererror.code
    "error": (500, "InternalServerError", None),
    "forbidden": (403, "Forbidden", "ForbiddenByRbac"),
    "throttled": (429, "Throttled", None),
    "unavailable": (503, "ServiceUnavailable", None),
}


class Behaviour(msgspec.Struct, forbid_unknown_fields=True):
    """How the vault answers.

    Attributes:
        client_ids: the identities with the role to read secrets; others get 403.
        delay_seconds: before each answer.
        is_down: every connection is closed without an answer.
        challenge_resource: what the challenge names in place of this vault.
    """

    client_ids: list[str] = msgspec.field(default_factory=lambda: [CLIENT_ID])
    delay_seconds: float = 0.0
    is_down: bool = False
    challenge_resource: str | None = None


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """The next ``times`` answers, or all until forgotten (None), for one secret or for any.

    ``hang`` answers nothing until the client gives up, ``garbage`` says 200 with the value in what is no JSON.
    """

    kind: Literal["error", "forbidden", "throttled", "unavailable", "hang", "garbage"] = "error"
    retry_after: str | None = None
    times: int | None = 1
    secret: str | None = None


class Version(msgspec.Struct, forbid_unknown_fields=True):
    """One version of a secret; ``id`` is made when it is set."""

    value: str
    enabled: bool = True
    id: str = ""
    created: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """One reading: of which secret, as whom, and with what outcome; ``version`` is empty unless the status is 200."""

    name: str
    client_id: str
    version: str
    status: int


class KeyVault:
    """``async with KeyVault(authority) as vault`` listens until the block ends.

    Attributes:
        behaviour: how it answers from now on.
        faults: what goes wrong next.
        reads: what was read by somebody with a token, oldest first.
        tokens: every Bearer credential that it was sent.
        challenges: how often it asked for a token.
    """

    def __init__(
        self,
        authority: ThrowAwayAuthority,
        values: Mapping[str, str] | None = None,
        *,
        behaviour: Behaviour | None = None,
        port: int = 0,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.faults: list[Fault] = []
        self.reads: list[Read] = []
        self.tokens: list[str] = []
        self.challenges = 0
        self._tls: ssl.SSLContext = authority.server_context()
        self._port = port
        self._secrets: dict[str, list[Version]] = {}
        self._news = asyncio.Condition()
        for name, value in (values or {}).items():
            self.set(name, value)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; a second time on the same port."""
        app = web.Application()
        app.router.add_get("/secrets/{name}/{version:.*}", self._get_secret)  # the client asks with a slash at the end
        app.router.add_put("/_vault/secrets/{name}", self._put)
        app.router.add_delete("/_vault/secrets/{name}", self._delete)
        app.router.add_get("/_vault/reads", self._show_reads)
        app.router.add_patch("/_vault/behaviour", self._change)
        app.router.add_post("/_vault/faults", self._add_fault)
        app.router.add_delete("/_vault/faults", self._clear_faults)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; requests under way are cut."""
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """What ``KEY_VAULT_URL`` is for it."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def resource(self) -> str:
        """What an access token for it must be for."""
        return f"https://0.0.1:{self._port}"

    def set(self, name: str, value: str, *, enabled: bool = True) -> str:
        """Add a version, which is the latest from now on; its id."""
        version = Version(value=value, enabled=enabled, id=secrets.token_hex(16), created=int(time.time()))
        self._secrets.setdefault(name, []).append(version)
        return version.id

    def latest(self, name: str) -> str:
        """The value of the latest version."""
        return self._secrets[name][-1].value

    def versions(self) -> Mapping[str, Sequence[Version]]:
        """Every version of every secret that there is, oldest first."""
        return self._secrets

    def remove(self, name: str) -> None:
        """Forget a secret with all its versions."""
        self._secrets.pop(name, None)

    async def wait_read(self, name: str, version: str, times: int = 1) -> None:
        """Wait until this version was read so often."""
        async with self._news:
            await self._news.wait_for(
                lambda: times <= sum((each.name, each.version) == (name, version) for each in self.reads)
            )

    async def wait_asked(self, times: int, status: int | None = None) -> None:
        """Wait until so many readings were answered; only those with that status count where it is given."""
        async with self._news:
            await self._news.wait_for(lambda: times <= sum(status in (None, each.status) for each in self.reads))

    async def _get_secret(self, request: web.Request) -> web.Response:
        if self.behaviour.is_down:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # to nobody
        await asyncio.sleep(self.behaviour.delay_seconds)
        client_id = self._caller(request)
        if client_id is None:
            self.challenges += 1
            resource = self.behaviour.challenge_resource or self.resource
            challenge = f'Bearer authorization="{_TENANT}", resource="{resource}"'
            error = _error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
            error.headers["WWW-Authenticate"] = challenge
            return error
        name = request.match_info["name"]
        fault = self._next_fault(name)
        if fault is not None and fault.kind == "hang":
            await self._note(Read(name, client_id, "", 0))
            await asyncio.Event().wait()
        version, response = self._answer(request, name, client_id, fault)
        await self._note(Read(name, client_id, version.id if version else "", response.status))
        return response

    def _caller(self, request: web.Request) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        self.tokens.append(token)
        try:
            return read(token, self.resource).client_id
        except InvalidAccessToken:
            return None

    def _answer(
        self, request: web.Request, name: str, client_id: str, fault: Fault | None
    ) -> tuple[Version | None, web.Response]:
        if not request.query.get("api-version", "").startswith(_API_VERSIONS):
            return None, _error(400, "BadParameter", "api-version is missing or unknown.")
        if client_id not in self.behaviour.client_ids:
            return None, _error(403, "Forbidden", "Caller is not authorized to perform action.", "ForbiddenByRbac")
        versions = self._secrets.get(name, [])
        wanted = request.match_info["version"]
        found = [each for each in versions if wanted in ("", each.id)]
        if fault is not None and fault.kind in _ERRORS:
            status, code, inner = _ERRORS[fault.kind]
            error = _error(status, code, "The stand-in was told to fail.", inner)
            if fault.retry_after is not None:
                error.headers["Retry-After"] = fault.retry_after
            return None, error
        if not found:
            return None, _error(404, "SecretNotFound", f"A secret with (name/id) {name} was not found in this vault.")
        version = found[-1]
        if not version.enabled:
            return None, _error(
                403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled"
            )
        if fault is not None:
            return version, web.Response(text=f'{{"value": "{version.value}", ', content_type="application/json")
        return version, web.json_response(
            {
                "value": version.value,
                "id": f"{self.url}/secrets/{name}/{version.id}",
                "attributes": {
                    "enabled": True,
                    "created": version.created,
                    "updated": version.created,
                    "recoveryLevel": "Recoverable+Purgeable",
                    "recoverableDays": 90,
                },
                "tags": {},
            }
        )

    def _next_fault(self, name: str) -> Fault | None:
        for fault in self.faults:
            if fault.secret in (None, name):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                return fault
        return None

    async def _note(self, reading: Read) -> None:
        async with self._news:
            self.reads.append(reading)
            self._news.notify_all()

    async def _put(self, request: web.Request) -> web.Response:
        given = await _decoded(request, Version)
        version = self.set(request.match_info["name"], given.value, enabled=given.enabled)
        return web.json_response({"version": version})

    async def _delete(self, request: web.Request) -> web.Response:
        self.remove(request.match_info["name"])
        return web.Response(status=204)

    async def _show_reads(self, _: web.Request) -> web.Response:
        return web.json_response(
            [{"name": each.name, "version": each.version, "status": each.status} for each in self.reads]
        )

    async def _change(self, request: web.Request) -> web.Response:
        changes = await _decoded(request, dict[str, object])
        try:
            self.behaviour = msgspec.convert(msgspec.to_builtins(self.behaviour) | changes, type=Behaviour)
        except msgspec.ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.Response(status=204)

    async def _add_fault(self, request: web.Request) -> web.Response:
        self.faults.append(await _decoded(request, Fault))
        return web.Response(status=204)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)


async def _decoded(request: web.Request, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def _error(status: int, code: str, message: str, inner: str | None = None) -> web.Response:
    error: dict[str, object] = {"code": code, "message": message}
    if inner is not None:
        error["innererror"] = {"code": inner}
    return web.json_response({"error": error}, status=status)


async def serve(values: Mapping[str, str], behaviour: Behaviour, port: int, folder: Path) -> None:
    """Serve until SIGINT or SIGTERM, after printing the settings that lead here."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    authority = ThrowAwayAuthority(folder)
    async with KeyVault(authority, values, behaviour=behaviour, port=port) as vault:
        print(f"KEY_VAULT_URL={vault.url}", flush=True)
        print(f"EXTRA_CA_FILE={authority.ca_file}", flush=True)
        await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m local_cloud.key_vault", description="Key Vault, simulated, on 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=9200, help="0 takes a free port")
    parser.add_argument("--secrets", type=Path, help="a file with a JSON object of names and values")
    parser.add_argument("--client-id", default=CLIENT_ID, help="the identity that may read")
    parser.add_argument("--folder", type=Path, help="where the authority's certificate goes; by default a new one")
    given = parser.parse_args()
    values = json.loads(given.secrets.read_text(encoding="utf-8")) if given.secrets else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        asyncio.run(serve(values, Behaviour(client_ids=[given.client_id]), given.port, folder))


if __name__ == "__main__":
    main()
