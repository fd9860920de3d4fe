"""OpenAI's GA session object, field by field: what a value may look like, for the server and for a client.

A field is named by its dotted path. What stands in no row does not exist for us: it is refused in a profile or a mint
request and never forwarded from a session. Source: realtime-protocol reference §5 (GA, read 2026-11-22). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Session = dict[str, object]


class InvalidField(Exception):
    """A session field is unknown or holds a value that the protocol does not allow."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class UnknownField(InvalidField):
    """The session holds a field that does not exist for us."""


_Text = Annotated[str, Meta(max_length=65_536)]
_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_Unit = Annotated[float, Meta(ge=0, le=1)]
_Milliseconds = Annotated[int, Meta(ge=0, le=60_000)]


class _Object(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A JSON object whose every key is known; keys that were not sent stay away."""


class Pcm(_Object, tag_field="type", tag="audio/pcm"):
    """§5.3: it has one rate, and only it names one."""

    rate: Literal[24_000] | UnsetType = UNSET


class Ulaw(_Object, tag_field="type", tag="audio/pcmu"):
    """§5.3."""


class Alaw(_Object, tag_field="type", tag="audio/pcma"):
    """§5.3."""


class NoiseReduction(_Object):
    """§5.1."""

    type: Literal["near_field", "far_field"]
    strength: float | UnsetType = UNSET


class Transcription(_Object):
    """§5.4; which model takes which key is for the service to say."""

    model: _Name | UnsetType = UNSET
    language: Annotated[str, Meta(max_length=16)] | UnsetType | None = UNSET
    languages: Annotated[list[Annotated[str, Meta(max_length=16)]], Meta(max_length=32)] | UnsetType = UNSET
    prompt: _Text | UnsetType | None = UNSET
    keywords: Annotated[list[_Name], Meta(max_length=256)] | UnsetType = UNSET
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType = UNSET


class ServerVad(_Object, tag_field="type", tag="server_vad"):
    """§5.5."""

    threshold: _Unit | UnsetType = UNSET
    prefix_padding_ms: _Milliseconds | UnsetType = UNSET
    silence_duration_ms: _Milliseconds | UnsetType = UNSET
    create_response: bool | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | UnsetType | None = UNSET


class SemanticVad(_Object, tag_field="type", tag="semantic_vad"):
    """§5.5."""

    eagerness: Literal["auto", "low", "medium", "high"] | UnsetType = UNSET
    create_response: bool | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET


class CustomVoice(_Object):
    """§5.1: a voice of the account, by id."""

    id: _Name


class FunctionTool(_Object):
    """§5.7. Unknown keys are refused upstream too."""

    type: Literal["function"]
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    description: _Text | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class FunctionChoice(_Object, tag_field="type", tag="function"):
    """§5.1."""

    name: _Name


class ClientFunctionChoice(_Object):
    """The same from a client, who has no other choice: msgspec would fill in the tag of a union of one."""

    type: Literal["function"]
    name: _Name


class McpChoice(_Object, tag_field="type", tag="mcp"):
    """§5.1."""

    server_label: _Name
    name: _Name | UnsetType | None = UNSET


class Reasoning(_Object):
    """§5.1."""

    effort: Literal["minimal", "low", "medium", "high", "xhigh"]


class TokenLimits(_Object):
    """§5.1."""

    post_instructions: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


class RetentionRatio(_Object):
    """§5.1."""

    type: Literal["retention_ratio"]
    retention_ratio: _Unit
    token_limits: TokenLimits | UnsetType = UNSET


_AudioFormat = Pcm | Ulaw | Alaw
_Modality = Annotated[list[Literal["audio", "text"]], Meta(min_length=1, max_length=1)]
_ToolChoice = Literal["auto", "none", "required"] | FunctionChoice | McpChoice
_MaxOutputTokens = Annotated[int, Meta(ge=1, le=4_096)] | Literal["inf"]


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf of the session object.

    ``client_type`` is narrower than ``type`` where a client could otherwise reach beyond the session;
    None means that no profile can open the field. ``transcription`` and ``response`` say whether a transcription
    session (§5.2) and a ``response.create`` (§3.6) have the field too.
    """

    path: str
    type: Any
    client_type: Any
    transcription: bool = False
    response: bool = False


TRANSCRIPTION: Final = "audio.input.transcription"


def _open(path: str, type_: Any, *, transcription: bool = False, response: bool = False) -> Field:
    return Field(path, type_, type_, transcription, response)


_FIELDS: Final = (
    _open("output_modalities", _Modality, response=True),
    _open("instructions", _Text, response=True),
    _open("audio.input.format", _AudioFormat, transcription=True),
    _open(TRANSCRIPTION, Transcription | None, transcription=True),
    _open("audio.input.noise_reduction", NoiseReduction | None, transcription=True),
    _open("audio.input.turn_detection", ServerVad | SemanticVad | None, transcription=True),
    _open("audio.output.format", _AudioFormat, response=True),
    _open("audio.output.voice", _Name | CustomVoice, response=True),
    _open("audio.output.speed", Annotated[float, Meta(ge=0.25, le=1.5)]),
    # A client's MCP tool would make the service call a server of the client's choice.
    Field("tools", list[dict[str, Any]], Annotated[list[FunctionTool], Meta(max_length=128)], response=True),
    Field("tool_choice", _ToolChoice, Literal["auto", "none", "required"] | ClientFunctionChoice, response=True),
    _open("parallel_tool_calls", bool, response=True),
    _open("reasoning", Reasoning, response=True),
    _open("truncation", Literal["auto", "disabled"] | RetentionRatio),
    _open("max_output_tokens", _MaxOutputTokens, response=True),
    Field("tracing", Literal["auto"] | dict[str, Any] | None, None),
    Field("prompt", dict[str, Any] | None, None, response=True),
    Field("include", list[Literal["item.input_audio_transcription.logprobs"]] | None, None, transcription=True),
)

FIELDS: Final[dict[str, Field]] = {field.path: field for field in _FIELDS}
_BRANCHES: Final = frozenset(path.rpartition(".")[0] for path in FIELDS if "." in path) | {"audio"}
OPENABLE: Final = frozenset(path for path, field in FIELDS.items() if field.client_type is not None)
FIELDS_OF_SESSION: Final = {
    "realtime": frozenset(FIELDS),
    "transcription": frozenset(path for path, field in FIELDS.items() if field.transcription),
}
FIELDS_OF_RESPONSE: Final = frozenset(path for path, field in FIELDS.items() if field.response)


def known_leaves(session: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Leaf values by dotted path, and the paths that no row knows; ``type`` and ``model`` are not fields here."""
    leaves: dict[str, object] = {}
    unknown: list[str] = []

    def walk(node: Mapping[str, object], prefix: str) -> None:
        for key, value in node.items():
            path = prefix + key
            if "." in key:  # not another spelling of a nested field
                unknown.append(path)
            elif path in FIELDS:
                leaves[path] = value
            elif path in _BRANCHES and isinstance(value, Mapping):
                walk(value, path + ".")
            elif path not in ("type", "model"):
                unknown.append(path)

    walk(session, "")
    return leaves, unknown


def flatten(session: Mapping[str, object]) -> dict[str, object]:
    """Leaf values by dotted path. Raises InvalidField for a path that no row knows."""
    leaves, unknown = known_leaves(session)
    for path in unknown:
        if path in _BRANCHES:
            raise InvalidField(path, "must be an object")
        raise UnknownField(path, "is not a known field")
    return leaves


def unflatten(leaves: Mapping[str, object]) -> Session:
    """The nested object of :func:`flatten`'s leaves."""
    session: Session = {}
    for path, value in leaves.items():
        *branches, leaf = path.split(".")
        node: dict[str, Any] = session
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = value
    return session


def rebuild(path: str, value: object, *, client: bool) -> object:
    """The value of one field, rebuilt from what the protocol allows there. Raises InvalidField."""
    field = FIELDS[path]
    type_ = field.client_type if client else field.type
    if type_ is None:
        raise InvalidField(path, "cannot be set by a client")
    try:
        return msgspec.to_builtins(msgspec.convert(value, type=type_))
    except msgspec.ValidationError as error:
        raise InvalidField(path, str(error)) from error


def check_session(session: Mapping[str, object]) -> Session:
    """A server's session object, rebuilt: known fields, allowed values, ``type`` filled in.

    Raises InvalidField naming the first offending path.
    """
    session_type = session.get("type", "realtime")
    if session_type not in ("realtime", "transcription"):
        raise InvalidField("type", "must be 'realtime' or 'transcription'")
    leaves = {path: rebuild(path, value, client=False) for path, value in flatten(session).items()}
    if session_type == "transcription":
        for path in leaves:
            if not FIELDS[path].transcription:
                raise InvalidField(path, "does not exist in a transcription session")
    checked: Session = {"type": session_type}
    if "model" in session:
        checked["model"] = _model(session["model"])
    return checked | unflatten(leaves)


def _model(value: object) -> str:
    try:
        model: str = msgspec.convert(value, type=Annotated[str, Meta(min_length=1, max_length=128)])
    except msgspec.ValidationError as error:
        raise InvalidField("model", str(error)) from error
    return model


def transcription_model(session: Mapping[str, object]) -> str | None:
    """The model that a session writes down its input with; None if it does not, or leaves the choice to the service."""
    match session:
        case {"audio": {"input": {"transcription": {"model": str(model)}}}}:
            return model
    return None


def is_open(path: str, open_fields: Iterable[str]) -> bool:
    """Whether a path, or a branch above it, is among the open fields."""
    return any(path == field or path.startswith(field + ".") for field in open_fields)


def merge(session: Mapping[str, object], changes: Mapping[str, object]) -> Session:
    """``session`` with ``changes`` laid over it leaf by leaf; both may hold keys that no row knows."""
    merged = dict(session)
    for key, value in changes.items():
        old = merged.get(key)
        if key in ("audio", "input", "output") and isinstance(value, dict) and isinstance(old, dict):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def scrub(session: Mapping[str, object], hide: Collection[str]) -> Session:
    """``session`` without the hidden fields, given as dotted paths."""
    shown = {key: value for key, value in session.items() if key not in hide}
    for path in hide:
        branch, _, rest = path.partition(".")
        node = shown.get(branch) if rest else None
        if isinstance(node, dict):
            shown[branch] = scrub(node, (rest,))
    return shown
