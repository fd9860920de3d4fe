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

As a process: ``python -m local_cloud.key_vault --port 9300 --secrets secrets.json``.
"""

import argparse
import asyncio
import json
import secrets
import ssl
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from aiohttp import web

from local_cloud.access_tokens import InvalidAccessToken, read
from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.managed_identity import CLIENT_ID
from local_cloud.stand_in import StandIn, decoded, next_fault, serve

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


class KeyVault(StandIn[Behaviour]):
    """``async with KeyVault(tls) as vault`` listens until the block ends; ``tls`` is what it serves with.

    Attributes:
        behaviour: how it answers from now on.
        faults: what goes wrong next.
        reads: what was read by somebody with a token, oldest first.
        tokens: every Bearer credential that it was sent.
        challenges: how often it asked for a token.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        values: Mapping[str, str] | None = None,
        *,
        behaviour: Behaviour | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(behaviour or Behaviour(), port=port, tls=tls)
        self.faults: list[Fault] = []
        self.reads: list[Read] = []
        self.tokens: list[str] = []
        self.challenges = 0
        self._secrets: dict[str, list[Version]] = {}
        for name, value in (values or {}).items():
            self.set(name, value)

    def _application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/secrets/{name}/{version:.*}", self._get_secret)  # the client asks with a slash at the end
        app.router.add_put("/_vault/secrets/{name}", self._put)
        app.router.add_delete("/_vault/secrets/{name}", self._delete)
        app.router.add_get("/_vault/reads", self._show_reads)
        app.router.add_patch("/_vault/behaviour", self._change)
        app.router.add_post("/_vault/faults", self._add_fault)
        app.router.add_delete("/_vault/faults", self._clear_faults)
        return app

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
        await self.until(lambda: times <= sum((each.name, each.version) == (name, version) for each in self.reads))

    async def wait_asked(self, times: int, status: int | None = None) -> None:
        """Wait until so many readings were answered; only those with that status count where it is given."""
        await self.until(lambda: times <= sum(status in (None, each.status) for each in self.reads))

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
        fault = next_fault(self.faults, lambda each: each.secret in (None, name))
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

    async def _note(self, reading: Read) -> None:
        self.reads.append(reading)
        await self._tell()

    async def _put(self, request: web.Request) -> web.Response:
        given = await decoded(request, Version)
        version = self.set(request.match_info["name"], given.value, enabled=given.enabled)
        return web.json_response({"version": version})

    async def _delete(self, request: web.Request) -> web.Response:
        self.remove(request.match_info["name"])
        return web.Response(status=204)

    async def _show_reads(self, _: web.Request) -> web.Response:
        return web.json_response(
            [{"name": each.name, "version": each.version, "status": each.status} for each in self.reads]
        )

    async def _add_fault(self, request: web.Request) -> web.Response:
        self.faults.append(await decoded(request, Fault))
        return web.Response(status=204)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)


def _error(status: int, code: str, message: str, inner: str | None = None) -> web.Response:
    error: dict[str, object] = {"code": code, "message": message}
    if inner is not None:
        error["innererror"] = {"code": inner}
    return web.json_response({"error": error}, status=status)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m local_cloud.key_vault", description="Key Vault, simulated, on 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=9300, help="0 takes a free port")
    parser.add_argument("--secrets", type=Path, help="a file with a JSON object of names and values")
    parser.add_argument("--client-id", default=CLIENT_ID, help="the identity that may read")
    parser.add_argument(
        "--certificate", type=Path, help="PEM file to serve with; by default of an authority of its own"
    )
    parser.add_argument("--certificate-key", type=Path, help="PEM file of its key; by default in the same file")
    given = parser.parse_args()
    values = json.loads(given.secrets.read_text(encoding="utf-8")) if given.secrets else {}
    with tempfile.TemporaryDirectory() as folder:
        ca_file = None
        if given.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(given.certificate, given.certificate_key)
        else:
            authority = ThrowAwayAuthority(Path(folder))
            ca_file, tls = authority.ca_file, authority.server_context()
        behaviour = Behaviour(client_ids=[given.client_id])
        vault = KeyVault(tls, values, behaviour=behaviour, port=given.port)
        trust = [f"EXTRA_CA_FILE={ca_file}"] if ca_file else []
        asyncio.run(serve(vault, lambda: [f"KEY_VAULT_URL={vault.url}", *trust]))


if __name__ == "__main__":
    main()
