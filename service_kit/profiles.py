"""Profiles: named, server-side session configurations with their locks and limits, loaded from one TOML file.

Defaults are strict and unknown keys are refused, so that a typing error cannot open a lock (DESIGN: "Profiles").
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from service_kit.prices import PRICES, Price, PriceList, TranscriptionPrice
from service_kit.session_fields import (
    FIELDS,
    OPENABLE,
    TRANSCRIPTION,
    InvalidField,
    Session,
    check_session,
    is_open,
    transcription_model,
)
from service_kit.session_token import MAX_TOKEN_SECONDS, Limits, Lock
from service_kit.upstreams import UpstreamSettings, any_has

CLIENT_EVENTS: Final = frozenset(
    {
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "output_audio_buffer.clear",
        "conversation.item.create",
        "conversation.item.retrieve",
        "conversation.item.truncate",
        "conversation.item.delete",
        "response.create",
        "response.cancel",
    }
)
"""The complete GA list (realtime-protocol reference §3.2)."""

CLIENT_CONTENT: Final = frozenset({"input_text", "input_audio", "input_image"})
"""The parts that a user's message may have (realtime-protocol reference §3.4)."""

ProfileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
ModelName = Annotated[str, Field(min_length=1, max_length=128)]
CallerKind = Literal["anonymous", "oidc", "api_key"]


class ProfilesError(Exception):
    """The profiles file is missing or wrong; the message lists every problem."""


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ProfileLimits(_Strict):
    """What one session may use. Seconds are whole seconds; every key is optional."""

    token_seconds: Annotated[int, Field(ge=10, le=MAX_TOKEN_SECONDS)] = MAX_TOKEN_SECONDS
    max_session_seconds: Annotated[int, Field(ge=1, le=3_600)] = 600
    max_input_audio_seconds: Annotated[int, Field(ge=1, le=3_600)] = 600
    max_total_tokens: Annotated[int, Field(ge=1, le=100_000_000)] = 200_000
    max_cost_usd: Annotated[float, Field(gt=0, le=100_000)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=4_096)] = 4_096
    max_message_bytes: Annotated[int, Field(ge=1_024, le=22_020_096)] = 1_048_576
    max_messages_per_second: Annotated[int, Field(ge=1, le=10_000)] = 100
    audio_burst_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    idle_seconds: Annotated[int, Field(ge=1, le=3_600)] = 120
    max_refused_events_per_minute: Annotated[int, Field(ge=1, le=10_000)] = 20


