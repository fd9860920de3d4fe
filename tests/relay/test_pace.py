"""A bucket lets a burst through and holds the rate after it."""

import msgspec
import pytest

from relay.pace import Bucket, audio_bucket, message_bucket
from service_kit.profiles import ProfileLimits
from service_kit.session_token import Limits

LIMITS = Limits(**ProfileLimits().model_dump(exclude={"token_seconds"}))


def taken(bucket: Bucket, amount: float, times: list[float]) -> int:
    return sum(bucket.take(amount, at) for at in times)


def test_a_burst_of_two_seconds_of_messages_passes_and_no_more() -> None:
    assert taken(message_bucket(LIMITS, 0.0), 1, [0.0] * 250) == 200


def test_messages_at_the_rate_pass_for_ever() -> None:
    bucket = message_bucket(LIMITS, 0.0)
    assert taken(bucket, 1, [0.0] * 200) == 200
    assert taken(bucket, 1, [n / 99 for n in range(1, 10_001)]) == 10_000


def test_audio_may_run_its_burst_ahead_then_twice_real_time() -> None:
    bucket = audio_bucket(msgspec.structs.replace(LIMITS, audio_burst_seconds=3), 0.0)
    assert bucket.take(3_000, 0.0)
    # 20 ms of audio every 10 ms is twice real time; every 9 ms is faster.
    assert taken(bucket, 20, [n / 99 for n in range(1, 501)]) == 500
    assert taken(bucket, 20, [5.1 + n * 0.009 for n in range(1, 2_001)]) < 1_850


def test_an_idle_bucket_holds_no_more_than_its_capacity() -> None:
    bucket = Bucket(10, 1, 0.0)
    assert not bucket.take(11, 1_000_000.0)
    assert bucket.take(10, 1_000_000.0)


@pytest.mark.parametrize("amount", [0.0, 5.0])
def test_what_is_refused_takes_nothing(amount: float) -> None:
    bucket = Bucket(10, 1e-9, 0.0)
    assert not bucket.take(10.5, 0.0)
    assert bucket.take(amount, 0.0)
    assert bucket.take(10 - amount, 0.0)
