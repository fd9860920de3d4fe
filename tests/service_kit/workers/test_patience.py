"""How long a parent waits before it fills a place again."""

from service_kit.workers.patience import Patience


def test_the_pause_doubles_up_to_the_longest() -> None:
    assert [Patience().pause(number) for number in range(9)] == [0, 0, 1, 2, 4, 8, 16, 30, 30]


def test_a_long_loop_does_not_overflow() -> None:
    assert Patience().pause(100_000) == 30
