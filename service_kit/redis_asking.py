"""How Redis is asked: one question, one second, no silent retries, and one error for every way of not answering.

What stands here holds for a single server, for sentinels and for a cluster. We spend money on what Redis says, so a
question without an answer is a refusal (fail closed), and a command is never repeated: a redemption whose answer was
lost may have happened. When to ask at all is decided in :mod:`service_kit.breaker`.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar
from weakref import WeakSet

import structlog
from redis import exceptions
from redis.asyncio.client import PubSub

from service_kit.breaker import SLOW_SECONDS, Breaker, Verdict
from service_kit.redis_connections import TlsConnection
from service_kit.redis_pools import DEADLINE_SECONDS

COMPLAIN_SECONDS: Final = 10.0
"""No more than one ``redis.down`` in this time, however many questions fail."""
FAILURES: Final = (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError)
"""Every way in which redis-py says that there is no answer; what it raises for a whole cluster is no RedisError."""

T = TypeVar("T")
Command: TypeAlias = tuple[str | bytes | int, ...]


def _ignore(_seconds: float, _is_answered: bool) -> None:
    return


@dataclass(frozen=True, slots=True)
class Question:
    """One command about one key; ``in_full`` says the same to a server that does not know the script it names."""

    key: str
    command: Command
    in_full: Command | None = None


class RedisUnavailable(Exception):
    """Redis was not asked because it is slow, did not answer in time, or answered with an error."""


class Asking:
    """What our clients add to redis-py's: answers are awaited for at most a second, and nobody insists.

    Attributes:
        on_answer: called with how many seconds a way there and back took, and whether there was an answer; not for one
            never taken.
    """

    def __init__(self) -> None:
        self._breaker = Breaker()
        self._subscriptions: WeakSet[PubSub] = WeakSet()
        self._complained_at = -COMPLAIN_SECONDS
        self.on_answer: Callable[[float, bool], None] = _ignore

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Put one question, a command or a script; it is called once or not at all. Raises RedisUnavailable."""
        loop = asyncio.get_running_loop()
        verdict, number = self._breaker.ask(loop.time())
        if verdict is Verdict.REFUSE:
            raise RedisUnavailable("not asked")
        cancelled_before = _times_cancelled()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                if verdict is Verdict.PROBE_FIRST:
                    await self._probe()
                answer = await self._leaving_the_dead(question)
            self.on_answer(time.perf_counter() - began, True)
            return answer
        except FAILURES as error:
            if isinstance(error, (TimeoutError, exceptions.TimeoutError)):
                self.doubt()
            self._breaker.failed(number, loop.time())
            self.on_answer(time.perf_counter() - began, False)
            self.complain(type(error).__name__)
            raise RedisUnavailable(type(error).__name__) from error
        finally:
            self._breaker.done(number)
            if _times_cancelled() > cancelled_before:  # redis-py 8 on Python 3.11 swallows most cancellations
                raise asyncio.CancelledError

    async def ask_all(self, *questions: Question) -> list[Any]:
        """Ask several things on one way there and back: one server in this order, the nodes of a cluster in any.

        Raises RedisUnavailable; any of it may have been done.
        """
        return await self.ask(lambda: self._answers(questions))

    async def _answers(self, questions: Sequence[Question]) -> list[Any]:
        answers = await self.carry(questions)
        if error := first_error(answers):
            raise error
        return answers

    async def carry(self, questions: Sequence[Question]) -> list[Any]:
        """The answers to several questions, errors among them. Raises what redis-py raises, where there are none."""
        answers = await self.several([(question.key, question.command) for question in questions])
        if first_error(answers) is None:
            return answers
        for place, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            if isinstance(answer, exceptions.NoScriptError) and question.in_full:
                # Nothing ran; in full, it is also made known there.
                (answers[place],) = await self.together(question.key, question.in_full)
        return answers

    async def answers(self) -> bool:
        """Whether Redis answers."""
        try:
            await self.ask(self._ping)
        except RedisUnavailable:
            return False
        return True

    def complain(self, error: str) -> None:
        """Log ``redis.down``, unless that was done a moment ago."""
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            structlog.get_logger().error("redis.down", error=error)

    @abstractmethod
    async def leave(self) -> None:
        """Let go of the connections that nobody uses: where they lead may be no primary any more."""

    @abstractmethod
    def doubt(self) -> None:
        """Somebody waited in vain: a server that hangs is replaced like one that is gone, but breaks no connection."""

    @abstractmethod
    async def together(self, key: str, *commands: Command) -> list[Any]:
        """Send commands at once, over one connection to where the key is; errors that Redis answers are answers, too.

        A redirection of the first is followed, since nothing was carried out.
        """

    @abstractmethod
    async def several(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """Send commands at once, each to where its key is; errors that Redis answers are answers, too."""

    async def subscription(self) -> PubSub:
        """A subscription to nothing yet, at a server that hears all that is published. Raises what redis-py raises."""
        subscription = await self._subscription()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await subscription.connect()  # type: ignore[no-untyped-call] # redis-py's own signature
        self._subscriptions.add(subscription)
        return subscription

    async def log_in_again(self) -> None:
        """Have all connections with an old login, but those in use, log in with the newest. Never raises.

        One in use does so before its next command.
        """
        subscribed = [each.connection for each in self._subscriptions if has_old_login(each.connection)]
        again = [*self._idle_logins(), *(connection.log_in_while_subscribed() for connection in subscribed)]
        await asyncio.gather(*(self._or_complain(login) for login in again))

    async def _or_complain(self, login: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await login
        except FAILURES as error:
            self.complain(type(error).__name__)

    @abstractmethod
    def _idle_logins(self) -> list[Awaitable[None]]:
        """For each idle connection, if one has an old login, what takes it, has it log in, and gives it back."""

    @abstractmethod
    async def _subscription(self) -> PubSub:
        """See ``subscription``."""

    @abstractmethod
    async def _ping(self) -> None:
        """Raises what redis-py raises, where Redis does not answer."""

    async def _probe(self) -> None:
        async with asyncio.timeout(SLOW_SECONDS):
            await self._ping()
        self._breaker.probe_answered(asyncio.get_running_loop().time())

    async def _leaving_the_dead(self, question: Callable[[], Awaitable[T]]) -> T:
        """Await the answer; a server that is gone, or is a replica now, must not keep our other connections.

        Each of them would cost a question to find out. A failover moves the address that we know to another server,
        and connections that exist still lead to the old one.
        """
        try:
            return await question()
        except (exceptions.ConnectionError, exceptions.ReadOnlyError, OSError):
            await self.leave()
            raise
        except AttributeError as error:
            # redis-py writes to a connection that was let go meanwhile, and so has no writer: nothing was sent.
            if error.obj is not None:
                raise
            raise exceptions.ConnectionError("let go meanwhile") from error


def first_error(answers: Iterable[Any]) -> Exception | None:
    """The first answer that is an error, if any."""
    for answer in answers:
        if isinstance(answer, Exception):
            return answer
    return None


def _times_cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def has_old_login(connection: object) -> TypeGuard[TlsConnection]:
    """Whether it is one that should log in again."""
    return isinstance(connection, TlsConnection) and connection.has_old_login


def any_old_login(connections: Iterable[object]) -> bool:
    """Whether one of them should log in again."""
    return any(has_old_login(connection) for connection in connections)
