"""The events of GA and of the beta, as the `openai` package types them: what a strict beta client accepts. Pure."""

import copy
import typing
from typing import Any

from openai.types.beta.realtime.realtime_client_event import RealtimeClientEvent as BetaClientEvent
from openai.types.beta.realtime.realtime_server_event import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent

Json = dict[str, Any]


def events_of(union: Any) -> dict[str, Any]:
    """The classes of a union of events, by their types' names."""
    classes = typing.get_args(typing.get_args(union)[0])
    return {typing.get_args(each.model_fields["type"].annotation)[0]: each for each in classes}


GA_EVENTS = events_of(RealtimeServerEvent)
BETA_EVENTS = events_of(BetaServerEvent)
BETA_CLIENT_EVENTS = events_of(BetaClientEvent)


def assert_a_strict_beta_client_takes(event: Json) -> None:
    told = copy.deepcopy(event)
    if "session" in told:
        told["session"].pop("model", None)  # the type knows the models of its day alone
    if told["type"].startswith("transcription_session"):
        told["type"] = "transcription_session.updated"  # the type of its `created` is not in the package
        told["session"]["client_secret"] = {"value": "", "expires_at": 0}  # typed as there, documented as not
        (told["session"].get("input_audio_transcription") or {}).pop("model", None)
    BETA_EVENTS[told["type"]].model_validate(told, strict=True)
