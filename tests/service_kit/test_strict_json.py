from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_kit.strict_json import MAX_DEPTH, InvalidJson, decode


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"{}", {}),
        (b' {"a": [1, 2.5, true, null, "\\u00e9"]} ', {"a": [1, 2.5, True, None, "é"]}),
        (b'{"a": {"a": {"a": 1}}}', {"a": {"a": {"a": 1}}}),
        (b'"\\ud83d\\ude42"', "🙂"),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1e308", 1e308),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    ],
)
def test_json_is_read(text: bytes, value: object) -> None:
    read = decode(text)
    assert value is None or read == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"a": 1, "a": 2}', id="duplicate key"),
        pytest.param(b'{"a": 1, "\\u0061": 2}', id="duplicate key, escaped"),
        pytest.param(b'{"a": [{"b": {"c": 1, "c": 1}}]}', id="duplicate key at depth"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b'{"a": Infinity}', id="Infinity"),
        pytest.param(b"[-Infinity]", id="-Infinity"),
        pytest.param(b"1e999", id="infinite float"),
        pytest.param(b"-1e999", id="infinite negative float"),
        pytest.param(b"18446744073709551616", id="2**64"),
        pytest.param(b"-9223372036854775809", id="below -2**63"),
        pytest.param(b"1" * 5_000, id="longer than Python converts"),
        pytest.param(b'"\\ud800"', id="lone high surrogate"),
        pytest.param(b'{"a": ["\\udc00"]}', id="lone low surrogate"),
        pytest.param(b'{"\\ud800": 1}', id="lone surrogate in a key"),
        pytest.param(b'"\xed\xa0\x80"', id="surrogate as UTF-8"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b'"\xc0\xaf"', id="overlong UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param("{}".encode("utf-16"), id="UTF-16"),
        pytest.param("{}".encode("utf-16-le"), id="UTF-16 without mark"),
        pytest.param("{}".encode("utf-32"), id="UTF-32"),
        pytest.param(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), id="too deep"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="very deep"),
        pytest.param(b"[" * 1_000_000, id="open brackets"),
        pytest.param(b"{} {}", id="trailing data"),
        pytest.param(b"{}\0", id="trailing zero byte"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b'{"a": 1,}', id="trailing comma"),
        pytest.param(b"{/**/}", id="comment"),
        pytest.param(b"01", id="leading zero"),
        pytest.param(b'"\n"', id="raw control character"),
        pytest.param(b"", id="nothing"),
        pytest.param(b" ", id="white space"),
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidJson):
        decode(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Python's own encoder writes a pair of surrogates for what lies beyond the first plane: both ways are met.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_what_an_encoder_writes_is_read_back(value: object, ascii_only: bool) -> None:
    assert decode(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(InvalidJson):
        decode(data)