class Profile(_Strict):
    """One named session configuration."""

    model: ModelName
    callers: tuple[CallerKind, ...] = ()
    roles: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    open_fields: tuple[str, ...] = ()
    on_locked_field: Literal["narrow", "refuse"] = "narrow"
    hide: tuple[str, ...] = ("instructions", "tools", "tool_choice", "prompt", "tracing")
    client_events: tuple[str, ...] = tuple(sorted(CLIENT_EVENTS - {"output_audio_buffer.clear"}))
    client_content: tuple[str, ...] = ("input_audio", "input_text")
    beta_clients: bool = True
    session: Session = {}
    limits: ProfileLimits = ProfileLimits()

    @model_validator(mode="before")
    @classmethod
    def _lists_to_tuples(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        return {key: _tuple(value) for key, value in data.items()}

    @field_validator("open_fields")
    @classmethod
    def _open_fields_exist(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if not any(is_open(field, (path,)) for field in OPENABLE):
                raise ValueError(f"'{path}' is not a field that can be opened")
        return paths

    @field_validator("hide")
    @classmethod
    def _hidden_fields_exist(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if not any(is_open(field, (path,)) for field in FIELDS):
                raise ValueError(f"'{path}' is not a session field")
        return paths

    @field_validator("client_events")
    @classmethod
    def _client_events_exist(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        for event_type in types:
            if event_type not in CLIENT_EVENTS:
                raise ValueError(f"'{event_type}' is not a client event")
        return types

    @field_validator("client_content")
    @classmethod
    def _client_content_exists(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        for part_type in types:
            if part_type not in CLIENT_CONTENT:
                raise ValueError(f"'{part_type}' is not a part of a user's message")
        return types

    @field_validator("session")
    @classmethod
    def _session_is_valid(cls, session: Session) -> Session:
        if "model" in session:
            raise ValueError("the model stands in the profile, not in its session")
        try:
            return check_session(session)
        except InvalidField as error:
            raise ValueError(str(error)) from error

    @property
    def session_type(self) -> str:
        """``realtime`` or ``transcription``."""
        return str(self.session.get("type", "realtime"))

    def lock(self, session: Session | None = None) -> Lock:
        """The lock this profile gives; a trusted caller's checked ``session`` takes the place of the profile's own.

        What such a caller set is locked, even where the profile leaves the field open to browsers.
        """
        locked = dict(self.session if session is None else session)
        locked.setdefault("type", "realtime")
        locked.setdefault("model", self.model)
        open_fields = frozenset(self.open_fields)
        if session is not None:
            open_fields = frozenset(path for path in open_fields if not _holds(session, path))
        if locked["type"] == "realtime":
            ceiling = self.limits.max_output_tokens
            asked = locked.get("max_output_tokens", ceiling)
            locked["max_output_tokens"] = min(asked, ceiling) if isinstance(asked, int) else ceiling
        return Lock(
            session=locked,
            open_fields=open_fields,
            on_locked_field=self.on_locked_field,
            hide=frozenset(self.hide),
            client_events=frozenset(self.client_events),
            client_content=frozenset(self.client_content),
            beta_clients=self.beta_clients,
        )

    @cached_property
    def usual_lock(self) -> Lock:
        """The lock without any caller's session, made once: what is in it is not to be changed."""
        return self.lock()

    @cached_property
    def session_limits(self) -> Limits:
        """The limits as a token carries them."""
        return Limits(**self.limits.model_dump(exclude={"token_seconds"}))


def _holds(session: Mapping[str, object], path: str) -> bool:
    node: object = session
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True


class Profiles(_Strict):
    """The whole file: profiles by name, the upstreams in the order in which they are tried, and prices by model."""

    prices: dict[ModelName, Price] = {}
    transcription_prices: dict[ModelName, TranscriptionPrice] = {}
    profiles: Annotated[dict[ProfileName, Profile], Field(min_length=1)]
    upstreams: Annotated[tuple[UpstreamSettings, ...], BeforeValidator(_tuple)] = ()

    @field_validator("profiles")
    @classmethod
    def _costs_can_be_counted(cls, profiles: dict[str, Profile], info: ValidationInfo) -> dict[str, Profile]:
        prices = _price_list(info.data.get("prices", {}), info.data.get("transcription_prices", {}))
        uncounted = [
            f"{name}: limits.max_cost_usd counts with a price, and there is {_missing_price(profile)}"
            for name, profile in profiles.items()
            if profile.limits.max_cost_usd is not None and not prices.can_count(profile.lock())
        ]
        if uncounted:
            raise ValueError("; ".join(uncounted))
        return profiles

    @cached_property
    def price_list(self) -> PriceList:
        """The shipped prices with this file's laid over them."""
        return _price_list(self.prices, self.transcription_prices)

    @field_validator("upstreams")
    @classmethod
    def _upstreams_have_every_model(
        cls, upstreams: tuple[UpstreamSettings, ...], info: ValidationInfo
    ) -> tuple[UpstreamSettings, ...]:
        if len({upstream.name for upstream in upstreams}) < len(upstreams):
            raise ValueError("two upstreams have the same name")
        profiles: dict[str, Profile] = info.data.get("profiles", {})
        for name, profile in profiles.items() if upstreams else ():
            if not any_has(upstreams, profile.model):
                raise ValueError(f"none has the model '{profile.model}' of the profile '{name}'")
        return upstreams


def _price_list(prices: Mapping[str, Price], transcription_prices: Mapping[str, TranscriptionPrice]) -> PriceList:
    return PriceList({**PRICES, **prices}, transcription_prices)


def _missing_price(profile: Profile) -> str:
    if profile.session_type != "transcription":
        return f"no price for '{profile.model}'; add it under [prices]"
    model = transcription_model(profile.session)
    return (
        f"none for the transcription model '{model}' under [transcription_prices]"
        f", or {TRANSCRIPTION} is open, so that a client could choose another"
    )


def parse_profiles(text: str) -> Profiles:
    """Check a profiles file's text. Raises ProfilesError listing every problem."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfilesError(f"is not TOML: {error}") from error
    try:
        return Profiles.model_validate(data)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)]
        raise ProfilesError("; ".join(problems)) from error


def load_profiles(path: Path) -> Profiles:
    """Read and check a profiles file. Raises ProfilesError."""
    try:
        return parse_profiles(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfilesError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProfilesError("is not UTF-8") from error
