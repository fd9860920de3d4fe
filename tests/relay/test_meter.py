"""Usage, cost and budgets: every figure of these examples was computed by hand."""

from typing import Any

import pytest

from relay.meter import Meter, Tokens
from service_kit.prices import PRICES, TranscriptionPrice
from tests.relay.building import make_limits

USAGE = {
    "total_tokens": 3_600,
    "input_tokens": 2_600,
    "output_tokens": 1_000,
    "input_token_details": {
        "text_tokens": 1_000,
        "audio_tokens": 1_500,
        "image_tokens": 100,
        "cached_tokens": 1_000,
        "cached_tokens_details": {"text_tokens": 400, "audio_tokens": 550, "image_tokens": 50},
    },
    "output_token_details": {"text_tokens": 200, "audio_tokens": 800},
}


TRANSCRIPTION_PRICES = {
    "by-token": TranscriptionPrice(text_in=2, audio_in=6, text_out=10),
    "by-minute": TranscriptionPrice(minute=0.006),
}
NO_USAGE: list[object] = [None, "x", [], {}, {"type": "units"}]
BY_TOKEN = {
    "type": "tokens",
    "total_tokens": 1_600,
    "input_tokens": 1_400,
    "output_tokens": 200,
    "input_token_details": {"text_tokens": 400, "audio_tokens": 1_000},
}


def transcribed(usage: object) -> dict[str, Any]:
    return {"type": "conversation.item.input_audio_transcription.completed", "usage": usage}


def done(usage: object) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": "resp_1", "usage": usage}}


def meter(model: str | None = None) -> Meter:
    return Meter(PRICES[model] if model else None, TRANSCRIPTION_PRICES)


def test_a_responses_usage_is_taken_by_modality_with_its_cached_part() -> None:
    tokens = Tokens()
    tokens.add_response(USAGE)
    assert tokens == Tokens(
        total=3_600, input=2_600, output=1_000,
        input_text=1_000, input_audio=1_500, input_image=100,
        cached_text=400, cached_audio=550, cached_image=50,
        output_text=200, output_audio=800,
    )  # fmt: skip


# 600 fresh text, 400 cached text, 950 fresh audio, 550 cached audio, 50 fresh image, 50 cached image, 200 text out,
# 800 audio out; in millionths of a dollar.
COSTS = {
    "gpt-realtime-2.1": 600 * 4 + 400 * 0.4 + 950 * 32 + 550 * 0.4 + 50 * 5 + 50 * 0.5 + 200 * 24 + 800 * 64,
    "gpt-realtime-2": 2_400 + 160 + 30_400 + 220 + 250 + 25 + 4_800 + 51_200,
    "gpt-realtime-1.5": 2_400 + 160 + 30_400 + 220 + 250 + 25 + 200 * 16 + 51_200,
    "gpt-realtime-2.1-mini": 360 + 24 + 9_500 + 165 + 40 + 4 + 480 + 16_000,
}


def test_every_priced_model_has_an_example() -> None:
    assert set(COSTS) == set(PRICES)


@pytest.mark.parametrize("model", sorted(COSTS))
def test_a_response_costs_what_the_price_list_says(model: str) -> None:
    measured = meter(model)
    measured.observe(done(USAGE))
    assert measured.cost_usd == pytest.approx(COSTS[model] / 1_000_000, abs=1e-9)
    measured.observe(done(USAGE))
    assert measured.cost_usd == pytest.approx(2 * COSTS[model] / 1_000_000, abs=1e-6)


def test_a_model_without_a_price_costs_nothing_known() -> None:
    measured = meter()
    measured.observe(done(USAGE))
    assert measured.cost_usd is None
    assert not measured.over_budget(make_limits(max_cost_usd=0.01))


def test_without_a_cached_split_all_input_costs_the_full_price() -> None:
    measured = meter("gpt-realtime-2.1")
    details = {"text_tokens": 1_000, "audio_tokens": 0, "cached_tokens": 1_000}
    measured.observe(done({"total_tokens": 1_000, "input_tokens": 1_000, "input_token_details": details}))
    assert measured.cost_usd == pytest.approx(0.004)


def test_more_cached_than_asked_is_no_credit() -> None:
    measured = meter("gpt-realtime-2.1")
    details = {"text_tokens": 10, "cached_tokens_details": {"text_tokens": 1_000}}
    measured.observe(done({"input_token_details": details}))
    assert measured.cost_usd == pytest.approx(0.0004)


NONSENSE: list[object] = [None, True, -1, 1.5, "10", [], {}, 2**53, 2**63, float("inf")]


