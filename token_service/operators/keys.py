"""Who is an operator: the holder of a key whose SHA-256 is in ``OPERATOR_KEYS``. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from service_kit.errors import Refusal
from token_service.callers import HashedKey, holder_of


class OperatorKey(HashedKey):
    """One entry of ``OPERATOR_KEYS``."""


def identify_operator(authorization: Sequence[str], keys: Sequence[OperatorKey]) -> OperatorKey:
    """The operator behind a request. ``authorization`` are the values of every such header line. Raises Refusal."""
    key = holder_of(authorization, keys)
    if key is None:
        raise Refusal("invalid_token", message="An operator's key is required. Send it as a Bearer credential.")
    return key
