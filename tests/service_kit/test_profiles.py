from __future__ import annotations

from pathlib import Path

import pytest

from service_kit.prices import PRICES, Price
from service_kit.profiles import CLIENT_EVENTS, Profile, ProfileLimits, ProfilesError, load_profiles, parse_profiles

MINIMAL = '[profiles.p]\nmodel = "gpt-realtime-2.1"\n'


def profile(text: str) -> Profile:
    return parse_profiles(MINIMAL + text).profiles["p"]


def test_defaults_are_strict() -> None:
    strict = profile("")
    assert strict.callers == ()
    assert strict.open_fields == ()
    assert strict.hide == ("instructions", "tools", "tool_choice", "prompt", "tracing")
    assert set(strict.client_events) == CLIENT_EVENTS - {"output_audio_buffer.clear"}
    assert strict.client_content == ("input_audio", "input_text")
    assert strict.limits == ProfileLimits(
        token_seconds=300,
        max_session_seconds=600,
        max_input_audio_seconds=600,
        max_total_tokens=200_000,
        max_cost_usd=None,
        max_output_tokens=4_096,
        max_message_bytes=1_048_576,
        max_messages_per_second=100,
        audio_burst_seconds=60,
        idle_seconds=120,
        max_refused_events_per_minute=20,
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("opne_fields = []", "opne_fields"),
        ('callers = ["everybody"]', "callers"),
        ('callers = "anonymous"', "callers"),
        ('open_fields = ["voice"]', "voice"),
        ('open_fields = ["tracing"]', "tracing"),
        ('open_fields = ["model"]', "model"),
        ('hide = ["secrets"]', "secrets"),
        ('client_events = ["session.delete"]', "session.delete"),
        ('client_content = ["output_text"]', "output_text"),
        ('on_locked_field = "ignore"', "on_locked_field"),
        ('[profiles.p.session]\nmodel = "other"', "model"),
        ("[profiles.p.session]\ntemperature = 1", "temperature"),
        ("[profiles.p.session.audio.output]\nvoice = 1", "audio.output.voice"),
        ("[profiles.p.limits]\nmax_seconds = 1", "max_seconds"),
        ('[profiles.p.limits]\nidle_seconds = "60"', "idle_seconds"),
        ("[profiles.p.limits]\nidle_seconds = 60.0", "idle_seconds"),
        ("[profiles.p.limits]\nidle_seconds = true", "idle_seconds"),
        ('[profiles."Not a name"]\nmodel = "m"', "Not a name"),
        ("[profile.q]", "profile"),
    ],
)
def test_a_problem_is_named(text: str, named: str) -> None:
    with pytest.raises(ProfilesError, match=named):
        parse_profiles(MINIMAL + text)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("token_seconds", 10, 300),
        ("max_session_seconds", 1, 3_600),
        ("max_input_audio_seconds", 1, 3_600),
        ("max_total_tokens", 1, 100_000_000),
        ("max_output_tokens", 1, 4_096),
        ("max_message_bytes", 1_024, 22_020_096),
        ("max_messages_per_second", 1, 10_000),
        ("audio_burst_seconds", 1, 3_600),
        ("idle_seconds", 1, 3_600),
        ("max_refused_events_per_minute", 1, 10_000),
    ],
)
def test_limits_have_ranges(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(profile(f"[profiles.p.limits]\n{name} = {value}").limits, name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ProfilesError, match=name):
            profile(f"[profiles.p.limits]\n{name} = {value}")


@pytest.mark.parametrize("cost", ["0", "-1", "nan", "inf", "100001", '"2"'])
def test_a_cost_cap_is_an_amount(cost: str) -> None:
    with pytest.raises(ProfilesError, match="max_cost_usd"):
        profile(f"[profiles.p.limits]\nmax_cost_usd = {cost}")


@pytest.mark.parametrize("cost", ["2", "0.01"])
def test_a_cost_cap_may_be_whole_dollars(cost: str) -> None:
    assert profile(f"[profiles.p.limits]\nmax_cost_usd = {cost}").limits.max_cost_usd == float(cost)


UNPRICED = '[profiles.p]\nmodel = "m"\n[profiles.p.limits]\nmax_cost_usd = 1\n'
ROW = {column: index + 1 for index, column in enumerate(Price.model_fields)}


def row(table: str, **columns: object) -> str:
    return f"[{table}]\n" + "".join(f"{name} = {value}\n" for name, value in columns.items())


def test_a_cost_cap_needs_a_priced_model() -> None:
    other = UNPRICED.replace("profiles.p", "profiles.q").replace('"m"', '"n"')
    with pytest.raises(ProfilesError) as caught:
        parse_profiles(UNPRICED + other)
    for named in ("p: limits.max_cost_usd", "no price for 'm'", "q: limits.max_cost_usd", "no price for 'n'"):
        assert named in str(caught.value)


def test_a_price_can_be_added_and_replaced() -> None:
    parsed = parse_profiles(UNPRICED + row("prices.m", **ROW) + row('prices."gpt-realtime-2.1"', **ROW))
    for model in ("m", "gpt-realtime-2.1"):
        assert parsed.price_list.responses[model].model_dump() == ROW
    assert parsed.price_list.responses["gpt-realtime-2"] == PRICES["gpt-realtime-2"]


TRANSCRIBING = """
[profiles.p]
model = "t"
{0}
[profiles.p.session]
type = "transcription"
[profiles.p.session.audio.input.transcription]
{1}
[profiles.p.limits]
max_cost_usd = 1
"""
BY_MINUTE = row("transcription_prices.t", minute=0.006)


def test_a_transcription_s_cost_cap_needs_a_price_of_the_model_it_is_locked_to() -> None:
    parsed = parse_profiles(TRANSCRIBING.format("", 'model = "t"') + BY_MINUTE)
    assert parsed.price_list.transcription["t"].minute == 0.006
    for open_fields, model, prices in (
        ("", 'model = "t"', ""),
        ("", 'model = "t"', row("prices.t", **ROW)),
        ("", 'model = "u"', BY_MINUTE),
        ("", 'language = "en"', BY_MINUTE),
        ('open_fields = ["audio.input.transcription"]', 'model = "t"', BY_MINUTE),
        ('open_fields = ["audio.input"]', 'model = "t"', BY_MINUTE),
    ):
        with pytest.raises(ProfilesError, match="transcription_prices"):
            parse_profiles(TRANSCRIBING.format(open_fields, model) + prices)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        *((row("prices.m", **{k: v for k, v in ROW.items() if k != gone}), f"prices.m.{gone}") for gone in ROW),
        *((row("prices.m", **ROW | {"text_in": x}), "prices.m.text_in") for x in ("-1", "nan", "inf", "true", '"4"')),
        (row("prices.m", **ROW, minute=1), "prices.m.minute"),
        ("prices = 1", "prices"),
        (row('prices.""', **ROW), "prices"),
        (row("transcription_prices.t"), "transcription_prices.t"),
        (row("transcription_prices.t", text_in=1, audio_in=1), "transcription_prices.t"),
        (row("transcription_prices.t", text_in=1, audio_in=1, text_out=1, minute=1), "transcription_prices.t"),
        (row("transcription_prices.t", minute=1, text_out=1), "transcription_prices.t"),
        (row("transcription_prices.t", minute=-1), "transcription_prices.t.minute"),
        (row("transcription_prices.t", hour=1), "transcription_prices.t.hour"),
    ],
)  # fmt: skip
def test_a_problem_of_a_price_is_named(text: str, named: str) -> None:
    with pytest.raises(ProfilesError) as caught:
        parse_profiles(text + "\n" + MINIMAL)
    assert named in str(caught.value)


