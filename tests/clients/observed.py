"""What a run of the conversations saw, as the tables of docs/clients.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar, get_args

from tests.clients.application import CLIENTS, Client
from tests.clients.job import CONVERSATIONS, Conversation, Outcome, Refused

Column = TypeVar("Column", bound=str)
Situation = Literal["used", "forged", "other model", "too many", "time is up"]
SITUATIONS: Final[tuple[Situation, ...]] = get_args(Situation)
_HEADINGS: Final[dict[str, str]] = {
    "text": "Typed",
    "voice": "Spoken, the end of the turn heard by the model",
    "function": "A function call",
    "interruption": "Interrupted by speaking",
    "used": "A token that was used",
    "forged": "A forged token",
    "other model": "A model that the token is not for",
    "too many": "Too many live sessions",
    "time is up": "The session's time is up",
}


@dataclass(slots=True)
class Observed:
    """By client and conversation, and by client and situation."""

    held: dict[tuple[Client, Conversation], Outcome] = field(default_factory=dict)
    refused: dict[tuple[Client, Situation], Refused] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every client was in every conversation and situation."""
        return len(self.held) == len(CLIENTS) * len(CONVERSATIONS) and len(self.refused) == len(CLIENTS) * len(
            SITUATIONS
        )

    def tables(self) -> str:
        """Both, as Markdown."""
        return (
            "## Conversations\n\n"
            + _table(CONVERSATIONS, lambda client, which: _held(which, self.held[client, which]))
            + "\n## What the application sees of a refusal\n\n"
            + _table(SITUATIONS, lambda client, which: _refused(self.refused[client, which]))
        )


def _table(columns: tuple[Column, ...], cell: Callable[[Client, Column], str]) -> str:
    rows = [["Client", *(_HEADINGS[column] for column in columns)], ["---"] * (1 + len(columns))]
    for client in CLIENTS:
        named = f"{client.name}, `{client.package}` {client.version}"
        rows.append([named, *(cell(client, column) for column in columns)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _held(conversation: Conversation, outcome: Outcome) -> str:
    heard = f"{len(outcome.heard_audio):,} bytes"
    match conversation:
        case "function":
            name, given = outcome.called or ("", {})
            return f'`{name}({json.dumps(given)})`, then "{outcome.said}"'
        case "interruption":
            status, reason = outcome.endings[0]
            cut = "truncated" if outcome.truncated_ms is not None else "not truncated"
            return f'{status} (`{reason}`), {cut}, then "{outcome.said}"'
        case _:
            return f'"{outcome.said}", {heard}'


def _refused(refused: Refused) -> str:
    parts = [f"`{refused.by}`"]
    parts += [f"{refused.status}"] if refused.status else []
    parts += [f"`{refused.code}`"] if refused.code else []
    parts += [f'"{refused.message}"'] if refused.message else []
    parts += ["nothing to read"] if len(parts) == 1 else []
    parts += [f"closed {refused.close[0]}"] if refused.close else []
    return ", ".join(parts)
