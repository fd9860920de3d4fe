"""``python -m token_service.api_keys new``: makes an API key, shows it once, and the entry that makes it known.

Only the entry is to be kept here, and it holds nothing but the key's SHA-256: a random key of 256 bits needs no slower
hash.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from pydantic import ValidationError

from token_service.callers import CallerKey

KEY_PREFIX: Final = "ak_"
"""For people and for secret scanners; no key has a dot, so none can be taken for a JWT."""
_KEY_BYTES: Final = 32
_CEILINGS: Final = [name for name in CallerKey.model_fields if name not in ("name", "sha256", "tenant", "profiles")]


def entry_of(key: str, options: dict[str, object]) -> str:
    """The entry of ``CALLER_API_KEYS`` for a key, on one line. Raises ValidationError."""
    entry = {
        "name": options["name"],
        "sha256": sha256(key.encode()).hexdigest(),
        "tenant": options["tenant"],
        "profiles": options["profiles"],
        **{name: options[name] for name in _CEILINGS if options.get(name) is not None},
    }
    CallerKey.model_validate(entry)
    return json.dumps(entry, separators=(",", ":"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a key and print it, or print what is wrong and exit with status 2."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    try:
        entry = entry_of(key, options)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        parser.error(f"argument --{_option(str(problem['loc'][0]))}: {_reason(problem['msg'])}")
    sys.stdout.write(
        f"The key, shown only now; it belongs on the caller's server, never in a page:\n\n  {key}\n\n"
        f"Its entry for the JSON list CALLER_API_KEYS; {options['name']} works as soon as the service has read it:\n\n"
        f"  {entry}\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m token_service.api_keys", description="Make API keys for callers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    new = commands.add_parser("new", help="make a key and print it once, with its entry for CALLER_API_KEYS")
    new.add_argument("--name", required=True, help="what you call the caller; also its subject, if it names none")
    new.add_argument("--tenant", required=True, help="the tenant whose limits it shares")
    new.add_argument(
        "--profiles",
        required=True,
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        help="the profiles that it may ask for, comma-separated",
    )
    for name in _CEILINGS:
        new.add_argument(f"--{_option(name)}", type=_number, metavar="N", help="a ceiling (default: the profile's)")
    return parser


def _option(field: str) -> str:
    return field.replace("_", "-")


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


if __name__ == "__main__":
    main()
