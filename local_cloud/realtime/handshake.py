"""Who may open a connection, and how OpenAI and Azure tell the others no."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local_cloud.realtime.events import Json

_KEY_PROTOCOL = "openai-insecure-api-key."
MODELS = (
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
    "gpt-realtime-2",
    "gpt-realtime-1.5",
    "gpt-realtime",
    "gpt-realtime-mini",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An ``error`` that ends a connection: with a close code, or where HTTP says it, a status."""

    code: str | None
    message: str
    close_code: int
    status: int = 400
    type: str = "invalid_request_error"

    @property
    def error(self) -> Json:
        """The error object of both the event and the HTTP body."""
        return {"type": self.type, "code": self.code, "message": self.message, "param": None}

    @property
    def close_reason(self) -> str:
        """OpenAI's ``<type>.<code>``."""
        return f"{self.type}.{self.code}"


WRONG_KEY = Rejection("invalid_api_key", "Incorrect API key provided.", 3000, 401)
NO_KEY = Rejection(None, "Missing bearer or basic authentication in header", 3000, 401)
BETA = Rejection(
    "beta_api_shape_disabled",
    "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
    4000,
    400,
)
NO_SUCH_CALL = Rejection("call_id_not_found", "No session found for the provided call_id.", 4000, 404)
NO_MODEL = Rejection("missing_model", "You must provide a model parameter.", 4000, 400)


def offered_protocols(headers: Mapping[str, str]) -> list[str]:
    """Return the WebSocket subprotocols of a request, in order."""
    return [name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]


def check_key(headers: Mapping[str, str], query: Mapping[str, str], accepts: Callable[[str], bool]) -> Rejection | None:
    """Return why the credential of a request is not accepted, or None."""
    authorization = headers.get("Authorization", "")
    given = authorization.removeprefix("Bearer ") if authorization.startswith("Bearer ") else ""
    for name in offered_protocols(headers):
        given = given or (name.removeprefix(_KEY_PROTOCOL) if name.startswith(_KEY_PROTOCOL) else "")
    given = given or headers.get("api-key", "") or query.get("api-key", "")
    if not given:
        return NO_KEY
    return None if accepts(given) else WRONG_KEY


def check_dialect(headers: Mapping[str, str], query: Mapping[str, str]) -> Rejection | None:
    """Return why a request with a good key opens no GA session, or None."""
    if "realtime=v1" in headers.get("OpenAI-Beta", "") or "openai-beta.realtime-v1" in offered_protocols(headers):
        return BETA
    if "call_id" in query:
        return NO_SUCH_CALL
    if not query.get("model") and query.get("intent") != "transcription":
        return NO_MODEL
    return None