@pytest.mark.parametrize("count", NONSENSE, ids=repr)
def test_a_nonsense_count_counts_nothing(count: object) -> None:
    tokens = Tokens()
    tokens.add_response(
        {
            "total_tokens": count, "input_tokens": count, "output_tokens": count,
            "input_token_details": {"text_tokens": count, "cached_tokens_details": {"audio_tokens": count}},
            "output_token_details": {"audio_tokens": count},
        }
    )  # fmt: skip
    tokens.add_transcription({"total_tokens": count})
    assert tokens == Tokens()


@pytest.mark.parametrize("usage", [None, True, 1, "x", [], {}, {"input_token_details": 1, "output_token_details": []}])
def test_a_nonsense_usage_counts_nothing(usage: object) -> None:
    measured = meter("gpt-realtime-2.1")
    for event in (
        done(usage),
        {"type": "response.done"},
        {"type": "response.done", "response": usage},
        {"type": "conversation.item.input_audio_transcription.completed", "usage": usage},
        {"type": "conversation.item.input_audio_transcription.completed"},
    ):
        measured.observe(event)
    assert measured.tokens == Tokens()


@pytest.mark.parametrize("event_type", ["response.created", "response.cancelled", "error", "session.updated"])
def test_only_the_usage_bearing_events_count(event_type: str) -> None:
    measured = meter()
    measured.observe({"type": event_type, "response": {"usage": USAGE}, "usage": USAGE})
    assert measured.tokens.total == 0


def test_a_transcription_without_a_price_counts_towards_the_total_but_not_the_cost_and_the_receipt_says_so() -> None:
    for model in (None, "unheard-of"):
        measured = meter("gpt-realtime-2.1")
        assert measured.usage()["cost_excludes_transcription"] is False
        measured.observe(transcribed(BY_TOKEN), model)
        assert (measured.tokens.total, measured.tokens.transcription, measured.cost_usd) == (1_600, 1_600, 0.0)
        assert measured.usage()["cost_excludes_transcription"] is True


@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        ("by-token", BY_TOKEN, (400 * 2 + 1_000 * 6 + 200 * 10) / 1_000_000),
        (
            "by-token",
            {"type": "tokens", "input_tokens": 1_400, "output_tokens": 200},
            (1_400 * 6 + 200 * 10) / 1_000_000,
        ),
        ("by-minute", {"type": "duration", "seconds": 90}, 0.009),
        ("by-minute", {"type": "duration", "seconds": 1.5}, 0.00015),
    ],
)
def test_a_transcription_costs_what_its_price_says(model: str, usage: dict[str, Any], dollars: float) -> None:
    measured = meter("gpt-realtime-2.1-mini")
    measured.observe(done(USAGE))
    before = measured.cost_usd or 0.0
    measured.observe(transcribed(usage), model)
    measured.observe(transcribed(usage), model)
    assert measured.cost_usd == pytest.approx(before + 2 * dollars, abs=1e-6)
    assert measured.usage()["cost_excludes_transcription"] is False


def test_a_transcription_ends_the_session_at_its_cost_cap() -> None:
    measured = meter("gpt-realtime-2.1")
    measured.observe(transcribed({"type": "duration", "seconds": 90}), "by-minute")
    assert measured.over_budget(make_limits(max_cost_usd=0.009))
    assert not measured.over_budget(make_limits(max_cost_usd=0.01))


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("by-token", {"type": "duration", "seconds": 90}),
        ("by-minute", BY_TOKEN),
        *(
            ("by-minute", {"type": "duration", "seconds": x})
            for x in [None, "90", -1, 1e300, float("inf"), float("nan")]
        ),
        ("by-minute", {"type": "duration"}),
        *((model, usage) for model in TRANSCRIPTION_PRICES for usage in NO_USAGE),
    ],
)
def test_a_transcription_counted_in_another_unit_is_one_without_a_price(model: str, usage: object) -> None:
    measured = meter("gpt-realtime-2.1")
    measured.observe(transcribed(usage), model)
    assert (measured.cost_usd, measured.usage()["cost_excludes_transcription"]) == (0.0, True)


# --- budgets at their edges ---


@pytest.mark.parametrize(("milliseconds", "over"), [(9_999.9, False), (10_000, False), (10_000.1, True)])
def test_the_audio_budget_ends_behind_its_last_millisecond(milliseconds: float, over: bool) -> None:
    measured = meter()
    measured.audio_in_ms = milliseconds
    assert measured.over_budget(make_limits(max_input_audio_seconds=10)) is over


@pytest.mark.parametrize(("total", "over"), [(0, False), (999, False), (1_000, True), (1_001, True)])
def test_the_token_budget_ends_with_its_last_token(total: int, over: bool) -> None:
    measured = meter()
    measured.tokens.total = total
    assert measured.over_budget(make_limits(max_total_tokens=1_000)) is over


