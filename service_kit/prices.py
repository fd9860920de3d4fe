"""What a token of each realtime model costs, in US dollars per 1,000,000 tokens.

Read in November 2026 from the vendor's model pages. Not established, so without a row: input transcription models,
``gpt-realtime``, ``gpt-realtime-mini``, and Azure's regional prices.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """One model's prices, in US dollars per 1,000,000 tokens."""

    text_in: float
    text_cached: float
    text_out: float
    audio_in: float
    audio_cached: float
    audio_out: float
    image_in: float
    image_cached: float


_FULL: Final = Price(
    text_in=4.00,
    text_cached=0.40,
    text_out=24.00,
    audio_in=32.00,
    audio_cached=0.40,
    audio_out=64.00,
    image_in=5.00,
    image_cached=0.50,
)

PRICES: Final[dict[str, Price]] = {
    "gpt-realtime-2.1": _FULL,
    "gpt-realtime-2": _FULL,
    "gpt-realtime-1.5": msgspec.structs.replace(_FULL, text_out=16.00),
    "gpt-realtime-2.1-mini": Price(
        text_in=0.60,
        text_cached=0.06,
        text_out=2.40,
        audio_in=10.00,
        audio_cached=0.30,
        audio_out=20.00,
        image_in=0.80,
        image_cached=0.08,
    ),
}
