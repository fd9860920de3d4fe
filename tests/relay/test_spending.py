"""What a session adds to the quotas, with sums that answer when the test lets them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from relay.meter import Meter
from relay.spending import Spending, usage_of
from service_kit.errors import Refusal
from service_kit.prices import PRICES
from service_kit.quotas import NOTHING, Quotas, Usage
from service_kit.redis_client import RedisClient, RedisUnavailable
from service_kit.revocation import Identity, Kind, Target
from service_kit.session_token import Quota
from tests.examples import claims

IDENTITY = Identity("sess_1", "tok_1", "0123", "4567", 0)
SUBJECT, TENANT = Target(Kind.SUBJECT, "0123"), Target(Kind.TENANT, "4567")
DONE = {
    "type": "response.done",
    "response": {
        "usage": {
            "total_tokens": 30,
            "input_tokens": 10,
            "output_tokens": 20,
            "input_token_details": {"text_tokens": 10},
            "output_token_details": {"audio_tokens": 20},
        }
    },
}


def test_usage_is_in_whole_milliseconds_tokens_and_millionths_of_a_dollar() -> None:
    meter = Meter(PRICES["gpt-realtime-2.1"])
    assert usage_of(meter, 0.0) == NOTHING
    meter.observe(DONE)
    assert usage_of(meter, 12.3459) == Usage(milliseconds=12_345, tokens=30, micro_usd=10 * 4 + 20 * 64)


def test_a_response_in_flight_counts_by_estimate() -> None:
    meter = Meter(PRICES["gpt-realtime-2.1"])
    meter.observe({"type": "response.created"})
    meter.delivered(audio_ms=1_000)
    assert usage_of(meter, 0).tokens == 20


def test_a_model_without_price_costs_nothing_that_could_be_counted() -> None:
    meter = Meter(None)
    meter.observe(DONE)
    assert usage_of(meter, 0) == Usage(tokens=30)


class Ledger(Quotas):
    """Sums that wait to be asked to answer, and can fail."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.fails = False
        self.added: list[tuple[Target, Usage, Usage, bool]] = []

    async def add(
        self, known: Mapping[Target, Usage], session_id: str, so_far: Usage, *, is_over: bool
    ) -> dict[Target, Usage]:
        await self.open.wait()
        await asyncio.sleep(0)  # others may come first
        if self.fails:
            raise RedisUnavailable
        self.added += [(holder, so_far, before, is_over) for holder, before in known.items()]
        return dict.fromkeys(known, so_far)


async def test_what_was_added_is_known_and_what_was_lost_is_not() -> None:
    ledger = Ledger()
    spending = Spending(ledger, IDENTITY, claims())
    first, second, third = Usage(1, 1, 1), Usage(2, 2, 2), Usage(3, 3, 3)
    await spending.add(first)
    ledger.fails = True
    with pytest.raises(RedisUnavailable):
        await spending.add(second)
    ledger.fails = False
    await spending.add(third)
    assert ledger.added == [
        (SUBJECT, first, NOTHING, False),
        (TENANT, first, NOTHING, False),
        (SUBJECT, third, first, False),
        (TENANT, third, first, False),
    ]


async def test_the_last_addition_waits_for_the_one_before() -> None:
    ledger = Ledger()
    spending = Spending(ledger, IDENTITY, claims())
    ledger.open.clear()
    renewal = asyncio.create_task(spending.add(Usage(1, 0, 0)))
    end = asyncio.create_task(spending.add(Usage(2, 0, 0), is_over=True))
    await asyncio.sleep(0)
    ledger.open.set()
    await asyncio.gather(renewal, end)
    await spending.add(Usage(3, 0, 0))  # a renewal that was slower than the end
    assert [is_over for *_, is_over in ledger.added] == [False, False, True, True]
    assert ledger.added[-1] == (TENANT, Usage(2, 0, 0), Usage(1, 0, 0), True)


@pytest.mark.parametrize("whose", ["subject_quota", "tenant_quota"])
async def test_a_session_learns_that_either_quota_is_used_up(whose: str) -> None:
    spending = Spending(Ledger(), IDENTITY, claims(**{whose: Quota(tokens=2)}))
    assert not await spending.add(Usage(tokens=1))
    assert await spending.add(Usage(tokens=2))


@pytest.mark.parametrize(("holder", "whose"), [(SUBJECT, "subject_quota"), (TENANT, "tenant_quota")])
async def test_no_session_begins_on_a_quota_that_is_used_up(redis: RedisClient, holder: Target, whose: str) -> None:
    quotas = Quotas(redis, "development")
    spending = Spending(quotas, IDENTITY, claims(**{whose: Quota(tokens=2)}))
    await spending.check()
    await quotas.add({holder: NOTHING}, "sess_2", Usage(tokens=2), is_over=True)
    with pytest.raises(Refusal) as caught:
        await spending.check()
    assert caught.value.code == "quota_exhausted"
    await Spending(quotas, IDENTITY, claims()).check()
