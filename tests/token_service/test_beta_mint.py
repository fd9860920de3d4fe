"""The beta's shapes of minting: the same token under the same rules, asked for and shown in flat fields."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.beta.realtime.session_create_response import SessionCreateResponse
from openai.types.beta.realtime.transcription_session import TranscriptionSession
from redis.asyncio import Redis

from service_kit.errors import Refusal
from service_kit.session_token import Claims, SessionTokenCodec, TokenKeys
from service_kit.token_record import record_key
from tests.examples import KEY, PAGE
from tests.serving import serving
from tests.token_service.conftest import SHOP, MakeSettings
from token_service.app import create_app
from token_service.beta_mint import (
    BetaSessionRequest,
    BetaTranscriptionSessionRequest,
    in_beta_words,
    parse_beta_session_request,
    parse_beta_transcription_request,
)

SESSIONS, TRANSCRIPTIONS = "/v1/realtime/sessions", "/v1/realtime/transcription_sessions"
CODEC = SessionTokenCodec([KEY], "development")
VAD = {"type": "server_vad", "threshold": 0.4}


async def claims_of(redis: Redis, token: str) -> Claims:
    keys = TokenKeys.of(CODEC.decode(token, time.time()).secret)
    sealed: Any = await redis.hget(record_key("development", keys.token_id), "sealed")
    return keys.unseal(sealed)


async def test_openai_s_client_mints_by_its_beta_helper(make_settings: MakeSettings, redis: Redis) -> None:
    async with (
        serving(create_app(*make_settings())) as port,
        openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="shop-key", max_retries=0) as client,
    ):
        session = await client.beta.realtime.sessions.create(
            client_secret={"expires_after": {"anchor": "created_at", "seconds": 60}},
            instructions="Speak like a pirate.",
            voice="verse",
            speed=1.25,
            modalities=["text", "audio"],
            input_audio_format="g711_ulaw",
            turn_detection={"type": "semantic_vad", "eagerness": "low"},
            input_audio_transcription={"model": "whisper-1"},
            input_audio_noise_reduction={"type": "near_field"},
            max_response_output_tokens=100,
            temperature=0.7,
            tools=[{"type": "function", "name": "look_up", "parameters": {}}],
            tool_choice="none",
        )
    assert session.client_secret.value.startswith("ek_")
    assert time.time() + 58 <= session.client_secret.expires_at <= time.time() + 60
    SessionCreateResponse.model_validate(session.model_dump(), strict=True)
    assert (session.voice, session.speed, session.input_audio_format) == ("verse", 1.25, "g711_ulaw")
    assert (session.modalities, session.max_response_output_tokens) == (["text", "audio"], 100)
    assert session.instructions is None  # hidden by the profile, like the tools
    assert (await claims_of(redis, session.client_secret.value)).lock.session == {
        "type": "realtime",
        "model": "gpt-realtime-2.1",
        "instructions": "Speak like a pirate.",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "whisper-1"},
                "noise_reduction": {"type": "near_field"},
                "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
            },
            "output": {"voice": "verse", "speed": 1.25},
        },
        "max_output_tokens": 100,
        "tools": [{"type": "function", "name": "look_up", "parameters": {}}],
        "tool_choice": "none",
    }


async def test_openai_s_client_mints_a_transcription_by_its_beta_helper(
    make_settings: MakeSettings, redis: Redis
) -> None:
    keys = (SHOP | {"profiles": ("default", "dictation")},)
    async with (
        serving(create_app(*make_settings(caller_api_keys=keys))) as port,
        openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="shop-key", max_retries=0) as client,
    ):
        session = await client.beta.realtime.transcription_sessions.create(
            client_secret={"expires_at": {"anchor": "created_at", "seconds": 30}},
            input_audio_format="pcm16",
            input_audio_transcription={"model": "gpt-4o-transcribe", "language": "en"},
            turn_detection={"type": "server_vad", "silence_duration_ms": 300},
            modalities=["text", "audio"],
        )
    TranscriptionSession.model_validate(session.model_dump(), strict=True)
    assert time.time() + 28 <= session.client_secret.expires_at <= time.time() + 30
    claims = await claims_of(redis, session.client_secret.value)
    assert claims.profile == "dictation"
    assert claims.lock.session == {
        "type": "transcription",
        "model": "gpt-transcribe",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
            }
        },
    }


async def test_a_page_mints_in_the_beta_s_shape_under_the_rules_of_ga(
    http: aiohttp.ClientSession, redis: Redis
) -> None:
    async with http.post(SESSIONS, json={"voice": "cedar", "temperature": 0.8}, headers={"Origin": PAGE}) as response:
        assert response.status == 200
        answer = await response.json()
    assert answer["voice"] == "cedar"
    assert not {"value", "session", "audio", "type", "temperature", "instructions", "tools"} & answer.keys()
    claims = await claims_of(redis, answer["client_secret"]["value"])
    assert claims.origin == PAGE
    assert claims.lock.session["instructions"] == "canary-instructions"
    assert claims.lock.session["audio"] == {"output": {"voice": "cedar"}}
    for body in ({}, {"temperature": 0.8}):
        async with http.post(SESSIONS, json=body, headers={"Origin": PAGE}) as response:
            token = (await response.json())["client_secret"]["value"]
        assert (await claims_of(redis, token)).lock.session["audio"] == {"output": {"voice": "marin"}}


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        (SESSIONS, {"instructions": "x"}, "unsupported_parameter", "instructions"),
        (SESSIONS, {"speed": 1.0}, "unsupported_parameter", "speed"),
        (SESSIONS, {"input_audio_format": "pcm16"}, "unsupported_parameter", "input_audio_format"),
        (SESSIONS, {"tools": []}, "unsupported_parameter", "tools"),
        (SESSIONS, {"tracing": "auto"}, "unsupported_parameter", "tracing"),
        (SESSIONS, {"session": {}}, "unsupported_parameter", "session"),
        (SESSIONS, {"audio": {}}, "unsupported_parameter", "audio"),
        (SESSIONS, {"expires_after": {}}, "unsupported_parameter", "expires_after"),
        (SESSIONS, {"airlock": {"subject": "a"}}, "unsupported_parameter", "airlock.subject"),
        (SESSIONS, {"model": "gpt-realtime-2"}, "model_mismatch", "model"),
        (SESSIONS, {"voice": 1}, "invalid_request", "voice"),
        (SESSIONS, {"modalities": ["smell"]}, "invalid_request", "modalities"),
        (SESSIONS, {"modalities": [{}]}, "invalid_request", "modalities"),
        (SESSIONS, {"turn_detection": {"type": "ears"}}, "invalid_request", "turn_detection"),
        (SESSIONS, {"client_secret": "x"}, "invalid_request", "client_secret"),
        (SESSIONS, {"client_secret": {"expires_at": {}}}, "unsupported_parameter", "client_secret.expires_at"),
        (
            SESSIONS,
            {"client_secret": {"expires_after": {"seconds": 9}}},
            "invalid_request",
            "client_secret.expires_after.seconds",
        ),
        (
            TRANSCRIPTIONS,
            {"client_secret": {"expires_at": {"seconds": 7_201}}},
            "invalid_request",
            "client_secret.expires_at.seconds",
        ),
        (
            TRANSCRIPTIONS,
            {"client_secret": {"expires_after": {}}},
            "unsupported_parameter",
            "client_secret.expires_after",
        ),
        (TRANSCRIPTIONS, {"voice": "ash"}, "unsupported_parameter", "voice"),
        (TRANSCRIPTIONS, {"model": "x"}, "unsupported_parameter", "model"),
        (TRANSCRIPTIONS, {"input_audio_transcription": {"model": 1}}, "invalid_request", "input_audio_transcription"),
        (TRANSCRIPTIONS, {"airlock": {"profile": "default"}}, "invalid_request", "type"),
    ],
)  # fmt: skip
async def test_what_is_refused_is_named_as_the_caller_wrote_it(
    http: aiohttp.ClientSession, redis: Redis, path: str, body: object, code: str, param: str
) -> None:
    async with http.post(path, json=body, headers={"Origin": PAGE}) as response:
        error = (await response.json())["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert "audio." not in error["message"]
    assert "session." not in error["message"]
    assert not await redis.keys("airlock:*:token:*")


def test_a_refusal_of_something_else_keeps_its_name() -> None:
    refusal = Refusal("unsupported_parameter", param="airlock.profile")
    in_beta_words(refusal)
    assert refusal.param == "airlock.profile"


def test_every_field_of_openai_s_helpers_is_understood() -> None:
    from openai.types.beta.realtime.session_create_params import SessionCreateParams
    from openai.types.beta.realtime.transcription_session_create_params import TranscriptionSessionCreateParams

    ours = {"airlock", "include"}  # of late in the beta, and only for transcriptions in the types
    assert BetaSessionRequest.model_fields.keys() - ours == set(SessionCreateParams.__annotations__)
    assert BetaTranscriptionSessionRequest.model_fields.keys() - {"airlock"} == set(
        TranscriptionSessionCreateParams.__annotations__
    )


def test_a_body_that_says_nothing_of_the_session_leaves_it_to_the_profile() -> None:
    assert parse_beta_session_request({}).session is None
    assert parse_beta_session_request({"temperature": 1}).session is None
    assert parse_beta_session_request({"turn_detection": None}).session == {
        "audio": {"input": {"turn_detection": None}}
    }
    assert parse_beta_transcription_request({"modalities": ["text"]}).session == {"type": "transcription"}
