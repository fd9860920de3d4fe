"""What of a refusal can be tested without its neighbours."""

from unittest.mock import create_autospec

from aiohttp.test_utils import make_mocked_request

from relay import refusals
from relay.channel import WebSockets
from relay.upgrade import Serving, Upgrade
from service_kit.errors import Refusal
from service_kit.web import REQUEST_ID


async def test_a_client_that_is_gone_before_its_refusal_is_no_error_of_ours() -> None:
    websockets = create_autospec(WebSockets)
    websockets.accept.side_effect = ConnectionResetError
    request = make_mocked_request("GET", "/v1/realtime")
    request[REQUEST_ID] = "req_1"
    upgrade = Upgrade(request)
    refusing = refusals.refuse_by_close(upgrade, Refusal("token_used"), "realtime", websockets)
    assert (await Serving().serve(upgrade, refusing)).status == 200
