"""What the list of upstreams does without a network; with one: ``tests/end_to_end/test_upstreams.py``."""

from unittest.mock import create_autospec

import pytest
import structlog
from structlog.testing import capture_logs

from relay.channel import WebSockets
from relay.upstream import Upstream
from relay.upstream_credentials import Credential
from relay.upstreams import Upstreams
from service_kit.errors import Refusal
from service_kit.upstreams import UpstreamSettings
from tests.relay.building import make_lock

SWEDEN = UpstreamSettings(
    name="sweden",
    kind="azure",
    base_url="https://voice-se.openai.azure.com/openai/v1",
    auth="secret:sweden-key",
    models={"gpt-realtime": "voice"},
)


async def test_a_model_that_no_upstream_has_is_the_operator_s_mistake() -> None:
    upstreams = Upstreams([Upstream(SWEDEN, create_autospec(Credential), create_autospec(WebSockets))])
    with capture_logs() as logs, pytest.raises(Refusal) as refused:
        async with upstreams.dial(make_lock(), "someone", structlog.get_logger(), on_flood=pytest.fail):
            pass
    assert refused.value.code == "upstream_unavailable"
    assert logs == [
        {
            "event": "upstream.failed",
            "log_level": "error",
            "model": "gpt-realtime-2.1",
            "error": "no upstream has this model",
        }
    ]
