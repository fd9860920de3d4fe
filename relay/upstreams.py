"""The ordered list of upstreams: whichever greets first has the session, and the browser sees nothing of the others.

Which is tried, and for how long, is decided in :mod:`relay.failover`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from relay.channel import Channel, OpenChannel
from relay.deployments import Deployments
from relay.failover import DIALS_SECONDS, Refused, patience, refusal
from relay.interruption import Interrupted, unless
from relay.locking import greeting
from relay.upstream import Upstream
from relay.upstream_credentials import Headers, NoCredential
from service_kit.session_fields import Session
from service_kit.session_token import Lock
from service_kit.telemetry import Telemetry

MAX_EVENTS_BEFORE_LOCK: Final = 64
"""A model greets and confirms; one that talks on before that is not one we know."""
_NORMAL: Final = 1000


class ModelEnd:
    """The model's end of a session from when one is dialled; use as ``async with``, at whose end it is cut."""

    __slots__ = ("_channel",)

    def __init__(self) -> None:
        self._channel: OpenChannel | None = None

    async def begin(self, channel: OpenChannel) -> None:
        """Read from this one."""
        self._channel = channel
        await channel.__aenter__()

    async def cut(self) -> None:
        """Let go of it without a goodbye: waiting for its answer would hold up whoever is dialled next."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.__aexit__(None, None, None)

    async def close(self) -> None:
        """Say goodbye, if there is anybody to say it to."""
        if self._channel is not None:
            await self._channel.close(_NORMAL, "")

    async def __aenter__(self) -> ModelEnd:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()


@dataclass(frozen=True, slots=True)
class Greeted:
    """A model that has greeted.

    Attributes:
        model: its end of the session.
        provider: the name told to clients.
        session: the session as it is, before the lock.
        events: what it sends from now on, until its ``on_frame`` is replaced.
        deployments: how it calls models.
    """

    model: Channel
    provider: str
    session: Session
    events: asyncio.Queue[bytes]
    deployments: Deployments


class Upstreams:
    """Where the relay finds its models, in the order in which they are tried."""

    def __init__(self, upstreams: Sequence[Upstream], telemetry: Telemetry) -> None:
        self._upstreams = upstreams
        self._telemetry = telemetry

    async def dial(
        self,
        lock: Lock,
        safety_identifier: str,
        log: FilteringBoundLogger,
        model_end: ModelEnd,
        *,
        on_flood: Callable[[], None],
    ) -> Greeted:
        """The first model that greets, whose channel the ``model_end`` has; the order is tried once.

        ``on_flood`` is called when a model sends more than is waited for. Raises Refusal: ``upstream_busy``,
        ``upstream_unavailable``.
        """
        having = [upstream for upstream in self._upstreams if upstream.has(lock.model)]
        if not having:
            log.error("upstream.failed", model=lock.model, error="no upstream has this model")
        deadline = asyncio.get_running_loop().time() + DIALS_SECONDS
        dials = _Dials(lock, safety_identifier, log, model_end, on_flood, deadline)
        refused: list[Refused] = []
        for number, upstream in enumerate(having, start=1):
            try:
                return await dials.of(upstream, others_left=len(having) - number)
            except Refused as reason:
                refused.append(reason)
                self._telemetry.count("airlock_upstream_failures_total", reason="auth" if reason.bad_key else "other")
                _tell(log, upstream, reason)
        raise refusal(refused)


@dataclass(frozen=True, slots=True)
class _Dials:
    """What the dials of one session have in common."""

    lock: Lock
    safety_identifier: str
    log: FilteringBoundLogger
    model_end: ModelEnd
    on_flood: Callable[[], None]
    deadline: float

    async def of(self, upstream: Upstream, *, others_left: int) -> Greeted:
        """The upstream's model once it has greeted. Raises Refused.

        It is dialled once, and once more where its credential turns out to be old and there is a new one.
        """
        async with self._patience(others_left):
            authorization = await _authorization(upstream)
        try:
            return await self._greeted(upstream, authorization, others_left)
        except Refused as reason:
            if not reason.may_be_old_key or not await self._renewed(upstream, authorization, others_left):
                raise
        self.log.info("upstream.key_renewed", upstream=upstream.name, provider=upstream.provider)
        return await self._greeted(upstream, await _authorization(upstream), others_left)

    @contextlib.asynccontextmanager
    async def _patience(self, others_left: int) -> AsyncIterator[None]:
        seconds = patience(self.deadline - asyncio.get_running_loop().time(), others_left=others_left)
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise Refused("no answer in time") from error

    async def _renewed(self, upstream: Upstream, authorization: Headers, others_left: int) -> bool:
        """Whether the credential is another now; if that cannot be told in time, it is the old one."""
        try:
            async with self._patience(others_left):
                return await upstream.credential.renewed(authorization)
        except (NoCredential, Refused):
            return False

    async def _greeted(self, upstream: Upstream, authorization: Headers, others_left: int) -> Greeted:
        events: asyncio.Queue[bytes] = asyncio.Queue(MAX_EVENTS_BEFORE_LOCK)

        def wait(frame: bytes) -> None:
            if events.full():
                self.on_flood()
            else:
                events.put_nowait(frame)

        try:
            async with self._patience(others_left):
                model = await upstream.dial(self.lock, self.safety_identifier, authorization, wait)
                await self.model_end.begin(model)
                session = await unless(model.ended, greeting(events))
        except BaseException as error:
            await self.model_end.cut()
            if isinstance(error, Interrupted):
                raise Refused("closed before session.created") from error
            raise
        return Greeted(model, upstream.provider, session, events, upstream.deployments())


async def _authorization(upstream: Upstream) -> Headers:
    try:
        return await upstream.credential.headers()
    except NoCredential as error:
        raise Refused("no credential", bad_key=True) from error


def _tell(log: FilteringBoundLogger, upstream: Upstream, reason: Refused) -> None:
    """Log why an upstream was passed over; a key that is not accepted raises an alert."""
    if reason.bad_key:
        log.error("upstream.auth_failed", upstream=upstream.name, provider=upstream.provider, error=reason.why)
    else:
        log.warning("upstream.failed", upstream=upstream.name, provider=upstream.provider, error=reason.why)
