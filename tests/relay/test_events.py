"""Events as bytes: the fast paths accept exactly what the slow paths would forward unchanged."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import events
from relay.conversation import Conversation
from relay.events import (
    AudioFormat,
    Deltas,
    InvalidAudio,
    audio_bytes,
    canonical_append,
    decode_browser_event,
    decode_model_event,
    encode,
    new_event_id,
)
from relay.policy import Forward, judge_browser_event
from service_kit.errors import Refusal
from tests.relay.building import append_frame, audio_delta, audio_text, make_limits, make_lock, to_frame

HEAD = b'{"type":"input_audio_buffer.append","audio":"'
TAIL = b'"}'
LOCK, LIMITS = make_lock(), make_limits()


def slow_path(frame: bytes, audio_format: str = "audio/pcm") -> Forward | None:
    """What the full reading makes of a frame; None if it is refused."""
    conversation = Conversation({"audio": {"input": {"format": {"type": audio_format}}}})
    try:
        verdict = judge_browser_event(decode_browser_event(frame), lock=LOCK, limits=LIMITS, conversation=conversation)
    except Refusal:
        return None
    assert isinstance(verdict, Forward)
    return verdict


NOT_BASE64 = [
    b"A", b"AA", b"AAA", b"AAAAA", b"=", b"==", b"====", b"A===", b"AA=", b"AAAA=", b"AAAA==", b"AAAA====",
    b"AA==AAAA", b"AA=A", b"AA-_", b"AAAA\n", b"\nAAAA", b"AA AA", b" AAAA", b"AAAA\x00", b"AA\tAA", b"AAA\xc3\xa9",
    b"\xff\xff\xff\xff", b"AAA*", b"AA\\nA", b"\\u0041AAA", b'AAAA","x":"AAAA', b"AAAA\\", b"\xef\xbb\xbfAAAA",
]  # fmt: skip


@pytest.mark.parametrize("size", [0, 2, 4, 6, 8, 480, 960, 19_200])
def test_a_canonical_append_is_what_rebuilding_would_yield(size: int) -> None:
    frame = append_frame(size)
    assert canonical_append(frame, 2) == size
    slow = slow_path(frame)
    assert slow is not None
    assert (encode(slow.event), slow.audio_bytes) == (frame, size)


@pytest.mark.parametrize("size", [1, 3, 481])
def test_half_a_sample_is_refused_on_both_paths(size: int) -> None:
    assert canonical_append(append_frame(size), 2) is None
    assert slow_path(append_frame(size)) is None
    assert canonical_append(append_frame(size), 1) == size
    assert slow_path(append_frame(size), "audio/pcmu") is not None


@pytest.mark.parametrize("junk", NOT_BASE64)
def test_what_is_not_base64_is_refused_on_both_paths(junk: bytes) -> None:
    frame = HEAD + junk + TAIL
    assert canonical_append(frame, 1) is None
    if b"\\u0041" in junk:  # an escaped letter is base64 once it was read; the rebuilt event spells it plainly
        return
    slow = slow_path(frame, "audio/pcmu")
    assert slow is None or encode(slow.event) != frame


def test_an_escaped_letter_of_base64_is_read_and_spelled_plainly() -> None:
    slow = slow_path(HEAD + b"\\u0041AAA" + TAIL, "audio/pcmu")
    assert slow is not None
    assert encode(slow.event) == HEAD + b"AAAA" + TAIL


@pytest.mark.parametrize(
    "frame",
    [
        HEAD + b"}",  # head and tail share the quote: not JSON
        HEAD,
        HEAD[:-1] + TAIL,
        TAIL,
        b"",
        HEAD + TAIL + b" ",
        b" " + HEAD + TAIL,
        b"\xef\xbb\xbf" + HEAD + TAIL,
        HEAD + TAIL + b"\n" + HEAD + TAIL,
        HEAD + TAIL[:1],
        HEAD.replace(b"append", b"commit") + TAIL,
        HEAD.replace(b'"type"', b'"Type"') + TAIL,
    ],
)
def test_the_fast_path_leaves_all_else_to_the_full_reading(frame: bytes) -> None:
    assert canonical_append(frame, 1) is None


def test_the_shortest_canonical_append_is_head_and_tail() -> None:
    assert canonical_append(HEAD + TAIL, 2) == 0
    assert slow_path(HEAD + TAIL) is not None


near_canonical = st.one_of(
    st.binary(max_size=64).map(lambda raw: HEAD + base64.b64encode(raw) + TAIL),
    st.binary(max_size=24).map(lambda raw: HEAD + raw + TAIL),
    st.text(alphabet='AZaz09+/=-_ \\"\n{}:,u0041é', max_size=24).map(lambda text: HEAD + text.encode() + TAIL),
    st.tuples(st.binary(max_size=24), st.integers(0, 80), st.binary(max_size=3)).map(
        lambda parts: (lambda frame: frame[: parts[1]] + parts[2] + frame[parts[1] + 1 :])(
            HEAD + base64.b64encode(parts[0]) + TAIL
        )
    ),
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda cut: (HEAD + TAIL)[: cut[0]] + TAIL[: cut[1]]),
)


@settings(max_examples=2_000, deadline=None)
@given(frame=near_canonical, audio_format=st.sampled_from(["audio/pcm", "audio/pcmu"]))
def test_what_the_fast_path_accepts_the_slow_path_rebuilds_to_the_same_bytes(frame: bytes, audio_format: str) -> None:
    sample = AudioFormat.of(audio_format).bytes_per_sample
    fast, slow = canonical_append(frame, sample), slow_path(frame, audio_format)
    if fast is not None:
        assert slow is not None
        assert (encode(slow.event), slow.audio_bytes) == (frame, fast)
    elif slow is not None and encode(slow.event) == frame:
        assert not frame.startswith(HEAD), "a canonical append that the fast path missed"


@settings(max_examples=500, deadline=None)
@given(raw=st.binary(max_size=200))
def test_audio_bytes_counts_what_a_strict_decode_yields(raw: bytes) -> None:
    text = base64.b64encode(raw)
    assert audio_bytes(text, 1) == audio_bytes(text.decode(), 1) == len(raw)
    if len(raw) % 2:
        with pytest.raises(InvalidAudio):
            audio_bytes(text, 2)


@pytest.mark.parametrize(
    ("name", "per_millisecond", "per_sample"),
    [
        ("audio/pcm", 48, 2), ("audio/pcmu", 8, 1), ("audio/pcma", 8, 1),
        ("audio/opus", 48, 2), (None, 48, 2), ([], 48, 2), ({"type": "audio/pcmu"}, 48, 2),
    ],
)  # fmt: skip
def test_an_unknown_audio_format_counts_as_pcm(name: object, per_millisecond: int, per_sample: int) -> None:
    assert AudioFormat.of(name) == AudioFormat(per_millisecond, per_sample)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"null", b"1", b'"text"', b"[]", b"{", b'{"type":"x"', b'{"a":1}{"a":1}', b'{"a":NaN}', b'{"a":Infinity}',
        b'{"a":-Infinity}', b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"a":1,"\\u0061":2}', b'{"a":"\\ud800"}',
        b'{"\\udc00":1}', b'{"a":18446744073709551616}', b'{"a":1e999}', b'\xef\xbb\xbf{"a":1}',
        b"{'a':1}", b'{"a":1,}', b'{"a":01}', b'{"a":"\n"}', b"\x00", b'{"a":1}\x00',
        b'{"a":[' + b"1," * 65_536 + b"1]}", b'{"a":[' + b"[]," * 65_536 + b"1]}",
        b'{"a":' + b"[" * 33 + b"]" * 33 + b"}", b"[" * 200_000, b'{"a":' * 100_000,
    ],
    ids=lambda frame: repr(frame[:24]),
)  # fmt: skip
def test_what_is_not_one_strict_json_object_is_an_invalid_event(frame: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decode_browser_event(frame)
    assert caught.value.code == "invalid_event"


@pytest.mark.parametrize("frame", [b"\xff", b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc3'])
def test_what_is_not_utf8_is_an_invalid_frame_that_closes_with_1007(frame: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decode_browser_event(frame)
    assert (caught.value.code, caught.value.close) == ("invalid_frame", 1007)


# --- the model's deltas ---


def model_delta(frame: bytes) -> int | None:
    """What is read where no other came before."""
    return Deltas().audio_bytes(frame)


SPOKEN = (
    b'{"type":"response.output_audio.delta","event_id":"event_%s","response_id":"resp_1","item_id":"item_1",'
    b'"output_index":0,"content_index":0,"delta":"%s"}'
)


def spoken(audio: bytes, event_id: bytes = b"1") -> bytes:
    """An audio delta as the service spells it."""
    return SPOKEN % (event_id, base64.b64encode(audio))


def taught(frame: bytes | None = None) -> Deltas:
    """A reader that has seen one of them."""
    deltas = Deltas()
    assert deltas.audio_bytes(frame or spoken(b"1234")) == 4
    return deltas


@pytest.mark.parametrize("size", range(1, 13))
def test_a_delta_like_the_one_before_is_read_without_a_parse(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    deltas = taught()
    monkeypatch.setattr(events, "_decode_delta", None)
    assert deltas.audio_bytes(spoken(bytes(size), b"2abc")) == size


def test_the_next_answer_s_deltas_are_learned_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    deltas, later = taught(), spoken(b"123").replace(b"resp_1", b"resp_2")
    assert deltas.audio_bytes(later) == 3
    monkeypatch.setattr(events, "_decode_delta", None)
    assert deltas.audio_bytes(later) == 3


mutated = st.one_of(
    st.binary(max_size=24).map(lambda audio: spoken(audio, b"2")),
    st.binary(max_size=24).map(lambda event_id: spoken(b"1234", event_id)),
    st.text(alphabet='AZaz09+/=-_ \\"\n{}:,u0041é', max_size=24).map(lambda text: spoken(b"12", text.encode())),
    st.text(alphabet='AZaz09+/=-_ \\"\n{}:,u0041é', max_size=24).map(lambda text: SPOKEN % (b"2", text.encode())),
    st.tuples(st.integers(0, 200), st.integers(0, 4), st.binary(max_size=24)).map(
        lambda cut: (lambda frame: frame[: cut[0]] + cut[2] + frame[cut[0] + cut[1] :])(spoken(b"1234", b"2"))
    ),
    st.integers(0, 200).map(lambda size: spoken(b"")[:size] + b'"}'),
)


TEACHERS = [
    spoken(b"1234"),
    spoken(b"1234", b"a-b_c"),
    spoken(b"1234")[:-1] + b',"obfuscation":"x"}',
    audio_delta(4),
]


@settings(max_examples=2_000, deadline=None)
@given(frame=mutated, teacher=st.sampled_from(TEACHERS))
def test_what_came_before_changes_nothing_in_how_an_event_is_read(frame: bytes, teacher: bytes) -> None:
    size = taught(teacher).audio_bytes(frame)
    assert size == model_delta(frame)
    if size is not None:
        assert json.loads(frame).keys() == json.loads(spoken(b"")).keys()


@pytest.mark.parametrize(
    "frame",
    [
        SPOKEN % (b'2","instructions":"x', b"AAAA"),
        SPOKEN % (b"2", b'AAAA","instructions":"x'),
        SPOKEN % (b"2\\", b"AAAA"),
        SPOKEN % (b"2", b"AAAA\\"),
        SPOKEN % (b"2", b"AA\nA"),
        SPOKEN % (b"2", b"AAAA") + b" ",
        (SPOKEN % (b"2", b"AAAA"))[:-2] + b'"]',
        (SPOKEN % (b"2", b"AAAA"))[:-2] + b"AA",
        (SPOKEN % (b"2", b""))[:-2] + b"}",
        SPOKEN % (b"2", b"AAAA") + SPOKEN % (b"2", b"AAAA"),
    ],
)
def test_what_is_spelled_otherwise_is_left_to_the_full_reading(frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    deltas, asked = taught(), []

    def read(frame: bytes) -> None:
        asked.append(frame)
        raise msgspec.DecodeError

    monkeypatch.setattr(events, "_decode_delta", read)
    assert deltas.audio_bytes(frame) is None
    assert asked == [frame]


def test_nothing_is_learned_where_audio_is_not_last() -> None:
    audio = base64.b64encode(b"1234")
    teacher = spoken(b"1234")[:-1] + b',"obfuscation":"x"}'
    cut_as_if_it_were = teacher[: -len(audio + TAIL)] + audio + TAIL
    assert taught(teacher).audio_bytes(cut_as_if_it_were) is None


@pytest.mark.parametrize("size", range(13))
def test_a_deltas_audio_is_counted_to_the_byte_whatever_its_padding(size: int) -> None:
    assert model_delta(audio_delta(size)) == size


@pytest.mark.parametrize("delta", ["=", "==", "===", "A", "A=", ""])
def test_a_nonsense_delta_never_counts_less_than_nothing(delta: str) -> None:
    counted = model_delta(audio_delta(0, delta=delta))
    assert counted is not None
    assert counted >= 0


TEXT_DELTAS: list[dict[str, Any]] = [
    {"type": "response.output_audio_transcript.delta", "content_index": 0},
    {"type": "response.output_text.delta", "content_index": 0, "obfuscation": "xyz"},
    {"type": "response.function_call_arguments.delta", "call_id": "call_1"},
]
STREAMED = {"event_id": "event_1", "response_id": "resp_1", "item_id": "item_1", "output_index": 0, "delta": "hello"}


@pytest.mark.parametrize("event", TEXT_DELTAS, ids=lambda event: str(event["type"]))
def test_a_text_delta_is_fast_and_holds_no_audio(event: dict[str, Any]) -> None:
    assert model_delta(to_frame(event | STREAMED)) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"instructions": "x"}, {"session": {}}, {"unheard_of": 1}, {"type": "response.done"}, {"type": []},
        {"delta": {"instructions": "x"}}, {"delta": ["x"]}, {"delta": None}, {"delta": 1}, {"response_id": {}},
        {"item_id": ["x"]}, {"output_index": "0"}, {"event_id": None}, {"event_id": "x" * 513}, {"obfuscation": {}},
        {"content_index": {"instructions": "x"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_delta_with_anything_unknown_goes_the_slow_way(change: dict[str, Any]) -> None:
    for event in TEXT_DELTAS:
        assert model_delta(to_frame(event | STREAMED | change)) is None
    assert model_delta(audio_delta(4, **change)) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"[]", b"null", b'"x"', b"{}", b'{"type":1}', b'{"type":[]}', b'{"type":{}}', b'{"type":null}',
        b"\x00\xff",
        b'{"type":"x"', b'{"type":"x","a":"\xff"}', b'{"type":"x","a":"\\ud800"}', b'{"type":"x","a":NaN}',
        b'{"type":"x","a":' + b"[" * 100_000, audio_delta(0, event_id="?").replace(b"?", b"\xff"),
        audio_delta(0, delta=0).replace(b'"delta": 0', b'"delta": ' + b"[" * 100_000),
    ],
    ids=lambda frame: repr(frame[:24]),
)  # fmt: skip
def test_what_the_model_sends_that_is_no_event_is_none_and_never_an_exception(frame: bytes) -> None:
    assert decode_model_event(frame) is None
    assert model_delta(frame) is None


@settings(max_examples=500, deadline=None)
@given(frame=st.one_of(st.binary(max_size=80), st.text(max_size=60).map(lambda text: audio_delta(0, delta=text))))
def test_reading_the_models_frames_never_raises(frame: bytes) -> None:
    model_delta(frame)
    decode_model_event(frame)


def test_event_ids_are_unique_and_look_like_the_services() -> None:
    ids = {new_event_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(id_.startswith("event_") for id_ in ids)


def test_encoding_leaves_text_as_it_is() -> None:
    event = {"type": "x", "text": "Grüße </script> \u2028 😀"}
    assert json.loads(encode(event)) == event


def test_audio_text_helper_is_standard_base64() -> None:
    assert base64.b64decode(audio_text(5), validate=True) == bytes(5)
