"""What a check is, and what it can come to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local_cloud.conformance.trial import Trial


class Result(StrEnum):
    """Of one check."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_APPLICABLE = "n.a."


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result, and the one sentence of evidence for it."""

    result: Result
    evidence: str


def passed(evidence: str) -> Outcome:
    """The rule holds."""
    return Outcome(Result.PASS, evidence)


def failed(evidence: str) -> Outcome:
    """The rule is broken."""
    return Outcome(Result.FAIL, evidence)


def not_applicable(evidence: str) -> Outcome:
    """The rule is about something that this relay does not have."""
    return Outcome(Result.NOT_APPLICABLE, evidence)


Run = Callable[["Trial"], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule, and how a relay is asked about it.

    Attributes:
        group: one of the words that ``--only`` takes.
        name: unique; says what must hold.
        why: what goes wrong otherwise.
        source: where the rule stands.
        run: asks. Raises NoSession or NoAnswer where an ordinary session cannot be held.
    """

    group: str
    name: str
    why: str
    source: str
    run: Run
