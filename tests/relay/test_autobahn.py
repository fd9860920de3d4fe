"""The Autobahn test suite, in its Python 3 port, against an echo built of our channel on picows.

Left out are compression, which is never negotiated, and the measurements of speed.
"""

import uvloop
from aiohttp import web
from kosoku import FailureError, run_fuzzingclient
from kosoku._kosoku import CaseResult

from relay.picows_websockets import PicowsWebSockets
from service_kit.tls import client_context
from tests.relay.test_channels import serving

BINARY = ["1.2.*", "9.2.*", "9.4.*", "9.6.*", "9.8.*"]
"""Cases that want binary messages echoed: those are refused with 1003."""
NON_STRICT = {
    # A message that arrives with what breaks the protocol after it is not heard: picows looks one frame ahead.
    *("4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5"),
    # UTF-8 is looked at when a message is whole.
    *("6.4.1", "6.4.2", "6.4.3", "6.4.4"),
}
MAX_MESSAGE_BYTES = 32 * 1024 * 1024


async def run() -> list[CaseResult]:
    websockets = PicowsWebSockets("test", client_context(None))

    async def echo(request: web.Request) -> web.StreamResponse:
        response, channel = await websockets.accept(request, subprotocol=None, max_message_bytes=MAX_MESSAGE_BYTES)
        channel.on_frame = channel.send
        async with channel:
            end = await channel.ended
            await channel.close(end.code or 1000, "")
        return response

    async with serving(echo) as url:
        try:
            return await run_fuzzingclient(url, exclude_cases=["12.*", "13.*", *BINARY], concurrency=4)
        except FailureError as failed:
            return list(failed.results)


def test_autobahn() -> None:
    results = uvloop.run(run())
    assert len(results) == 266
    assert [(case.case_id, case.result) for case in results if not case.passed] == []
    assert {case.case_id for case in results if case.behavior.value == "NON-STRICT"} <= NON_STRICT
