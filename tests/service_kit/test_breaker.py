"""The breaker's rule, with a clock that is a number."""

from service_kit.breaker import RETRY_SECONDS, SLOW_SECONDS, Breaker, Verdict


def opened(at: float) -> Breaker:
    """A breaker whose one question failed after a second, at ``at``."""
    breaker = Breaker()
    _, number = breaker.ask(at - 1)
    breaker.failed(number, at)
    breaker.done(number)
    return breaker


def verdicts(breaker: Breaker, number: int, now: float) -> list[Verdict]:
    """What becomes of so many questions at the same time."""
    return [breaker.ask(now)[0] for _ in range(number)]


def test_as_many_as_like_may_ask_while_redis_is_quick() -> None:
    assert verdicts(Breaker(), 1_000, 0.0) == [Verdict.ASK] * 1_000


def test_errors_that_come_at_once_open_nothing() -> None:
    breaker = Breaker()
    for _ in range(100):
        verdict, number = breaker.ask(0.0)
        assert verdict is Verdict.ASK
        breaker.failed(number, SLOW_SECONDS / 2)
        breaker.done(number)


def test_a_slow_failure_opens_and_nobody_asks_for_a_while() -> None:
    breaker = opened(at=1.0)
    assert verdicts(breaker, 5, 1.0 + RETRY_SECONDS / 2) == [Verdict.REFUSE] * 5


def test_then_one_at_a_time_probes_until_a_probe_is_answered() -> None:
    breaker = opened(at=1.0)
    now = 1.0 + RETRY_SECONDS
    verdict, number = breaker.ask(now)
    assert verdict is Verdict.PROBE_FIRST
    assert verdicts(breaker, 3, now) == [Verdict.REFUSE] * 3
    breaker.failed(number, now)
    breaker.done(number)
    assert verdicts(breaker, 3, now) == [Verdict.REFUSE] * 3

    verdict, number = breaker.ask(now + RETRY_SECONDS)
    assert verdict is Verdict.PROBE_FIRST
    breaker.probe_answered(now + RETRY_SECONDS)
    assert verdicts(breaker, 100, now + RETRY_SECONDS) == [Verdict.ASK] * 100


def test_a_probe_that_nobody_waits_for_any_more_leaves_room_for_the_next() -> None:
    breaker = opened(at=1.0)
    _, number = breaker.ask(2.0)
    breaker.done(number)  # its client is gone: cancelled, neither answered nor failed
    assert breaker.ask(2.0)[0] is Verdict.PROBE_FIRST


def test_a_question_that_is_slow_again_after_its_probe_opens_again() -> None:
    breaker = opened(at=1.0)
    _, number = breaker.ask(2.0)
    breaker.probe_answered(2.0)
    breaker.failed(number, 2.0 + SLOW_SECONDS)
    breaker.done(number)
    assert breaker.ask(2.0 + SLOW_SECONDS)[0] is Verdict.REFUSE


def test_a_failure_of_what_was_asked_before_the_answered_probe_opens_nothing() -> None:
    breaker = Breaker()
    first, second = breaker.ask(0.0)[1], breaker.ask(0.9)[1]
    breaker.failed(first, 1.0)
    assert breaker.ask(1.5)[0] is Verdict.PROBE_FIRST
    breaker.probe_answered(1.6)
    breaker.failed(second, 1.9)
    assert breaker.ask(1.9)[0] is Verdict.ASK
