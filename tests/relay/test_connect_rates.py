from __future__ import annotations

import gc
import tracemalloc

import pytest

from relay.connect_rates import MOST_ADDRESSES, WINDOW_SECONDS, ConnectRates, TooManyConnects, share

HERE, THERE = "0123", "4567"


def refused(rates: ConnectRates, address: str, now: float) -> TooManyConnects | None:
    """Count a genuine connect; the refusal, if it is one."""
    try:
        rates.count_genuine(address, now)
    except TooManyConnects as refusal:
        return refusal
    return None


def test_an_address_has_so_many_in_a_minute_and_the_next_when_that_is_over() -> None:
    rates = ConnectRates(3)
    answers = [refused(rates, HERE, now) for now in (100.0, 110.0, 120.0, 130.0, 159.5, 160.0)]
    assert answers[:3] == [None] * 3
    told = [answer.retry_after for answer in answers[3:5] if answer]
    assert told == [30.0, 0.5]
    assert answers[5] is None


@pytest.mark.parametrize(
    ("per_minute", "workers", "of_each"), [(6_000, 1, 6_000), (6_000, 4, 1_500), (7, 2, 4), (1, 8, 1)]
)
def test_workers_share_what_an_address_may(per_minute: int, workers: int, of_each: int) -> None:
    assert share(per_minute, workers) == of_each
    assert per_minute <= of_each * workers < per_minute + workers


def test_insisting_does_not_lengthen_the_wait() -> None:
    """A token outlives no wait that grows: it lasts five minutes at most."""
    rates = ConnectRates(1)
    for _ in range(1_000):
        refused(rates, HERE, 0.0)
    last = refused(rates, HERE, 1.0)
    assert last is not None
    assert last.retry_after == WINDOW_SECONDS - 1
    assert refused(rates, HERE, WINDOW_SECONDS) is None


def test_the_refusal_is_rate_limited_and_the_token_stays_as_it_is() -> None:
    rates = ConnectRates(1)
    assert refused(rates, HERE, 0.0) is None
    refusal = refused(rates, HERE, 0.25)
    assert refusal is not None
    assert (refusal.code, refusal.row.http, refusal.close) == ("rate_limited", 429, 4429)
    assert refusal.headers() == {"Retry-After": "60"}
    assert refusal.body("req_1")["error"]["retry"] == "after retry_after"  # type: ignore[index]


def test_only_the_first_refusal_of_an_address_and_minute_is_the_first() -> None:
    rates = ConnectRates(1)
    firsts = []
    for now in (0.0, 1.0, 2.0, 60.0, 61.0, 62.0):
        refusal = refused(rates, HERE, now)
        firsts.append(refusal.is_first if refusal else None)
    assert firsts == [None, True, False, None, True, False]


def test_an_address_does_not_count_for_another() -> None:
    rates = ConnectRates(1)
    assert refused(rates, HERE, 0.0) is None
    assert refused(rates, THERE, 0.0) is None
    assert refused(rates, HERE, 0.0) is not None


def test_what_is_refused_does_not_count_against_genuine_tokens_nor_these_against_it() -> None:
    rates = ConnectRates(2)
    for _ in range(2):
        rates.count_refused(HERE, 0.0)
    with pytest.raises(TooManyConnects):
        rates.count_refused(HERE, 0.0)
    assert [refused(rates, HERE, 0.0) is None for _ in range(3)] == [True, True, False]
    rates.count_refused(THERE, 0.0)


def test_what_is_over_is_forgotten() -> None:
    rates = ConnectRates(5)
    for number in range(1_000):
        rates.count_genuine(f"{number}", number / 1_000)
        rates.count_refused(f"{number}", number / 1_000)
    assert len(rates) == 2_000
    rates.count_genuine(HERE, WINDOW_SECONDS + 0.4995)
    rates.count_refused(HERE, WINDOW_SECONDS + 1)
    assert len(rates) == 500 + 1 + 1


def test_more_addresses_than_are_remembered_push_out_the_oldest_alone() -> None:
    rates = ConnectRates(1, most_addresses=3)
    for number in range(4):
        assert refused(rates, f"{number}", float(number)) is None
    assert len(rates) == 3
    assert refused(rates, "3", 4.0) is not None
    assert refused(rates, "1", 4.0) is not None
    assert refused(rates, "0", 4.0) is None  # forgotten, so it begins anew


def test_memory_is_bounded_however_many_addresses_come() -> None:
    def fill(rates: ConnectRates, first: int) -> None:
        for number in range(first, first + MOST_ADDRESSES):
            rates.count_genuine(f"{number:032x}", 0.0)
            rates.count_refused(f"{number:032x}", 0.0)

    tracemalloc.start()
    try:
        rates = ConnectRates(5)
        fill(rates, 0)
        gc.collect()
        full, _ = tracemalloc.get_traced_memory()
        assert full < 16 * 2**20
        for round_number in range(1, 4):
            fill(rates, round_number * MOST_ADDRESSES)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1.2 * full
    finally:
        tracemalloc.stop()
    assert len(rates) == 2 * MOST_ADDRESSES
