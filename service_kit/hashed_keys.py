"""Keys that are known by their SHA-256 alone: how they are configured, and how their holder is recognised. Pure."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from service_kit import strict_json
from service_kit.session_token import TOKEN_PREFIX


class HashedKey(BaseModel):
    """A key that is known by its SHA-256 alone, in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    sha256: SecretStr

    @field_validator("sha256")
    @classmethod
    def _is_a_digest(cls, digest: SecretStr) -> SecretStr:
        try:
            size = len(bytes.fromhex(digest.get_secret_value()))
        except ValueError:
            size = 0
        if size != sha256().digest_size:
            raise ValueError("must be the SHA-256 of the key in 64 hexadecimal digits")
        return digest

    @cached_property
    def hash(self) -> bytes:
        """The key's SHA-256."""
        return bytes.fromhex(self.sha256.get_secret_value())


class OperatorKey(HashedKey):
    """One entry of ``OPERATOR_KEYS``."""


HashedKeyT = TypeVar("HashedKeyT", bound=HashedKey)


def read_keys(text: object) -> object:
    """The JSON list of a setting as a tuple. Raises ValueError."""
    if not isinstance(text, str):
        return text
    try:
        value = strict_json.decode(text.encode())
    except strict_json.InvalidJson as error:
        raise ValueError("must be a JSON list of keys") from error
    return tuple(value) if isinstance(value, list) else value


def refuse_twins(keys: Sequence[HashedKey]) -> None:
    """Each key is another, under another name. Raises ValueError."""
    for what, values in (("name", [key.name for key in keys]), ("hash", [key.hash for key in keys])):
        if max(Counter(values).values(), default=1) > 1:
            raise ValueError(f"two keys have the same {what}")


def bearer(authorization: Sequence[str]) -> str | None:
    """The credential of the one bearer line there is; a session token is none here: it never mints.

    ``authorization`` are the values of every such header line.
    """
    if len(authorization) != 1:
        return None
    scheme, _, credential = authorization[0].partition(" ")
    return credential if scheme.lower() == "bearer" and not credential.startswith(TOKEN_PREFIX) else None


def holder_of(authorization: Sequence[str], keys: Sequence[HashedKeyT]) -> HashedKeyT | None:
    """The key that was shown as a Bearer credential; None if it is none of these, or more than one was."""
    credential = bearer(authorization)
    if credential is None:
        return None
    # aiohttp keeps header bytes that are not UTF-8 as surrogates.
    digest = sha256(credential.encode(errors="surrogateescape")).digest()
    found = None
    for key in keys:  # every one, so that the time does not tell which came near
        if hmac.compare_digest(digest, key.hash):
            found = key
    return found
