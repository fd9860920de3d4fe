"""Several questions on one way: each has its answer, in its place, whatever a server knows or refuses."""

from __future__ import annotations

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
    with pytest.raises(RedisUnavailable):
        await redis.ask_all(
            script.question(KEYS[0]), Question(KEYS[0], ("LPUSH", KEYS[0], "x")), script.question(KEYS[0])
        )
    assert await script(KEYS[0]) == 3
