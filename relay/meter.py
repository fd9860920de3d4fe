"""What a session has used: audio, bytes, tokens by modality with their cached part, and cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from service_kit.prices import Price, TranscriptionPrice
from service_kit.session_token import Limits

_MODALITIES: Final = ("text", "audio", "image")
_REFUSED_WINDOW_SECONDS: Final = 60.0
_MS_PER_TOKEN_IN: Final = 100
_MS_PER_TOKEN_OUT: Final = 50
_MS_BETWEEN_CHECKS: Final = 1_000
_MAX_SECONDS: Final = 1_000_000
"""No session lasts so long; also keeps ``inf`` and ``nan`` out of the sum."""


@dataclass(slots=True)
class Tokens:
    """Tokens as the service counted them; input counts include their cached part (protocol reference §3.8)."""

    total: int = 0
    input: int = 0
    output: int = 0
    input_text: int = 0
    input_audio: int = 0
    input_image: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    output_text: int = 0
    output_audio: int = 0
    transcription: int = 0

    def add_response(self, usage: Mapping[str, Any]) -> None:
        """Add the usage of one ``response.done``."""
        details_in = _mapping(usage.get("input_token_details"))
        details_out = _mapping(usage.get("output_token_details"))
        cached = _mapping(details_in.get("cached_tokens_details"))
        self.total += _count(usage, "total_tokens")
        self.input += _count(usage, "input_tokens")
        self.output += _count(usage, "output_tokens")
        for modality in _MODALITIES:
            self._add(f"input_{modality}", _count(details_in, f"{modality}_tokens"))
            self._add(f"cached_{modality}", _count(cached, f"{modality}_tokens"))
        for modality in ("text", "audio"):
            self._add(f"output_{modality}", _count(details_out, f"{modality}_tokens"))

    def add_transcription(self, usage: Mapping[str, Any]) -> None:
        """Add the usage of one input transcription, which has a price of its own."""
        self.total += _count(usage, "total_tokens")
        self.transcription += _count(usage, "total_tokens")

    def cost_usd(self, price: Price) -> float:
        """What the responses cost: uncached input, cached input and output, each by modality."""
        dollars = self.output_text * price.text_out + self.output_audio * price.audio_out
        for modality in _MODALITIES:
            cached = getattr(self, f"cached_{modality}")
            fresh = max(0, getattr(self, f"input_{modality}") - cached)
            dollars += fresh * getattr(price, f"{modality}_in") + cached * getattr(price, f"{modality}_cached")
        return float(dollars / 1_000_000)

    def _add(self, name: str, count: int) -> None:
        setattr(self, name, getattr(self, name) + count)


@dataclass(slots=True)
class _InFlight:
    """What is known of a response before its usage comes; ``*_before`` is as of the end of the response before."""

    is_running: bool = False
    input_before: int = 0
    audio_in_ms_before: float = 0.0
    audio_out_ms_before: float = 0.0
    text_events: int = 0


class Meter:
    """One session's usage, and whether it is within its limits.

    Audio is counted in milliseconds, ``bytes_*`` in WebSocket payload bytes; *in* is from the browser.

    Attributes:
        price: of the responses; None if it is not known.
        transcription_prices: of input transcription, by model.
        transcription_usd: what the priced part of it cost.
        has_unpriced_transcription: there was input transcription whose cost is not known, and counts nothing.
    """

    def __init__(
        self, price: Price | None, transcription_prices: Mapping[str, TranscriptionPrice] = MappingProxyType({})
    ) -> None:
        self.price = price
        self.transcription_prices = transcription_prices
        self.transcription_usd = 0.0
        self.has_unpriced_transcription = False
        self.bytes_in = 0
        self.bytes_out = 0
        self.audio_in_ms = 0.0
        self.audio_out_ms = 0.0
        self.refused_events = 0
        self.tokens = Tokens()
        self._refused_at: list[float] = []  # few, and an empty deque takes 0.7 KB
        self._in_flight = _InFlight()
        self._unchecked_ms = 0.0

    def observe(self, event: Mapping[str, Any], transcription_model: str | None = None) -> None:
        """Take the usage from an event of the model that bears one.

        ``transcription_model`` is the one in use: the usage does not name it.
        """
        match event:
            case {"type": "response.created"}:
                self._in_flight.is_running = True
            case {"type": "response.done", "response": {"usage": dict(usage)}}:
                self.tokens.add_response(usage)
                self._in_flight = _InFlight(
                    input_before=_count(usage, "input_tokens"),
                    audio_in_ms_before=self.audio_in_ms,
                    audio_out_ms_before=self.audio_out_ms,
                )
            case {"type": "response.done"}:
                self._in_flight.is_running = False
            case {"type": "conversation.item.input_audio_transcription.completed"}:
                self._transcribed(_mapping(event.get("usage")), transcription_model)

    def _transcribed(self, usage: Mapping[str, Any], model: str | None) -> None:
        self.tokens.add_transcription(usage)
        price = self.transcription_prices.get(model or "")
        cost = _transcription_cost_usd(usage, price) if price else None
        if cost is None:
            self.has_unpriced_transcription = True
        else:
            self.transcription_usd += cost

    def delivered(self, audio_ms: float) -> bool:
        """Count a streaming event of the model; True about once in a second's worth: time to look at the budget."""
        self.audio_out_ms += audio_ms
        if audio_ms:
            self._unchecked_ms += audio_ms
        else:
            self._in_flight.text_events += 1
            self._unchecked_ms += _MS_PER_TOKEN_OUT
        if self._unchecked_ms < _MS_BETWEEN_CHECKS:
            return False
        self._unchecked_ms = 0.0
        return True

    def refused(self, now: float, limits: Limits) -> bool:
        """Count a refused event at ``now`` (seconds); True if there were too many within a minute."""
        self.refused_events += 1
        self._refused_at.append(now)
        while self._refused_at[0] <= now - _REFUSED_WINDOW_SECONDS:
            del self._refused_at[0]
        return len(self._refused_at) >= limits.max_refused_events_per_minute

    def over_budget(self, limits: Limits) -> bool:
        """Whether the session has used up its audio, its tokens or its money.

        A response in flight counts as far as it can be estimated, since its usage comes only with its end.
        """
        cost = self.cost_usd
        return (
            self.audio_in_ms > limits.max_input_audio_seconds * 1000
            or self.tokens_so_far.total >= limits.max_total_tokens
            or (limits.max_cost_usd is not None and cost is not None and cost >= limits.max_cost_usd)
        )

    @property
    def tokens_so_far(self) -> Tokens:
        """The tokens with those of a response in flight, estimated: money spent on it is not seen again."""
        return self._estimate() if self._in_flight.is_running else self.tokens

    def _estimate(self) -> Tokens:
        """The tokens so far with those of the response in flight.

        Output: 1 token per 50 ms of audio and per text event. Input: that of the response before, as cached, and
        1 token per 100 ms of audio heard since (vendor's cost guide, see prices).
        """
        flight = self._in_flight
        heard = int((self.audio_in_ms - flight.audio_in_ms_before) / _MS_PER_TOKEN_IN)
        spoken = int((self.audio_out_ms - flight.audio_out_ms_before) / _MS_PER_TOKEN_OUT)
        tokens = replace(self.tokens)
        tokens.input += flight.input_before + heard
        tokens.input_audio += flight.input_before + heard
        tokens.cached_audio += flight.input_before
        tokens.output += spoken + flight.text_events
        tokens.output_audio += spoken
        tokens.output_text += flight.text_events
        tokens.total += flight.input_before + heard + spoken + flight.text_events
        return tokens

    @property
    def cost_usd(self) -> float | None:
        """The cost so far, but for unpriced transcription; None for a model without a price."""
        if self.price is None:
            return None
        return round(self.tokens_so_far.cost_usd(self.price) + self.transcription_usd, 6)

    def usage(self) -> dict[str, Any]:
        """The receipt's figures."""
        return {
            "audio_in_seconds": round(self.audio_in_ms / 1000, 3),
            "audio_out_seconds": round(self.audio_out_ms / 1000, 3),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "tokens": asdict(self.tokens_so_far),
            "cost_usd": self.cost_usd,
            "cost_excludes_transcription": self.has_unpriced_transcription,
            "refused_events": self.refused_events,
        }


def _transcription_cost_usd(usage: Mapping[str, Any], price: TranscriptionPrice) -> float | None:
    """What one transcription cost (protocol reference §3.8); None if it was counted in another unit than its price."""
    match usage:
        case {"type": "duration", "seconds": int(seconds) | float(seconds)} if price.minute is not None:
            return seconds / 60 * price.minute if 0 <= seconds < _MAX_SECONDS else None
        case {"type": "tokens"} if (
            price.text_in is not None and price.audio_in is not None and price.text_out is not None
        ):
            text = min(_count(_mapping(usage.get("input_token_details")), "text_tokens"), _count(usage, "input_tokens"))
            audio = _count(usage, "input_tokens") - text  # what is not said to be text is taken for the dearer
            dollars = text * price.text_in + audio * price.audio_in
            return (dollars + _count(usage, "output_tokens") * price.text_out) / 1_000_000
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(usage: Mapping[str, Any], name: str) -> int:
    """A count of the service's; what is not a sensible number counts 0 rather than breaking the session."""
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
