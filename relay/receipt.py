"""What is told of a session: its line in the operators' list, and the receipt that closes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from relay.endings import Over
from relay.events import new_event_id
from service_kit.live_entries import LiveEntry
from service_kit.session_token import Claims

_AUDIT_ONLY: Final = frozenset({"subject", "tenant", "cost_usd", "cost_excludes_transcription", "config_sha256"})


@dataclass(frozen=True, slots=True)
class Particulars:
    """Whose session it is.

    Attributes:
        subject: the pseudonym.
        started_at: Unix seconds.
    """

    session_id: str
    token_id: str
    subject: str
    claims: Claims
    started_at: float

    def entry(self, usage: dict[str, Any], *, ends_at: float, replica: str) -> LiveEntry:
        """What operators see of it while it lives; ``usage`` is the meter's."""
        return LiveEntry(
            id=self.session_id,
            token_id=self.token_id,
            subject=self.subject,
            tenant=self.claims.tenant,
            profile=self.claims.profile,
            model=self.claims.lock.model,
            started_at=round(self.started_at, 3),
            ends_at=round(ends_at, 3),
            audio_in_seconds=usage["audio_in_seconds"],
            audio_out_seconds=usage["audio_out_seconds"],
            tokens=usage["tokens"]["total"],
            cost_usd=usage["cost_usd"],
            replica=replica,
        )

    def receipt(self, usage: dict[str, Any], over: Over, *, provider: str | None, ended_at: float) -> dict[str, object]:
        """The whole receipt, as the audit line has it; ``usage`` is the meter's."""
        return {
            "session_id": self.session_id,
            "token_id": self.token_id,
            "subject": self.subject,
            "tenant": self.claims.tenant,
            "profile": self.claims.profile,
            "model": self.claims.lock.model,
            "provider": provider,
            "started_at": round(self.started_at, 3),
            "ended_at": round(ended_at, 3),
            "duration_seconds": round(ended_at - self.started_at, 3),
            "ending": over.ending.value,
            "code": over.code,
            "close_code": over.close_code,
            **usage,
            "stored_bytes": 0,
            "config_sha256": self.claims.config_sha256,
        }


def ended_event(receipt: dict[str, object]) -> dict[str, object]:
    """The receipt for the browser: without what only the audit line has."""
    shown = {key: value for key, value in receipt.items() if key not in _AUDIT_ONLY}
    return {"type": "airlock.session.ended", "event_id": new_event_id(), "receipt": shown}
