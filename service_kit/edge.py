"""The first check of every request: did it come through the edge it should, and whose address may be believed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import hdrs, web

from service_kit.client_address import Networks, address_behind_front_door, client_address
from service_kit.errors import Refusal
from service_kit.redis_client import Pseudonyms
from service_kit.web import REQUEST_ID, Handler

ADDRESS: Final = web.RequestKey("address", str)
"""The client's address, in plain only for the token's own digest of it."""
ADDRESS_PSEUDONYM: Final = web.RequestKey("address_pseudonym", str)
"""What limits and logs know the client's address by."""

_PROBES: Final = frozenset({"/healthz", "/readyz"})  # asked by the platform, past the edge


def check_edge(
    trusted_edge: Networks, front_door_id: str | None, pseudonyms: Pseudonyms
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that notes the client's address, and refuses what did not come through our Front Door, if any.

    Belongs inside :func:`service_kit.web.answer_errors`, before anything that answers.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        address = _address(request, trusted_edge, front_door_id)
        if address is None:
            if request.path not in _PROBES:
                structlog.get_logger().warning(
                    "edge.denied",
                    code="edge_not_allowed",
                    request_id=request[REQUEST_ID],
                    address=pseudonyms.of_address(client_address(request.remote or "", (), ())),
                )
                raise Refusal("edge_not_allowed")
            address = ""
        request[ADDRESS] = address
        request[ADDRESS_PSEUDONYM] = pseudonyms.of_address(address)
        return await handler(request)

    return middleware


def _address(request: web.Request, trusted_edge: Networks, front_door_id: str | None) -> str | None:
    peer = request.remote or ""
    if front_door_id is None:
        return client_address(peer, request.headers.getall(hdrs.X_FORWARDED_FOR, []), trusted_edge)
    return address_behind_front_door(
        peer,
        trusted_edge=trusted_edge,
        expected_id=front_door_id,
        ids=request.headers.getall("X-Azure-FDID", []),
        socket_addresses=request.headers.getall("X-Azure-SocketIP", []),
    )
