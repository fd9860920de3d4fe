"""The managed-identity endpoint of Container Apps and App Service, on loopback.

It is asked as the platform's is (``IDENTITY_ENDPOINT``, ``IDENTITY_HEADER``) and can be made to fail: by its attributes
within a process, or under ``/_identity`` on the same port from outside it.

| Route | What |
| --- | --- |
| ``GET /_identity/requests`` | what was asked, oldest first, without the tokens |
| ``PATCH /_identity/behaviour`` | change it: ``{"delay_seconds": 2, "lifetimes": {"https://vault.azure.net": 60}}`` |
| ``POST /_identity/faults`` | the next answers: ``{"status": 429, "retry_after": "3", "times": 2, "resource": null}`` |
| ``DELETE /_identity/faults`` | forget those still to come |

As a process: ``python -m local_cloud.managed_identity --port 9100``.
"""

import argparse
import asyncio
import hmac
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from aiohttp import web

from local_cloud.access_tokens import issue
from local_cloud.stand_in import StandIn, decoded, next_fault, serve

API_VERSION = "2019-08-01"
CLIENT_ID = "11111111-2222-4333-8444-555555555555"
"""The user-assigned identity that there is unless told otherwise."""
_PATH = "/msi/token"
_SYSTEM_ASSIGNED = "99999999-2222-4333-8444-555555555555"


class Behaviour(msgspec.Struct, forbid_unknown_fields=True):
    """How the endpoint answers.

    Attributes:
        client_ids: the user-assigned identities that there are.
        has_system_assigned: whether a request that names no identity gets a token.
        delay_seconds: before each answer.
        lifetime_seconds: of each token, as Container Apps' have.
        lifetimes: the same for some resources.
        repeats_until_seconds_left: while a token has more than this left, it is given out again, as the platform does;
            None makes a new one each time.
    """

    client_ids: list[str] = msgspec.field(default_factory=lambda: [CLIENT_ID])
    has_system_assigned: bool = False
    delay_seconds: float = 0.0
    lifetime_seconds: int = 86_400
    lifetimes: dict[str, int] = msgspec.field(default_factory=dict)
    repeats_until_seconds_left: int | None = None


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """The next ``times`` answers, or all until forgotten (None), of one resource or of any."""

    status: int = 500
    retry_after: str | None = None
    times: int | None = 1
    resource: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a token, and the status it was answered with."""

    resource: str
    client_id: str | None
    status: int


@dataclass(frozen=True, slots=True)
class _Issued:
    token: str
    expires_at: int


class ManagedIdentity(StandIn[Behaviour]):
    """``async with ManagedIdentity() as identity`` listens until the block ends.

    Attributes:
        behaviour: how it answers from now on.
        faults: what goes wrong next.
        asked: what it was asked for, oldest first.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0, header: str | None = None) -> None:
        super().__init__(behaviour or Behaviour(), port=port)
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.header = header or secrets.token_hex(16)
        self._issued: dict[tuple[str, str], _Issued] = {}

    def _application(self) -> web.Application:
        app = web.Application()
        app.router.add_get(_PATH, self._token)
        app.router.add_get("/_identity/requests", self._show_requests)
        app.router.add_patch("/_identity/behaviour", self._change)
        app.router.add_post("/_identity/faults", self._add_fault)
        app.router.add_delete("/_identity/faults", self._clear_faults)
        return app

    @property
    def environment(self) -> Mapping[str, str]:
        """What the platform puts into the environment of an app that has an identity."""
        return {"IDENTITY_ENDPOINT": f"{self.url}{_PATH}", "IDENTITY_HEADER": self.header}

    async def wait_asked(self, times: int, resource: str | None = None, status: int | None = None) -> None:
        """Wait until it was asked so often; only requests for that resource, and answered so, count where given."""

        def is_enough() -> bool:
            return times <= sum(
                resource in (None, each.resource) and status in (None, each.status) for each in self.asked
            )

        await self.until(is_enough)

    async def _token(self, request: web.Request) -> web.Response:
        resource, client_id = request.query.get("resource", ""), request.query.get("client_id")
        await asyncio.sleep(self.behaviour.delay_seconds)
        response = self._answer(request, resource, client_id)
        self.asked.append(Asked(resource, client_id, response.status))
        await self._tell()
        return response

    def _answer(self, request: web.Request, resource: str, client_id: str | None) -> web.Response:
        given = request.headers.get("X-IDENTITY-HEADER", "")
        if not hmac.compare_digest(given.encode(), self.header.encode()):
            return _error(401, "X-IDENTITY-HEADER is missing or wrong.")
        if request.query.get("api-version") != API_VERSION:
            return _error(400, f"The only api-version here is {API_VERSION}.")
        if not resource:
            return _error(400, "The resource is missing.")
        fault = next_fault(self.faults, lambda each: each.resource in (None, resource))
        if fault is not None:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return _error(fault.status, "The stand-in was told to fail.", headers)
        has_it = client_id in self.behaviour.client_ids if client_id else self.behaviour.has_system_assigned
        if not has_it:
            return _error(400, "No User Assigned or Delegated Managed Identity found for specified ClientId.")
        identity = client_id or _SYSTEM_ASSIGNED
        issued = self._issue(resource, identity)
        return web.json_response(
            {
                "access_token": issued.token,
                "expires_on": str(issued.expires_at),
                "resource": resource,
                "token_type": "Bearer",  # nosec B105 - what kind of token, not one
                "client_id": identity,
            }
        )

    def _issue(self, resource: str, client_id: str) -> _Issued:
        lifetime = self.behaviour.lifetimes.get(resource, self.behaviour.lifetime_seconds)
        repeats, before = self.behaviour.repeats_until_seconds_left, self._issued.get((resource, client_id))
        if repeats is not None and before is not None and before.expires_at - time.time() > repeats:
            return before
        self._issued[resource, client_id] = issued = _Issued(*issue(resource, client_id, lifetime))
        return issued

    async def _show_requests(self, _: web.Request) -> web.Response:
        return web.json_response(
            [{"resource": each.resource, "client_id": each.client_id, "status": each.status} for each in self.asked]
        )

    async def _add_fault(self, request: web.Request) -> web.Response:
        self.faults.append(await decoded(request, Fault))
        return web.Response(status=204)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"StatusCode": status, "Message": message, "CorrelationId": str(uuid.uuid4())}
    return web.json_response(body, status=status, headers=headers)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m local_cloud.managed_identity", description="Managed identity, simulated, on 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=9100, help="0 takes a free port")
    parser.add_argument("--header", help="the IDENTITY_HEADER to ask for; by default a random one, which is printed")
    parser.add_argument("--client-id", default=CLIENT_ID, help="the user-assigned identity that there is")
    parser.add_argument("--lifetime", type=int, default=86_400, help="seconds that a token lives")
    given = parser.parse_args()
    behaviour = Behaviour(client_ids=[given.client_id], lifetime_seconds=given.lifetime)
    identity = ManagedIdentity(behaviour, port=given.port, header=given.header)

    def announcement() -> list[str]:
        settings = {**identity.environment, "AZURE_CLIENT_ID": given.client_id}
        return [f"{name}={value}" for name, value in settings.items()]

    asyncio.run(serve(identity, announcement))


if __name__ == "__main__":
    main()
