from __future__ import annotations

import pytest

from token_service.backoff import retry_after_seconds


@pytest.mark.parametrize(
    ("breaches", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (6, 900), (10**9, 900)]
)
def test_each_breach_doubles_the_wait_up_to_a_quarter_of_an_hour(breaches: int, seconds: int) -> None:
    assert retry_after_seconds(breaches) == seconds
