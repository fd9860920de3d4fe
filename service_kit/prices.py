"""What models cost, in US dollars: the shipped list, and what a profiles file adds to it or changes in it.

The list was read in November 2026 from the vendor's model pages. Not established, so without a row: input transcription
models, ``gpt-realtime``, ``gpt-realtime-mini``, and Azure's regional prices. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service_kit.session_fields import TRANSCRIPTION, Session, is_open, transcription_model
from service_kit.session_token import Lock

Dollars = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Price(_Row):
    """What one model's responses cost, per 1,000,000 tokens. Every column is needed: a gap would cost nothing."""

    text_in: Dollars
    text_cached: Dollars
    text_out: Dollars
    audio_in: Dollars
    audio_cached: Dollars
    audio_out: Dollars
    image_in: Dollars
    image_cached: Dollars


class TranscriptionPrice(_Row):
    """What one model's input transcription costs: per 1,000,000 tokens, or per minute of audio, as its usage counts."""

    text_in: Dollars | None = None
    audio_in: Dollars | None = None
    text_out: Dollars | None = None
    minute: Dollars | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        by_token = [self.text_in, self.audio_in, self.text_out]
        if by_token.count(None) != (0 if self.minute is None else len(by_token)):
            raise ValueError("needs text_in, audio_in and text_out, or minute alone")
        return self


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
    "gpt-realtime-1.5": _FULL.model_copy(update={"text_out": 16.00}),
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
_NO_RESPONSES: Final = Price(**dict.fromkeys(Price.model_fields, 0.0))


@dataclass(frozen=True, slots=True)
class PriceList:
    """What is known of prices here, by model."""

    responses: Mapping[str, Price]
    transcription: Mapping[str, TranscriptionPrice]

    def of_responses(self, session: Session) -> Price | None:
        """What the responses of such a session cost; None if it is not known.

        A transcription session has none, so there it is nothing, if what it does have is priced.
        """
        if session["type"] == "transcription":
            return _NO_RESPONSES if transcription_model(session) in self.transcription else None
        return self.responses.get(str(session["model"]))

    def can_count(self, lock: Lock) -> bool:
        """Whether a session's cost can be limited: a transcription session's only if its client cannot change models.

        In a conversation an input transcription without a price counts nothing, and the receipt says so.
        """
        if self.of_responses(lock.session) is None:
            return False
        return lock.session["type"] != "transcription" or not is_open(TRANSCRIPTION, lock.open_fields)
