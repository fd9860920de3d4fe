"""How long an upstream may take, and what the client is told when none serves."""

import pytest

from relay.failover import Refused, patience, refusal, refused_by_error
from service_kit.errors import Retry

GONE = Refused("ClientConnectorError")
NO_ERRORS: list[object] = [None, {}, [], "rate_limit_exceeded", 429]
BAD_KEY = Refused("HTTP 401", bad_key=True)


def busy(seconds: float) -> Refused:
    return Refused("HTTP 429", retry_after=seconds)


@pytest.mark.parametrize(
    ("seconds_left", "others_left", "seconds"),
    [(10.0, 0, 10.0), (10.0, 1, 3.0), (7.0, 0, 7.0), (7.0, 2, 3.0), (1.0, 1, 1.0), (1.0, 0, 1.0)],
)
def test_patience_is_short_only_while_there_is_another(seconds_left: float, others_left: int, seconds: float) -> None:
    assert patience(seconds_left, others_left=others_left) == seconds


@pytest.mark.parametrize(
    ("error", "bad_key", "retry_after"),
    [
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, True, None),
        ({"type": "requests", "code": "rate_limit_exceeded"}, False, 5.0),
        ({"type": "tokens", "code": "rate_limit_exceeded"}, False, 5.0),
        ({"type": "rate_limit_error", "code": None}, False, 5.0),
        ({"type": "rate_limit_error"}, False, 5.0),
        ({"code": "rate_limit_exceeded"}, False, 5.0),
        ({"type": "insufficient_quota", "code": "insufficient_quota"}, False, None),
        ({"type": "server_error", "code": "server_error"}, False, None),
        ({"type": "server_error", "code": None, "message": "rate_limit_exceeded"}, False, None),
        ({"type": [], "code": {}}, False, None),
        *((junk, False, None) for junk in NO_ERRORS),
    ],
)
def test_an_error_in_place_of_the_greeting_says_whether_waiting_helps(
    error: object, bad_key: bool, retry_after: float | None
) -> None:
    refused = refused_by_error(error)
    assert (refused.bad_key, refused.retry_after) == (bad_key, retry_after)


@pytest.mark.parametrize(
    ("refused", "code", "retry_after"),
    [
        ([], "upstream_unavailable", None),
        ([GONE], "upstream_unavailable", None),
        ([BAD_KEY], "upstream_unavailable", None),
        ([GONE, BAD_KEY], "upstream_unavailable", None),
        ([busy(7)], "upstream_busy", 7),
        ([busy(7), GONE], "upstream_unavailable", None),
        ([GONE, busy(7)], "upstream_busy", 7),
        ([busy(2), GONE, busy(7)], "upstream_busy", 7),
        ([busy(7), busy(2)], "upstream_busy", 2),
        ([busy(2), busy(7)], "upstream_busy", 2),
        ([busy(0), busy(7)], "upstream_busy", 0),
    ],
)
def test_the_client_is_told_to_wait_only_if_the_last_was_busy(
    refused: list[Refused], code: str, retry_after: float | None
) -> None:
    told = refusal(refused)
    assert (told.code, told.retry_after, told.retry) == (code, retry_after, Retry.SAME_TOKEN)
