"""nginx as Front Door: routes, headers, idle time-outs, a change of replicas, and a cut connection."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import (
    ClientConnectorCertificateError,
    ClientSession,
    ClientWebSocketResponse,
    TCPConnector,
    WSMsgType,
    web,
)

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.edge import Edge, EdgeWillNotStart
from local_cloud.ports import free_port
from tests.serving import serving

FRONT_DOOR_ID = "0a1b2c3d-0000-0000-0000-000000000000"
SET_BY_THE_EDGE = ("X-Azure-FDID", "X-Azure-SocketIP", "X-Azure-Ref", "X-FD-HealthProbe", "X-Forwarded-Host")

pytestmark = pytest.mark.skipif(
    not (shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")), reason="nginx is not installed"
)


def origin(name: str) -> web.Application:
    """A service that says who it is and what it was sent; on an upgrade it echoes."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade") == "websocket":
            websocket = web.WebSocketResponse()
            await websocket.prepare(request)
            await websocket.send_str(name)
            async for message in websocket:
                await websocket.send_str(message.data)
            return websocket
        headers = {key: request.headers.getall(key) for key in request.headers}
        return web.json_response({"name": name, "path": request.raw_path, "headers": headers})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


class Scene:
    """An edge before a token service and two relays that only echo."""

    def __init__(self, edge: Edge, client: ClientSession, ports: dict[str, int]) -> None:
        self.edge = edge
        self.client = client
        self.ports = ports

    async def connect(self) -> tuple[ClientWebSocketResponse, str]:
        """A WebSocket to a relay, and which relay it is."""
        websocket = await self.client.ws_connect(f"{self.edge.url}/v1/realtime")
        return websocket, (await websocket.receive_str())


@pytest.fixture(params=[300])
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    authority = ThrowAwayAuthority(tmp_path)
    async with (
        serving(origin("token service")) as token_service,
        serving(origin("relay 1")) as one,
        serving(origin("relay 2")) as two,
        ClientSession(connector=TCPConnector(ssl=authority.client_context())) as client,
    ):
        edge = Edge(
            free_port(),
            certificate=authority.issue(),
            front_door_id=FRONT_DOOR_ID,
            token_services=[token_service],
            relays=[one],
            idle_seconds=request.param,
        )
        await asyncio.to_thread(edge.start)
        try:
            yield Scene(edge, client, {"token service": token_service, "relay 1": one, "relay 2": two})
        finally:
            await asyncio.to_thread(edge.stop)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/realtime", "relay 1"),
        ("/v1/realtime?model=gpt-realtime", "relay 1"),
        ("/openai/v1/realtime", "relay 1"),
        ("/openai/realtime", "relay 1"),
        ("/", "token service"),
        ("/v1/realtime/", "token service"),
        ("/v1/realtime/client_secrets", "token service"),
        ("/v1/realtime/sessions", "token service"),
        ("/openai/realtime/x", "token service"),
        ("/v1/limits", "token service"),
        ("/healthz", "token service"),
    ],
)
async def test_each_path_goes_where_front_doors_routes_send_it(scene: Scene, path: str, name: str) -> None:
    async with scene.client.get(scene.edge.url + path) as answer:
        told = await answer.json()
    assert (told["name"], told["path"]) == (name, path)


async def test_what_the_edge_sets_cannot_be_sent(scene: Scene) -> None:
    forged = dict.fromkeys(SET_BY_THE_EDGE, "198.51.100.66") | {"X-Forwarded-Proto": "gopher"}
    forged["X-Forwarded-For"] = "203.0.113.9, 198.51.100.1"
    async with scene.client.get(scene.edge.url, headers=forged) as answer:
        headers = (await answer.json())["headers"]
    assert headers["X-Azure-FDID"] == [FRONT_DOOR_ID]
    assert len(headers["X-Azure-SocketIP"]) == 1
    assert headers["X-Azure-SocketIP"][0] in ("127.0.0.1", "::1")
    assert "X-FD-HealthProbe" not in headers
    assert headers["X-Forwarded-Host"] == [f"localhost:{scene.edge.port}"]
    assert headers["X-Forwarded-Proto"] == ["https"]
    assert headers["X-Azure-Ref"] != ["198.51.100.66"]
    # Kept and added to; and here the client is believed, as Front Door does.
    assert headers["X-Forwarded-For"] == [f"203.0.113.9, 198.51.100.1, {headers['X-Azure-SocketIP'][0]}"]
    assert headers["X-Azure-ClientIP"] == ["203.0.113.9"]


async def test_a_websocket_goes_through_and_a_change_of_relays_leaves_it_alone(scene: Scene) -> None:
    first, name = await scene.connect()
    assert name == "relay 1"
    await asyncio.to_thread(
        scene.edge.route, token_services=[scene.ports["token service"]], relays=[scene.ports["relay 2"]]
    )
    second, name = await scene.connect()
    assert name == "relay 2"
    for websocket in (first, second):
        await websocket.send_str("still there?")
        assert await websocket.receive_str() == "still there?"
        await websocket.close()


async def test_a_cut_ends_connections_without_a_goodbye_and_new_ones_are_served(scene: Scene) -> None:
    websocket, _ = await scene.connect()
    await asyncio.to_thread(scene.edge.cut)
    message = await websocket.receive(timeout=5)
    assert message.type in (WSMsgType.CLOSED, WSMsgType.CLOSE, WSMsgType.ERROR)
    assert websocket.close_code in (None, 1006)
    again, _ = await scene.connect()
    await again.close()


@pytest.mark.parametrize("scene", [1], indirect=True)
async def test_a_silent_websocket_ends_after_the_idle_time(scene: Scene) -> None:
    websocket, _ = await scene.connect()
    message = await websocket.receive(timeout=10)
    assert message.type in (WSMsgType.CLOSED, WSMsgType.CLOSE, WSMsgType.ERROR)


async def test_nothing_is_left_when_it_stops(scene: Scene) -> None:
    await asyncio.to_thread(scene.edge.stop)
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", scene.edge.port), timeout=1):
        pass


def test_a_taken_port_is_named_with_nginxs_reason(tmp_path: Path) -> None:
    certificate = ThrowAwayAuthority(tmp_path).issue()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        edge = Edge(port, certificate=certificate, front_door_id=FRONT_DOOR_ID, token_services=[1], relays=[1])
        with pytest.raises(EdgeWillNotStart, match=rf"(?s)port {port}.*Address already in use"):
            edge.start()


async def test_the_certificate_is_the_one_given(scene: Scene) -> None:
    async with ClientSession() as stranger:
        with pytest.raises(ClientConnectorCertificateError):
            await stranger.get(scene.edge.url)