@pytest.mark.parametrize(("audio_out", "over"), [(0, False), (15_624, False), (15_625, True), (15_626, True)])
def test_the_cost_budget_ends_with_its_last_dollar(audio_out: int, over: bool) -> None:
    measured = meter("gpt-realtime-2.1")  # 64 dollars per million: 15,625 tokens are one dollar
    measured.tokens.output_audio = audio_out
    assert measured.over_budget(make_limits(max_cost_usd=1.0)) is over
    assert not measured.over_budget(make_limits(max_cost_usd=None))


# --- refused events ---


def test_so_many_refused_events_within_a_minute_are_too_many() -> None:
    measured, limits = meter(), make_limits(max_refused_events_per_minute=3)
    assert [measured.refused(at, limits) for at in (0.0, 1.0, 2.0)] == [False, False, True]
    assert measured.refused_events == 3


def test_refused_events_are_forgotten_after_a_minute() -> None:
    measured, limits = meter(), make_limits(max_refused_events_per_minute=3)
    assert [measured.refused(at, limits) for at in (0.0, 30.0, 60.0, 89.9, 90.1)] == [False, False, False, True, True]
    assert measured.refused_events == 5


def test_the_window_holds_no_more_than_its_minute() -> None:
    measured, limits = meter(), make_limits(max_refused_events_per_minute=3)
    assert not any(measured.refused(at * 61.0, limits) for at in range(1_000))
    assert len(measured._refused_at) == 1


def test_the_receipt_says_what_was_measured() -> None:
    measured = meter("gpt-realtime-2.1")
    measured.audio_in_ms, measured.audio_out_ms = 1_234.56, 20.0
    measured.bytes_in, measured.bytes_out = 10, 20
    measured.observe(done(USAGE))
    usage = measured.usage()
    assert usage["audio_in_seconds"] == 1.235
    assert usage["audio_out_seconds"] == 0.02
    assert (usage["bytes_in"], usage["bytes_out"], usage["refused_events"]) == (10, 20, 0)
    assert usage["cost_usd"] == 0.089455
    tokens = usage["tokens"]
    assert isinstance(tokens, dict)
    assert (tokens["total"], tokens["cached_audio"]) == (3_600, 550)


CREATED = {"type": "response.created", "response": {"id": "resp_1", "usage": None}}


def test_a_response_in_flight_counts_by_what_was_heard_and_spoken() -> None:
    """2,600 tokens of input come again, 3 s heard are 30, 10 s spoken are 200, two text events 2."""
    metered = meter()
    metered.observe(done(USAGE))
    metered.audio_in_ms += 3_000
    assert not metered.over_budget(make_limits(max_total_tokens=3_601)), "nothing is in flight"
    metered.observe(CREATED)
    for audio_ms in [100.0] * 100 + [0.0] * 2:
        metered.delivered(audio_ms)
    total = 3_600 + 2_600 + 30 + 200 + 2
    assert metered.over_budget(make_limits(max_total_tokens=total))
    assert not metered.over_budget(make_limits(max_total_tokens=total + 1))


def test_a_response_in_flight_costs_what_is_spoken_and_its_input_as_cached() -> None:
    """10 s spoken are 200 tokens at 64 dollars per million; 2,600 of input at 0.40."""
    metered = meter("gpt-realtime-2.1")
    metered.observe(done(USAGE))
    before = metered.cost_usd
    assert before is not None
    metered.observe(CREATED)
    metered.delivered(10_000)
    cost = before + 200 * 64e-6 + 2_600 * 0.40e-6
    assert metered.over_budget(make_limits(max_cost_usd=cost - 1e-5))
    assert not metered.over_budget(make_limits(max_cost_usd=cost + 1e-5))
    assert metered.cost_usd == pytest.approx(cost)
    assert metered.tokens_so_far.output_audio == 800 + 200, "for the receipt of a session cut off in a response"


@pytest.mark.parametrize("usage", [USAGE, None])
def test_the_estimate_ends_with_the_response(usage: object) -> None:
    metered = meter()
    metered.observe(CREATED)
    metered.delivered(1_000_000)
    assert metered.over_budget(make_limits(max_total_tokens=10_000))
    metered.observe(done(usage))
    assert not metered.over_budget(make_limits(max_total_tokens=10_000))


def test_the_budget_is_looked_at_about_once_a_second() -> None:
    metered = meter()
    assert [metered.delivered(100) for _ in range(30)].count(True) == 3
    assert [metered.delivered(0) for _ in range(60)].count(True) == 3
