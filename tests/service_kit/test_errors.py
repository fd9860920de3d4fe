from __future__ import annotations

import pytest

from service_kit.errors import MAX_CLOSE_REASON_BYTES, TABLE, Ending, Refusal, Retry, close_reason

NEW_TOKEN = "with a new token"
SAME_TOKEN = "with the same token while it lasts"
AFTER = "after retry_after"

# DESIGN, "HTTP contract": code, HTTP status, close code, retry.
ROWS = [
    ("invalid_request", 400, 4400, "no"),
    ("unsupported_parameter", 400, 4400, "no"),
    ("beta_api_shape_disabled", 400, 4400, "no"),
    ("invalid_token", 401, 4401, NEW_TOKEN),
    ("token_expired", 401, 4401, NEW_TOKEN),
    ("token_used", 401, 4401, NEW_TOKEN),
    ("token_revoked", 401, 4401, NEW_TOKEN),
    ("budget_exhausted", 402, 4402, "later"),
    ("quota_exhausted", 402, 4402, "later"),
    ("edge_not_allowed", 403, 4403, "no"),
    ("origin_not_allowed", 403, 4403, "no"),
    ("model_mismatch", 403, 4403, "no"),
    ("session_revoked", 403, 4403, "no"),
    ("blocked", 403, 4403, "no"),
    ("not_found", 404, None, "no"),
    ("method_not_allowed", 405, None, "no"),
    ("request_timeout", 408, None, "no"),
    ("body_too_large", 413, None, "no"),
    ("unsupported_media_type", 415, None, "no"),
    ("upgrade_required", 426, None, "no"),
    ("headers_too_large", 431, None, "no"),
    ("invalid_event", None, None, "no"),
    ("event_not_allowed", None, None, "no"),
    ("field_locked", None, None, "no"),
    ("response_limit", None, None, "no"),
    ("idle_timeout", None, 4408, NEW_TOKEN),
    ("slow_consumer", None, 4408, NEW_TOKEN),
    ("session_limit_reached", None, 4410, NEW_TOKEN),
    ("rate_limited", 429, 4429, AFTER),
    ("too_many_sessions", 429, 4429, AFTER),
    ("policy_violation", None, 1008, "no"),
    ("message_too_big", None, 1009, "no"),
    ("invalid_frame", None, 1002, "no"),
    ("upstream_unavailable", None, 1011, SAME_TOKEN),
    ("upstream_closed", None, 1011, NEW_TOKEN),
    ("upstream_busy", None, 1013, AFTER),
    ("draining", 503, 1012, AFTER),
    ("unavailable", 503, 1013, AFTER),
    ("lease_lost", 503, 1013, AFTER),
    ("internal_error", 500, 1011, "later"),
]

# What openai-python makes an exception class or a retry of.
TYPES = {
    "invalid_request": "invalid_request_error",
    "invalid_token": "invalid_request_error",
    "quota_exhausted": "insufficient_quota",
    "rate_limited": "rate_limit_error",
    "too_many_sessions": "rate_limit_error",
    "upstream_closed": "server_error",
    "draining": "server_error",
    "internal_error": "server_error",
}


@pytest.mark.parametrize(("code", "http", "close", "retry"), ROWS)
def test_row(code: str, http: int | None, close: int | None, retry: str) -> None:
    row = TABLE[code]
    assert (row.http, row.close, row.retry.value) == (http, close, retry)
    assert row.message.endswith(".")
    assert close is None or close_reason(row.message) == row.message.encode()  # fits into a close frame


def test_the_table_has_no_other_rows() -> None:
    assert set(TABLE) == {code for code, *_ in ROWS}


@pytest.mark.parametrize(("code", "type_"), TYPES.items())
def test_type_is_one_of_openai_s(code: str, type_: str) -> None:
    assert TABLE[code].type == type_


def test_every_ending_but_the_browser_s_own_is_told_with_a_code() -> None:
    told = {ending for row in TABLE.values() for ending in row.endings}
    assert set(Ending) - told == {Ending.BROWSER_CLOSED, Ending.BROWSER_VANISHED}


def test_body_has_openai_s_shape() -> None:
    body = Refusal("unsupported_parameter", param="session.instructions", message="Leave it out.").body("req_1")
    assert body == {
        "error": {
            "type": "invalid_request_error",
            "code": "unsupported_parameter",
            "message": "Leave it out. (request req_1)",
            "param": "session.instructions",
        }
    }


def test_event_carries_its_own_id_and_the_refused_one_s() -> None:
    event = Refusal("field_locked", event_id="event_theirs").event("req_1", "event_ours")
    assert event["type"] == "error"
    assert event["event_id"] == "event_ours"
    error = event["error"]
    assert isinstance(error, dict)
    assert error["event_id"] == "event_theirs"
    assert error["code"] == "field_locked"


@pytest.mark.parametrize(("seconds", "told"), [(0, 1), (0.2, 1), (1, 1), (1.01, 2), (90, 90)])
def test_retry_after_is_whole_seconds_and_never_zero(seconds: float, told: int) -> None:
    refusal = Refusal("rate_limited", retry_after=seconds)
    assert refusal.headers() == {"Retry-After": str(told)}
    error = refusal.body("req_1")["error"]
    assert isinstance(error, dict)
    assert (error["retry_after"], error["retry"]) == (told, AFTER)


def test_no_retry_after_unless_known() -> None:
    assert Refusal("rate_limited").headers() == {}


def test_a_401_names_the_scheme_it_wants() -> None:
    """RFC 9110 §15.5.2."""
    assert Refusal("invalid_token").headers() == {"WWW-Authenticate": "Bearer"}


def test_hint_and_close_code_can_be_replaced() -> None:
    refusal = Refusal("upstream_unavailable", retry=Retry.NEW_TOKEN)
    assert refusal.retry is Retry.NEW_TOKEN
    assert Refusal("invalid_frame", close=1007).close == 1007


@pytest.mark.parametrize("text", ["a" * 200, "é" * 100, "x" + "é" * 100, "🙂" * 40, ""])
def test_close_reason_is_cut_between_characters(text: str) -> None:
    reason = close_reason(text)
    assert len(reason) <= MAX_CLOSE_REASON_BYTES
    assert text.startswith(reason.decode())
    assert len(reason) > MAX_CLOSE_REASON_BYTES - 4 or reason.decode() == text
