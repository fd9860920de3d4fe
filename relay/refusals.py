"""Saying no to a connect: one audit line, one count, and the answer in the form that the client can read."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from relay.channel import WebSockets
from relay.connect_rates import TooManyConnects
from relay.endings import NORMAL
from relay.events import encode, new_event_id
from relay.live_sessions import LiveSessions
from relay.upgrade import Upgrade
from service_kit.edge import ADDRESS_PSEUDONYM
from service_kit.errors import Refusal
from service_kit.tally import Tally


@dataclass(frozen=True, slots=True)
class Refusals:
    """How this process says no."""

    websockets: WebSockets
    live: LiveSessions
    tally: Tally

    async def answer(
        self,
        upgrade: Upgrade,
        refusal: Refusal,
        *,
        by_close: bool,
        subprotocol: str | None = None,
        token_id: str | None = None,
    ) -> None:
        """Answer by a WebSocket, where the client can read nothing else. Raises the refusal where HTTP tells it.

        ``token_id`` is of a token that was proven genuine.
        """
        _note(upgrade, refusal, token_id)
        if not by_close:
            raise refusal
        with self.live.goodbye() as may_tell:
            if not may_tell:
                raise refusal
            self.tally.refused(refusal.code)
            await refuse_by_close(upgrade, refusal, subprotocol, self.websockets)


async def refuse_by_close(upgrade: Upgrade, refusal: Refusal, subprotocol: str | None, websockets: WebSockets) -> None:
    """Say no to a client that cannot read a failed upgrade: upgrade, one ``error`` event, close."""
    try:
        channel = await upgrade.accept(websockets, subprotocol=subprotocol, max_message_bytes=1024)
    except ConnectionError:
        return
    async with channel:
        channel.send(encode(refusal.event(upgrade.request_id, new_event_id())))
        await channel.close(refusal.close or NORMAL, refusal.code)


def _note(upgrade: Upgrade, refusal: Refusal, token_id: str | None) -> None:
    """Write the audit line; of an address that connects too often only one per minute, or it would fill the log."""
    log = structlog.get_logger().bind(request_id=upgrade.request_id, address=upgrade.request[ADDRESS_PSEUDONYM])
    if token_id is not None:
        log = log.bind(token_id=token_id)
    if not isinstance(refusal, TooManyConnects):
        log.info("redeem.denied", code=refusal.code, param=refusal.param)
    elif refusal.is_first:
        log.warning("redeem.limited", code=refusal.code, reason="address")
