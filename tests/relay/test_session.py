"""What of a session can be tested without its neighbours."""

import pytest
from aiohttp.test_utils import make_mocked_request

from relay import session
from service_kit.errors import Refusal
from service_kit.web import REQUEST_ID


async def test_a_client_that_is_gone_before_its_refusal_is_no_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*_: object, **__: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(session, "accept", gone)
    request = make_mocked_request("GET", "/v1/realtime")
    request[REQUEST_ID] = "req_1"
    answer = await session.refuse_by_close(request, Refusal("token_used"), "realtime")
    assert answer.status == 200
