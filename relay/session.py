"""A session's life as one coroutine: redeem → lease → upgrade → dial → lock → wire → first ending → account → close.

Where the coroutine stands is the session's state. Frames do not pass through it (see :mod:`relay.wire`).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from relay.admission import Ticket
from relay.beta_channel import BetaChannel
from relay.channel import ChannelEnd, How, WebSockets
from relay.clocks import Clocks
from relay.connect_rates import ConnectRates
from relay.endings import Over, over_by, over_by_browser, over_by_model, without_token
from relay.events import new_event_id
from relay.interruption import Interrupted, unless
from relay.leases import Leases
from relay.live_sessions import LiveSessions
from relay.locking import NotLocked, confirm_lock
from relay.meter import Meter
from relay.receipt import Particulars, ended_event
from relay.redemption import Redemption, Redemptions, TokenUsed
from relay.refusals import Refusals
from relay.replay import ReplayAlarm
from relay.session_telemetry import SessionTelemetry
from relay.spending import Spending, usage_of
from relay.upgrade import Upgrade
from relay.upstreams import ModelEnd, Upstreams
from relay.wire import Wire
from service_kit.edge import ADDRESS, ADDRESS_PSEUDONYM
from service_kit.errors import Ending, Refusal
from service_kit.live_entries import LiveEntries
from service_kit.log import where
from service_kit.prices import PriceList
from service_kit.quotas import Quotas, Usage
from service_kit.redis_asking import Question
from service_kit.redis_client import Pseudonyms, RedisUnavailable
from service_kit.revocation import Identity, Revocations, Why, read_markers
from service_kit.tally import Tally
from service_kit.telemetry import Telemetry
from service_kit.telemetry.trace_context import TRACEPARENT

_ENDING: Final = {
    Why.REVOKED: (Ending.REVOKED, "session_revoked"),
    Why.REPLAYED: (Ending.REPLAYED, "session_revoked"),
    Why.BLOCKED: (Ending.REVOKED, "blocked"),
}
_REVOKED_BEFORE_LIVE: Final = {Why.REVOKED: "token_revoked", Why.REPLAYED: "token_revoked", Why.BLOCKED: "blocked"}


@dataclass(frozen=True, slots=True)
class Relay:
    """What every session of the process shares."""

    websockets: WebSockets
    connects: ConnectRates
    refusals: Refusals
    upstreams: Upstreams
    redemptions: Redemptions
    replay_alarm: ReplayAlarm
    revocations: Revocations
    leases: Leases
    quotas: Quotas
    live: LiveSessions
    entries: LiveEntries
    tally: Tally
    telemetry: Telemetry
    pseudonyms: Pseudonyms
    prices: PriceList
    replica: str


async def run_session(upgrade: Upgrade, ticket: Ticket, relay: Relay) -> None:
    """Carry one admitted connection through its session. Raises Refusal while the client can read an HTTP status."""
    session_id = "sess_" + secrets.token_hex(12)
    traceparents = upgrade.request.headers.getall(TRACEPARENT, [])
    telemetry = SessionTelemetry(relay.telemetry, traceparents, upgrade.request_id)
    try:
        relay.connects.count_genuine(upgrade.request[ADDRESS_PSEUDONYM], asyncio.get_running_loop().time())
        with relay.live.place():
            redemption = await relay.redemptions.redeem(ticket, session_id, upgrade.request[ADDRESS])
            telemetry.redeemed(redemption.claims, session_id, ticket.keys.token_id)
            session = Session(upgrade, ticket, relay, redemption, session_id, telemetry)
            # Listed before it looks for its markers, so that no order can fall between the two.
            with relay.live.listed(session):
                try:
                    session.check_dialect()
                    await session.spending.check()
                    lease = relay.leases.hold(
                        redemption.claims, session_id, session.renewed, along=session.markers, beside=session.reports
                    )
                    async with lease as (lost, marks):
                        session.check_not_revoked(marks)
                        lost.add_done_callback(lambda _: session.end(Ending.LEASE_LOST))
                        await session.run()
                except Refusal as refusal:  # no beta here, an order, no quota left, no lease, or Redis is away
                    if not await session.give_back():
                        without_token(refusal)
                    raise
                await session.unlist()  # no renewal can list it again
    except Refusal as refusal:
        telemetry.refused(refusal)
        token_id = ticket.keys.token_id
        if isinstance(refusal, TokenUsed):
            log = structlog.get_logger().bind(
                request_id=upgrade.request_id, token_id=token_id, address=upgrade.request[ADDRESS_PSEUDONYM]
            )
            relay.replay_alarm.consider(refusal.replay, token_id, log)
        await relay.refusals.answer(
            upgrade, refusal, by_close=ticket.by_subprotocol, subprotocol=ticket.subprotocol, token_id=token_id
        )


class Session:
    """One redeemed token's session; it owns claims, both ends, meter and ending."""

    def __init__(
        self,
        upgrade: Upgrade,
        ticket: Ticket,
        relay: Relay,
        redemption: Redemption,
        session_id: str,
        telemetry: SessionTelemetry,
    ) -> None:
        self._telemetry = telemetry
        claims = redemption.claims
        self._upgrade = upgrade
        self._ticket = ticket
        self._relay = relay
        self._redemption = redemption
        self._claims = claims
        self._id = session_id
        self._loop = asyncio.get_running_loop()
        self._meter = Meter(relay.prices.of_responses(claims.lock.session), relay.prices.transcription)
        self._over: asyncio.Future[Over] = self._loop.create_future()
        self._wire: Wire | None = None
        self._provider: str | None = None  # who has the session; nobody until a model greets
        self._is_live = False
        self._was_ordered = False
        self._live_since = 0.0
        self._ends_at = 0.0  # known once it is live
        self._subject = relay.pseudonyms.of(claims.tenant, claims.subject)
        self.identity = Identity(
            session_id=session_id,
            token_id=ticket.keys.token_id,
            subject=self._subject,
            tenant=relay.pseudonyms.of(claims.tenant, ""),
            minted_ms=redemption.minted_ms,
        )
        self.spending = Spending(relay.quotas, self.identity, claims)
        self._particulars = Particulars(session_id, ticket.keys.token_id, self._subject, claims, time.time())
        self._log = structlog.get_logger().bind(
            session_id=session_id,
            request_id=upgrade.request_id,
            token_id=ticket.keys.token_id,
            subject=self._subject,
            tenant=claims.tenant,
            profile=claims.profile,
            trace_id=telemetry.trace_id,
        )

    def markers(self) -> list[Question]:
        """What asks for the markers against the session."""
        return self._relay.revocations.questions(self.identity)

    def check_not_revoked(self, marks: list[Any]) -> None:
        """Look at the ``markers`` against the session before anything is opened for it. Raises Refusal."""
        why = read_markers(self.identity, marks)
        if why is not None:
            self._was_ordered = True
            raise Refusal(_REVOKED_BEFORE_LIVE[why])

    def check_dialect(self) -> None:
        """Raises Refusal if the browser speaks the beta protocol and its profile wants none that do."""
        if self._ticket.speaks_beta and not self._claims.lock.beta_clients:
            raise Refusal("beta_api_shape_disabled")

    async def give_back(self) -> bool:
        """Make the token redeemable again; False if it may not be: after an order, or once the session was live.

        Whatever else ended it first. Markers are looked for once more, as an order may be on its way: one for a session
        would not meet the next one that this token opens.
        """
        if self._is_live or self._was_ordered:
            return False
        try:
            self._obey(await self._relay.revocations.find(self.identity))
        except RedisUnavailable:
            return False
        return not self._was_ordered and await self._redemption.give_back()

    def renewed(self, marks: list[Any]) -> None:
        """The lease was renewed: an order may have gone unheard. ``marks`` answer ``markers``."""
        self._obey(read_markers(self.identity, marks))
        self._telemetry.used_so_far(self._meter)

    def reports(self) -> list[Awaitable[None]]:
        """What tells quotas and operators what was used so far. Each raises RedisUnavailable."""
        return [self._spend(), self._list()] if self._is_live else []

    async def _spend(self) -> None:
        if await self.spending.add(self._used()):
            self.end(Ending.QUOTA)

    def _obey(self, why: Why | None) -> None:
        if why is not None:
            self.revoke(why)

    async def unlist(self) -> None:
        """Take the session off the operators' list."""
        if self._is_live:
            with contextlib.suppress(RedisUnavailable):
                await self._relay.entries.remove(self._id)

    async def _list(self) -> None:
        """Let operators see the session, as long as there is one. Raises RedisUnavailable."""
        if self._is_live and not self._over.done():
            usage = self._meter.usage()
            entry = self._particulars.entry(usage, ends_at=self._ends_at, replica=self._relay.replica)
            await self._relay.entries.put(entry)

    async def run(self) -> None:
        """Live from the upgrade to the close."""
        self._log.info("redeem.ok")
        try:
            browser = await self._upgrade.accept(
                self._relay.websockets,
                subprotocol=self._ticket.subprotocol,
                max_message_bytes=self._claims.limits.max_message_bytes,
            )
        except ConnectionError:
            await self.give_back()
            self._account(over_by_browser(ChannelEnd(How.VANISHED)))
            return
        self._telemetry.upgraded()
        wire = self._wire = Wire(
            BetaChannel(browser) if self._ticket.speaks_beta else browser,
            self._claims,
            self._meter,
            self.end,
            request_id=self._upgrade.request_id,
            speaks_airlock=self._ticket.speaks_airlock,
            telemetry=self._relay.telemetry,
        )
        browser.ended.add_done_callback(self._browser_ended)
        async with browser, ModelEnd() as model_end:
            if self._relay.websockets.hand_over:
                self._upgrade.release()
            over = await self._until_over(wire, model_end)
            given_back = await self.give_back()
            if over.told and not given_back:
                without_token(over.told)
            receipt = self._account(over)
            if over.told:
                wire.refuse(over.told)
            wire.tell(ended_event(receipt))
            # Redis is told without waiting for anybody's goodbye: the token may come again at once.
            await asyncio.gather(
                browser.close(over.close_code, over.code or ""), model_end.close(), self._note_end(), self._spend_last()
            )

    async def _note_end(self) -> None:
        if self._is_live:
            with contextlib.suppress(RedisUnavailable):
                await self._redemption.end()

    async def _spend_last(self) -> None:
        if self._is_live:
            with contextlib.suppress(RedisUnavailable):
                await self.spending.add(self._used(), is_over=True)

    def _used(self) -> Usage:
        return usage_of(self._meter, self._loop.time() - self._live_since)

    async def _until_over(self, wire: Wire, model_end: ModelEnd) -> Over:
        """Converse until the first ending, whatever it is."""
        try:
            clocks = await self._begin(wire, model_end)
            try:
                await self._over
                wire.cancel_responses()
            finally:
                clocks.stop()
        except Interrupted:
            pass
        except Refusal as refusal:
            self._finish(over_by(Ending.MODEL_FAILED, refusal))
        except Exception as error:  # noqa: BLE001 - a bug ends this session, with a receipt, and no other
            self._fail(error)
        return self._over.result()

    async def _begin(self, wire: Wire, model_end: ModelEnd) -> Clocks:
        """Dial, lock, wire. Raises Interrupted if an ending comes before that, Refusal by the dial.

        What it takes, such as the queue of the model's first events, is not kept for as long as they converse.
        """
        self._telemetry.dialling()
        dialling = self._relay.upstreams.dial(
            self._claims.lock, self._subject, self._log, model_end, on_flood=lambda: self.end(Ending.NOT_LOCKED)
        )
        greeted = await unless(self._over, dialling)
        model, self._provider = greeted.model, greeted.provider
        model.ended.add_done_callback(self._model_ended)
        locking = confirm_lock(model, self._claims.lock, greeted.session, greeted.events, greeted.deployments)
        try:
            session = await unless(self._over, locking)
        except NotLocked as problem:
            self._log.error("upstream.failed", provider=self._provider, error=problem.why, param=problem.param)
            self.end(Ending.NOT_LOCKED)
            raise Interrupted from problem
        self._telemetry.ready(self._provider)
        self._live_since = self._loop.time()
        self._ends_at = time.time() + self._claims.limits.max_session_seconds
        self._is_live = True  # from here on the token is never given back, whatever Redis answers
        await asyncio.gather(self._go_live(), self._list_first())  # on one way
        if self._over.done():
            raise Interrupted
        self._relay.tally.count("started")
        self._log.info("session.start", model=self._claims.lock.model, provider=self._provider)
        wire.connect(model, session, greeted.events, greeted.deployments, self._started_event())
        limits = self._claims.limits
        return Clocks(self, max_session_seconds=limits.max_session_seconds, idle_seconds=limits.idle_seconds)

    async def _go_live(self) -> None:
        """Spend the token for good, and look for markers again. Where Redis does not answer, the session goes on."""
        with contextlib.suppress(RedisUnavailable):
            is_ours, marks = await self._redemption.go_live(*self.markers())
            if not is_ours:
                self.revoke(Why.REVOKED)
            self._obey(read_markers(self.identity, marks))

    async def _list_first(self) -> None:
        with contextlib.suppress(RedisUnavailable):
            await self._list()

    # What its clocks need of a session.

    def quiet_since(self) -> float:
        """The event loop's time of the last activity."""
        return self._wire.last_activity if self._wire else self._live_since

    def warn(self, seconds_left: int) -> None:
        """Tell the browser, if it understands, that the time limit is near."""
        if self._wire is not None:
            self._wire.tell(
                {
                    "type": "airlock.session.expiring",
                    "event_id": new_event_id(),
                    "seconds_left": seconds_left,
                    "ends_at": self._ends_at,
                }
            )

    def time_is_up(self) -> None:
        """End the session: it has lasted as long as it may."""
        self.end(Ending.TIME_LIMIT)

    def is_idle(self) -> None:
        """End the session: nothing has happened for too long."""
        self.end(Ending.IDLE)

    def _started_event(self) -> dict[str, object]:
        return {
            "type": "airlock.session.started",
            "event_id": new_event_id(),
            "session_id": self._id,
            "ends_at": self._ends_at,
            "server_time": time.time(),
            "max_session_seconds": self._claims.limits.max_session_seconds,
            "provider": self._provider,
            "stores": "nothing",
        }

    def end(self, ending: Ending, told: Refusal | None = None) -> None:
        """End the session; only the first ending counts. ``told`` replaces what the ending's row says."""
        self._finish(over_by(ending, told))

    def revoke(self, why: Why) -> None:
        """End the session because somebody outside wants it so."""
        self._was_ordered = True
        ending, code = _ENDING[why]
        self.end(ending, Refusal(code))

    def announce_drain(self, ends_at: float) -> None:
        """Tell the browser, if it understands, that the process stops at ``ends_at`` (Unix seconds)."""
        if self._wire is not None and self._is_live:
            self._wire.tell({"type": "airlock.session.draining", "event_id": new_event_id(), "ends_at": ends_at})

    def drain(self) -> None:
        """End the session because the process stops."""
        self.end(Ending.DRAINING)

    def time_frames(self) -> None:
        """Measure how long the next frame each way is in this process."""
        if self._wire is not None:
            self._wire.time_frames()

    def _finish(self, over: Over) -> None:
        """Note the first ending, and let nothing more through from that moment."""
        if not self._over.done():
            self._over.set_result(over)
            if self._wire is not None:
                self._wire.disconnect()

    def _fail(self, error: BaseException) -> None:
        self._log.error("internal_error", error=type(error).__name__, at=where(error))
        self.end(Ending.INTERNAL_ERROR)

    def _browser_ended(self, ended: asyncio.Future[ChannelEnd]) -> None:
        if (error := ended.exception()) is not None:
            self._fail(error)
        else:
            self._finish(over_by_browser(ended.result()))

    def _model_ended(self, ended: asyncio.Future[ChannelEnd]) -> None:
        if (error := ended.exception()) is not None:
            self._fail(error)
        else:
            self._finish(over_by_model(ended.result(), is_live=self._is_live))

    def _account(self, over: Over) -> dict[str, object]:
        """Write the receipt, once, and return it."""
        receipt = self._particulars.receipt(self._meter.usage(), over, provider=self._provider, ended_at=time.time())
        self._log.info("session.end", **receipt, reference_id=self._claims.reference_id)
        self._relay.tally.count(f"ended:{over.ending}")
        self._relay.tally.spend(self._meter.cost_usd)
        self._telemetry.over(over, self._meter, receipt)
        return receipt
