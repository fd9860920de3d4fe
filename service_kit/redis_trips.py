"""Questions that travel together: what is asked in one turn of the event loop goes to the server on one way.

A way costs a connection from the pool, a ``send``, a wake-up and a ``read``, several times what a question costs, and
under load many are asked in the same turn. Nobody waits for a trip to fill: it leaves when the turn is over. Each
question still has its own answer, and its own error where that is what Redis answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service_kit.redis_asking import Asking, Question, RedisUnavailable, first_error


@dataclass(frozen=True, slots=True)
class _Traveller:
    """Who asks, and where the answers are awaited."""

    questions: Sequence[Question]
    answers: asyncio.Future[list[Any]]


class Trips:
    """The trips to one server."""

    def __init__(self, redis: Asking) -> None:
        self._redis = redis
        self._boarding: list[_Traveller] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def ask(self, questions: Sequence[Question]) -> list[Any]:
        """The answers, in their order. Raises RedisUnavailable; any of it may have been done."""
        loop = asyncio.get_running_loop()
        traveller = _Traveller(questions, loop.create_future())
        if not self._boarding:
            loop.call_soon(self._leave)
        self._boarding.append(traveller)
        return await traveller.answers

    def _leave(self) -> None:
        aboard = [each for each in self._boarding if not each.answers.done()]  # who gave up asks nothing
        self._boarding = []
        if aboard:
            trip = asyncio.create_task(self._travel(aboard), name="questions to Redis")
            self._under_way.add(trip)
            trip.add_done_callback(self._under_way.discard)

    async def _travel(self, aboard: Sequence[_Traveller]) -> None:
        questions = [question for each in aboard for question in each.questions]
        answers: list[Any] = []
        reason = "stopped"

        async def question() -> None:
            answers.extend(await self._redis.carry(questions))
            if error := first_error(answers):
                raise error

        try:
            await self._redis.ask(question)
        except RedisUnavailable as error:
            reason = str(error)
        finally:
            _hand_out(aboard, answers, reason)


def _hand_out(aboard: Sequence[_Traveller], answers: list[Any], reason: str) -> None:
    """What came back, to each his own; ``reason`` is why nothing did."""
    taken = 0
    for each in aboard:
        own = answers[taken : taken + len(each.questions)]
        taken += len(own)
        if each.answers.done():
            continue
        error = first_error(own)
        if error:
            each.answers.set_exception(RedisUnavailable(type(error).__name__))
        elif len(own) < len(each.questions):
            each.answers.set_exception(RedisUnavailable(reason))
        else:
            each.answers.set_result(own)