def test_every_problem_of_the_prices_is_listed() -> None:
    with pytest.raises(ProfilesError) as caught:
        parse_profiles(row("prices.m", text_in=-1) + row("transcription_prices.t") + UNPRICED.replace('"m"', '""'))
    for named in ("prices.m.text_in", "prices.m.audio_out", "transcription_prices.t", "profiles.p.model"):
        assert named in str(caught.value)


def test_every_problem_is_listed() -> None:
    with pytest.raises(ProfilesError) as caught:
        parse_profiles('[profiles.a]\nmodell = "m"\n[profiles.b]\nmodel = ""\nhide = ["x"]')
    for named in ("profiles.a.modell", "profiles.a.model", "profiles.b.model", "profiles.b.hide"):
        assert named in str(caught.value)


@pytest.mark.parametrize("text", ["", "[profiles]", "profiles = 1", "[profiles.p", "profiles = []"])
def test_a_file_without_profiles_is_refused(text: str) -> None:
    with pytest.raises(ProfilesError):
        parse_profiles(text)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_file_is_a_problem_like_others(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "profiles.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProfilesError):
        load_profiles(path)


LOCKED = """
open_fields = ["audio.output.voice", "instructions"]
[profiles.p.session]
instructions = "i"
[profiles.p.limits]
max_output_tokens = 1000
"""


def test_lock_holds_type_model_and_the_token_cap() -> None:
    lock = profile(LOCKED).lock()
    assert lock.session == {
        "type": "realtime",
        "model": "gpt-realtime-2.1",
        "instructions": "i",
        "max_output_tokens": 1_000,
    }
    assert lock.open_fields == {"audio.output.voice", "instructions"}


@pytest.mark.parametrize(("asked", "locked"), [(10, 10), (1_000, 1_000), (2_000, 1_000), ("inf", 1_000)])
def test_a_session_s_output_tokens_are_lowered_to_the_limit(asked: object, locked: int) -> None:
    assert profile(LOCKED).lock({"max_output_tokens": asked}).session["max_output_tokens"] == locked


def test_what_a_trusted_session_sets_is_closed() -> None:
    lock = profile(LOCKED).lock({"model": "other", "instructions": "theirs"})
    assert lock.model == "other"
    assert lock.session["instructions"] == "theirs"
    assert lock.open_fields == {"audio.output.voice"}


def test_a_trusted_session_closes_a_field_inside_an_open_branch() -> None:
    opened = profile('open_fields = ["audio"]')
    lock = opened.lock({"audio": {"output": {"voice": "marin"}}})
    assert "audio" not in lock.open_fields


def test_a_transcription_session_has_no_output_tokens() -> None:
    lock = profile('[profiles.p.session]\ntype = "transcription"').lock()
    assert lock.session == {"type": "transcription", "model": "gpt-realtime-2.1"}


UPSTREAM = {
    "name": '"sweden"',
    "kind": '"azure"',
    "base_url": '"https://voice-se.openai.azure.com/openai/v1/"',
    "auth": '"secret:sweden-key"',
    "models": '{ "gpt-realtime-2.1" = "voice" }',
}


def upstream(**changes: str | None) -> str:
    lines = [f"{key} = {value}" for key, value in (UPSTREAM | changes).items() if value is not None]
    return "\n".join(["[[upstreams]]", *lines, ""])


def test_upstreams_keep_their_order() -> None:
    parsed = parse_profiles(MINIMAL + upstream() + upstream(name='"france"', kind='"openai"', models=None))
    sweden, france = parsed.upstreams
    assert (sweden.name, sweden.kind, sweden.secret) == ("sweden", "azure", "sweden-key")
    assert sweden.base_url == "https://voice-se.openai.azure.com/openai/v1"
    assert (france.name, france.kind) == ("france", "openai")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": None}, "upstreams.0.name"),
        ({"name": '"Sweden Central"'}, "upstreams.0.name"),
        ({"kind": '"bedrock"'}, "upstreams.0.kind"),
        ({"base_url": None}, "upstreams.0.base_url"),
        ({"base_url": '"voice-se.openai.azure.com"'}, "upstreams.0.base_url"),
        ({"base_url": '"https://x/v1?api-version=2025-04-01-preview"'}, "upstreams.0.base_url"),
        ({"base_url": '"https://me:pass@x/v1"'}, "upstreams.0.base_url"),
        ({"auth": None}, "upstreams.0.auth"),
        ({"auth": '"sk-real-key"'}, "must be managed_identity or secret:NAME"),
        ({"auth": '"secret:SWEDEN_KEY"'}, "must be managed_identity or secret:NAME"),
        ({"auth": '"secret:token-signing-keys"'}, "not an upstream's key"),
        ({"auth": '"managed_identity"', "kind": '"openai"'}, "managed_identity is for the kind azure alone"),
        ({"models": "{}"}, "upstreams.0.models"),
        ({"models": '["gpt-realtime-2.1"]'}, "upstreams.0.models"),
        ({"models": '{ "gpt-realtime-2.1" = "" }'}, "upstreams.0.models"),
        ({"models": '{ "gpt-realtime" = "voice" }'}, "none has the model 'gpt-realtime-2.1' of the profile 'p'"),
        ({"api_version": '"2025-04-01-preview"'}, "upstreams.0.api_version"),
    ],
)
def test_a_problem_of_an_upstream_is_named(changes: dict[str, str | None], named: str) -> None:
    with pytest.raises(ProfilesError) as caught:
        parse_profiles(MINIMAL + upstream(**changes))
    assert named in str(caught.value)
    for secret in ("sk-real-key", "pass@"):
        assert secret not in str(caught.value)


def test_two_upstreams_have_two_names() -> None:
    with pytest.raises(ProfilesError, match="same name"):
        parse_profiles(MINIMAL + upstream() + upstream())


def test_a_model_is_wanted_of_one_upstream_only() -> None:
    other = upstream(name='"other"', models='{ "gpt-realtime" = "voice" }')
    assert len(parse_profiles(MINIMAL + other + upstream()).upstreams) == 2
