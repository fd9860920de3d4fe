"""Checks a client's JSON against msgspec types and says what is wrong with it as OpenAI would."""

import re
from typing import Any

import msgspec

from local_cloud.realtime.events import Refused

_WHERE = re.compile(r" - at `\$([^`]*)`$")
_NAMED = re.compile(r"field `([^`]+)`")


class Shape(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An object none of whose fields may be unknown; a field left at its default is left out again on the way back."""


def check(value: Any, shape: Any, root: str = "") -> Any:
    """Return ``value`` as ``shape``.

    Raises:
        Refused: with the code ``unknown_parameter``, ``missing_required_parameter`` or ``invalid_value``, and the
            JSON path of the culprit, below ``root``, as ``param``.
    """
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise refusal(error, root) from error


def refusal(error: msgspec.ValidationError, root: str = "") -> Refused:
    """Return what to answer for msgspec's complaint, for example "Expected `int`, got `str` - at `$.audio.rate`"."""
    text = str(error)
    where = _WHERE.search(text)
    path, message = (where[1], text[: where.start()]) if where else ("", text)
    named = _NAMED.search(message)
    param = ".".join(part for part in (root, path.lstrip("."), named[1] if named else "") if part).replace(".[", "[")
    if "unknown field" in message:
        return Refused(f"Unknown parameter: '{param}'.", "unknown_parameter", param)
    if "missing required field" in message:
        return Refused(f"Missing required parameter: '{param}'.", "missing_required_parameter", param)
    return Refused(f"Invalid value for '{param}': {message}.", "invalid_value", param or None)
