"""The operator API: live sessions, orders, blocks, and the counts behind the operator page. Each act is audited."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Final

import msgspec
import structlog
from aiohttp import hdrs, web
from pydantic import ValidationError

from service_kit.errors import Refusal
from service_kit.live_entries import LiveEntries, LiveEntry
from service_kit.redis_client import Pseudonyms, RedisUnavailable
from service_kit.revocation import Kind, Revocations, Target
from service_kit.tally import Tally
from service_kit.web import REQUEST_ID, Handler, read_json
from token_service.operators.keys import OperatorKey, identify_operator
from token_service.operators.requests import MAX_BLOCK_SECONDS, PSEUDONYM, SESSION_ID, TOKEN_ID, BlockRequest

SHOWN_MINUTES: Final = 60
_RETRY_SECONDS: Final = 1
_LOOKS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

OPERATOR: Final = web.RequestKey("operator", OperatorKey)


@dataclass(frozen=True, slots=True)
class Who:
    """A subject or tenant as an operator named it: the target of orders, and what to call it."""

    target: Target
    name: str


@dataclass(frozen=True, slots=True)
class Operators:
    """The routes under ``/v1/operator/``."""

    entries: LiveEntries
    revocations: Revocations
    tally: Tally
    pseudonyms: Pseudonyms

    def add_routes(self, app: web.Application) -> None:
        """Serve them."""
        router = app.router
        router.add_get("/v1/operator/sessions", self.list_sessions)
        router.add_delete("/v1/operator/sessions", self.end_sessions)
        router.add_delete("/v1/operator/sessions/{id}", self.end_session)
        router.add_delete("/v1/operator/tokens/{id}", self.revoke_token)
        router.add_get("/v1/operator/blocks", self.list_blocks)
        router.add_put("/v1/operator/blocks", self.block)
        router.add_delete("/v1/operator/blocks", self.unblock)
        router.add_get("/v1/operator/summary", self.summary)

    async def list_sessions(self, request: web.Request) -> web.Response:
        """``GET sessions``: what is live, all of it or of one subject or tenant."""
        sessions = await self._live(self._who_if_anybody(request))
        return web.json_response({"sessions": [msgspec.to_builtins(entry) for entry in sessions]})

    async def end_session(self, request: web.Request) -> web.Response:
        """``DELETE sessions/{id}``: end one; whether it was live as far as was known."""
        session_id = _checked(request.match_info["id"], SESSION_ID, "id")
        was_live = any(entry.id == session_id for entry in await self.entries.list())
        await self.revocations.end(Target(Kind.SESSION, session_id))
        _audit(request, "admin.end", kind=Kind.SESSION, id=session_id)
        return web.json_response({"ended": [session_id] if was_live else []})

    async def end_sessions(self, request: web.Request) -> web.Response:
        """``DELETE sessions?subject=`` or ``?tenant=``: end what it has; which sessions those were."""
        who = self._who(request)
        sessions = await self._live(who)
        await self.revocations.end(who.target)
        _audit(request, "admin.end", kind=who.target.kind, id=who.target.id)
        return web.json_response({"ended": [entry.id for entry in sessions]})

    async def revoke_token(self, request: web.Request) -> web.Response:
        """``DELETE tokens/{token_id}``: it redeems nothing any more, and its session ends."""
        token_id = _checked(request.match_info["id"], TOKEN_ID, "id")
        had_record = await self.revocations.revoke_token(token_id)
        _audit(request, "admin.revoke", token_id=token_id)
        return web.json_response({"token_id": token_id, "was_known": had_record})

    async def list_blocks(self, _request: web.Request) -> web.Response:
        """``GET blocks``: who is blocked, and until when."""
        blocks = await self.revocations.blocks()
        shown = [
            {"kind": block.target.kind, "id": block.target.id, "name": block.name, "until": block.until}
            for block in blocks
        ]
        return web.json_response({"blocks": shown})

    async def block(self, request: web.Request) -> web.Response:
        """``PUT blocks?subject=`` or ``?tenant=`` with ``{"seconds": n}``: no token and no session for so long."""
        who = self._who(request)
        try:
            seconds = BlockRequest.model_validate(await read_json(request)).seconds
        except ValidationError as error:
            message = f'Send {{"seconds": n}} with n from 1 to {MAX_BLOCK_SECONDS}.'
            raise Refusal("invalid_request", message=message, param="seconds") from error
        await self.revocations.block(who.target, seconds, who.name)
        _audit(request, "admin.block", kind=who.target.kind, id=who.target.id, seconds=seconds)
        return web.json_response({"kind": who.target.kind, "id": who.target.id, "seconds": seconds})

    async def unblock(self, request: web.Request) -> web.Response:
        """``DELETE blocks?subject=`` or ``?tenant=``: lift a block; whether there was one."""
        who = self._who(request)
        was_blocked = await self.revocations.unblock(who.target)
        _audit(request, "admin.unblock", kind=who.target.kind, id=who.target.id)
        return web.json_response({"kind": who.target.kind, "id": who.target.id, "was_blocked": was_blocked})

    async def summary(self, _request: web.Request) -> web.Response:
        """``GET summary``: what was counted in each of the last 60 minutes, by all processes."""
        minutes = await self.tally.read(SHOWN_MINUTES)
        return web.json_response({"minutes": [asdict(minute) for minute in minutes]})

    async def _live(self, who: Who | None) -> list[LiveEntry]:
        sessions = await self.entries.list()
        if who is None:
            return sessions
        if who.target.kind is Kind.SUBJECT:
            return [entry for entry in sessions if entry.subject == who.target.id]
        return [entry for entry in sessions if entry.tenant == who.name]

    def _who(self, request: web.Request) -> Who:
        """Whom the query names. Raises Refusal."""
        who = self._who_if_anybody(request)
        if who is None:
            raise Refusal("invalid_request", message="Name a subject or a tenant in the query.")
        return who

    def _who_if_anybody(self, request: web.Request) -> Who | None:
        """``subject`` is the pseudonym of the list; the plain name when ``tenant`` is beside it. Raises Refusal."""
        unknown = set(request.query) - {"subject", "tenant"}
        if unknown:
            raise Refusal("unsupported_parameter", param=sorted(unknown)[0])
        subject, tenant = _said_once(request, "subject"), _said_once(request, "tenant")
        if subject and tenant:
            return Who(Target(Kind.SUBJECT, self.pseudonyms.of(tenant, subject)), "subject")
        if subject:
            return Who(Target(Kind.SUBJECT, _checked(subject, PSEUDONYM, "subject")), "subject")
        if tenant:
            return Who(Target(Kind.TENANT, self.pseudonyms.of(tenant, "")), tenant)
        return None


def operators_only(keys: Callable[[], tuple[OperatorKey, ...]]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that lets nobody but operators into ``/v1/operator/``, and says 503 when Redis does not answer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/v1/operator/"):
            return await handler(request)
        try:
            request[OPERATOR] = identify_operator(request.headers.getall(hdrs.AUTHORIZATION, []), keys())
        except Refusal as refusal:
            _note(request, "admin.denied", code=refusal.code)
            raise
        try:
            return await handler(request)
        except RedisUnavailable as error:
            if request.method not in _LOOKS:  # it may have been carried out all the same
                _note(request, "admin.failed", code="unavailable", operator=request[OPERATOR].name)
            raise Refusal("unavailable", retry_after=_RETRY_SECONDS) from error

    return middleware


def _said_once(request: web.Request, name: str) -> str | None:
    """A value of the query. Raises Refusal for an empty one: left out, it would widen what the order is for."""
    values = request.query.getall(name, [])
    if len(values) > 1 or "" in values:
        raise Refusal("invalid_request", param=name, message=f"{name}: name one, or leave it out.")
    return values[0] if values else None


def _checked(text: str, pattern: re.Pattern[str], param: str) -> str:
    if not pattern.fullmatch(text):
        raise Refusal("invalid_request", param=param)
    return text


def _note(request: web.Request, event: str, **fields: object) -> None:
    """A line about a request that is no act: what was asked for, in our words, since anybody can ask for anything."""
    resource = request.match_info.route.resource
    structlog.get_logger().warning(
        event,
        request_id=request[REQUEST_ID],
        method=request.method,
        route=resource.canonical if resource else None,
        **fields,
    )


def _audit(request: web.Request, event: str, **fields: object) -> None:
    operator = request[OPERATOR].name
    structlog.get_logger().warning(event, operator=operator, request_id=request[REQUEST_ID], **fields)
