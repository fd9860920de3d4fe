"""Several questions on one way: each has its answer, in its place, whatever a server knows or refuses."""

from __future__ import annotations

import asyncio

import pytest

from service_kit.redis_asking import Question
from service_kit.redis_client import RedisClient, RedisUnavailable, Script

COUNT = "return redis.call('INCR', KEYS[1])"
KEYS = [f"airlock:test:{number}" for number in range(8)]  # in a cluster, of several nodes


async def test_each_question_has_its_answer_in_its_place(redis: RedisClient) -> None:
    script = Script(redis, COUNT)
    for round_ in (1, 2):
        asked = [script.question(key) for key in KEYS] + [Question(key, ("GET", key)) for key in KEYS]
        assert (await redis.ask_all(*asked))[: len(KEYS)] == [round_] * len(KEYS)
    assert await redis.ask_all(*(Question(key, ("GET", key)) for key in KEYS)) == [b"2"] * len(KEYS)


async def test_a_script_that_the_server_does_not_know_runs_once(redis: RedisClient) -> None:
    known, unknown = Script(redis, COUNT), Script(redis, COUNT + f" -- {id(redis)}")
    await known(KEYS[0])
    assert await redis.ask_all(known.question(KEYS[0]), unknown.question(KEYS[0]), known.question(KEYS[1])) == [2, 3, 1]
    assert await redis.ask_all(Question(KEYS[0], ("GET", KEYS[0]))) == [b"3"]


async def test_one_error_among_the_answers_is_no_answer_and_breaks_no_connection(redis: RedisClient) -> None:
    script = Script(redis, COUNT)
    await script(KEYS[0])
    with pytest.raises(RedisUnavailable):
        await redis.ask_all(
            script.question(KEYS[0]), Question(KEYS[0], ("LPUSH", KEYS[0], "x")), script.question(KEYS[0])
        )
    assert await script(KEYS[0]) == 4


async def test_what_many_ask_at_once_is_answered_to_each(redis: RedisClient) -> None:
    known, unknown = Script(redis, COUNT), Script(redis, COUNT + f" -- {id(redis)}")
    asked = [
        redis.ask_all(script.question(key), Question(key, ("ECHO", key))) for key in KEYS for script in (known, unknown)
    ]
    answers = await asyncio.gather(*asked)
    assert sorted(count for count, _ in answers) == [1] * len(KEYS) + [2] * len(KEYS)
    assert [echo.decode() for _, echo in answers] == [key for key in KEYS for _ in range(2)]
    assert await redis.ask_all(*(Question(key, ("GET", key)) for key in KEYS)) == [b"2"] * len(KEYS)


async def test_an_error_is_told_to_the_one_whose_question_it_answers(redis: RedisClient) -> None:
    script = Script(redis, COUNT)
    wrong = redis.ask_all(Question(KEYS[0], ("LPUSH", KEYS[0], "x")))
    await script(KEYS[0])
    before, refused, after = await asyncio.gather(script(KEYS[0]), wrong, script(KEYS[1]), return_exceptions=True)
    assert (before, after) == (2, 1)
    assert isinstance(refused, RedisUnavailable)
    assert str(refused) == "ResponseError"


async def test_who_gives_up_takes_nobody_along(redis: RedisClient) -> None:
    script = Script(redis, COUNT)
    asking = [asyncio.create_task(script(KEYS[0])) for _ in range(3)]
    await asyncio.sleep(0)  # they ask, and nothing is sent yet
    asking[0].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, int) for answer in answers[1:])
