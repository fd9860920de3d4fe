"""What a client may set in a session and for a response, as msgspec types (protocol: GA, 2026-11)."""

# ruff: noqa: D101 - the shapes are the protocol's; a docstring for each would only repeat its name

from typing import Annotated, Literal

from msgspec import Meta

from local_cloud.realtime.events import Json
from local_cloud.realtime.schema import Shape

Modalities = Annotated[list[Literal["audio", "text"]], Meta(min_length=1, max_length=1)]
MaxOutputTokens = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


class PcmFormat(Shape, tag="audio/pcm"):
    rate: Literal[24000] = 24000


class UlawFormat(Shape, tag="audio/pcmu"):
    pass


class AlawFormat(Shape, tag="audio/pcma"):
    pass


Format = PcmFormat | UlawFormat | AlawFormat


class Transcription(Shape):
    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class NoiseReduction(Shape):
    type: Literal["near_field", "far_field"]
    strength: float | None = None


class ServerVad(Shape, tag="server_vad"):
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0)] = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | None = None


class SemanticVad(Shape, tag="semantic_vad"):
    eagerness: Literal["auto", "low", "medium", "high"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class CustomVoice(Shape):
    id: str


class Input(Shape):
    format: Format | None = None
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: ServerVad | SemanticVad | None = None


class Output(Shape):
    format: Format | None = None
    voice: str | CustomVoice | None = None
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | None = None


class Audio(Shape):
    input: Input | None = None
    output: Output | None = None


class FunctionTool(Shape, tag="function"):
    name: str
    description: str | None = None
    parameters: Json | None = None


class McpTool(Shape, tag="mcp"):
    server_label: str
    server_url: str | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    authorization: str | None = None
    headers: dict[str, str] | None = None
    allowed_tools: list[str] | Json | None = None
    require_approval: str | Json | None = None
    server_description: str | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


class FunctionChoice(Shape, tag="function"):
    name: str


class McpChoice(Shape, tag="mcp"):
    server_label: str
    name: str | None = None


ToolChoice = Literal["auto", "none", "required"] | FunctionChoice | McpChoice


class Reasoning(Shape):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class Prompt(Shape):
    id: str
    version: str | None = None
    variables: Json | None = None


class RealtimeSession(Shape):
    """What ``session.update`` may carry in a conversation (protocol §5.1)."""

    type: Literal["realtime"]
    model: str | None = None
    output_modalities: Modalities | None = None
    instructions: str | None = None
    audio: Audio | None = None
    tools: list[Json] | None = None  # checked one by one, so that the error can name the index
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: MaxOutputTokens | None = None
    truncation: Literal["auto", "disabled"] | Json | None = None
    tracing: Literal["auto"] | Json | None = None
    prompt: Prompt | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None


class TranscriptionAudio(Shape):
    input: Input | None = None


class TranscriptionSession(Shape):
    """What ``session.update`` may carry in a transcription session (protocol §5.2)."""

    type: Literal["transcription"]
    audio: TranscriptionAudio | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None


class ResponseOutput(Shape):
    format: Format | None = None
    voice: str | CustomVoice | None = None


class ResponseAudio(Shape):
    output: ResponseOutput | None = None


class ResponseParameters(Shape):
    """What ``response.create`` may override for one response (protocol §3.6)."""

    conversation: Literal["auto", "none"] = "auto"
    input: list[Json] | None = None
    instructions: str | None = None
    audio: ResponseAudio | None = None
    max_output_tokens: MaxOutputTokens | None = None
    metadata: Metadata | None = None
    output_modalities: Modalities | None = None
    parallel_tool_calls: bool | None = None
    prompt: Prompt | None = None
    reasoning: Reasoning | None = None
    tool_choice: ToolChoice | None = None
    tools: list[Json] | None = None
