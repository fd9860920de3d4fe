"""What an upstream calls the model that a session writes its input down with. Pure.

Azure wants a deployment's name there, as in the URL (its Realtime API reference, read 2026-11-22). Everywhere else the
session holds the model's own name: in the lock, in what the browser sees, and where the price is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping

from service_kit.session_fields import Session, merge, transcription_model


class Deployments:
    """One session's translation; ``table`` has the upstream's deployments by model, others go by their own names."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self._table = table
        self._asked_for: dict[str, str] = {}

    def to_service(self, session: Session) -> Session:
        """A session object as it is sent to the upstream."""
        model = transcription_model(session)
        if model is None or model not in self._table:
            return session
        deployment = self._table[model]
        # Two models may share one deployment: what comes back is the one that was asked for last.
        self._asked_for[deployment] = model
        return _with_transcription_model(session, deployment)

    def from_service(self, session: Session) -> Session:
        """A session object as the upstream sent it; it may name the deployment or the model."""
        model = self._asked_for.get(transcription_model(session) or "")
        return session if model is None else _with_transcription_model(session, model)


def _with_transcription_model(session: Session, model: str) -> Session:
    match session:
        case {"audio": {"input": {"transcription": dict(transcription)}}}:
            return merge(session, {"audio": {"input": {"transcription": {**transcription, "model": model}}}})
    return session
