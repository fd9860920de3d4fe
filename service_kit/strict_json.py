"""One strict reading of JSON, so that what we judged is what anybody else would read in the same text.

Refused: anything but UTF-8, a byte order mark, duplicate keys at any depth, ``NaN`` and ``Infinity``, numbers beyond
64 bits, lone surrogates, nesting deeper than 32, trailing data (security reference §4.4), and more values than a
message can need. Pure.
"""

from __future__ import annotations

import json
import math
from typing import Final

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 65_536
"""Reading costs time by the value, not by the byte: a megabyte of ``[1,1,1…`` would stop the process for 0.15 s."""
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1


class InvalidJson(ValueError):
    """The text is not JSON by the strict reading."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise InvalidJson("duplicate key")
    return built


def _integer(digits: str) -> int:
    if len(digits) > 20 or not _MIN_INT <= (number := int(digits)) <= _MAX_INT:
        raise InvalidJson("number beyond 64 bits")
    return number


def _float(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise InvalidJson("number beyond 64 bits")
    return number


def _constant(name: str) -> object:
    raise InvalidJson(f"{name} is not JSON")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def decode(data: bytes) -> object:
    """The value of one JSON text. Raises InvalidJson."""
    # Commas in strings count too; a text with so many is larger than any model's context.
    if data.count(b",") >= MAX_VALUES:
        raise InvalidJson("too many values")
    try:
        value: object = _decoder.decode(data.decode())
    except InvalidJson:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidJson("not JSON") from error
    _check(value, MAX_DEPTH, surrogates=b"\\u" in data)
    return value


def _check(value: object, depth: int, *, surrogates: bool) -> None:
    """Walk the value once: depth everywhere, and surrogates where an escape could have made one."""
    if isinstance(value, str):
        if surrogates:
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise InvalidJson("lone surrogate") from error
    elif isinstance(value, dict | list):
        if depth == 0:
            raise InvalidJson("too deep")
        if isinstance(value, dict):
            for key, item in value.items():
                _check(key, depth, surrogates=surrogates)
                _check(item, depth - 1, surrogates=surrogates)
        else:
            for item in value:
                _check(item, depth - 1, surrogates=surrogates)
