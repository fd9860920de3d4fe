"""The user's side of a session: appended audio becomes turns, by voice activity, by commit, or by long silence."""

import asyncio
import random
from collections.abc import Callable
from math import ceil

from local_cloud.realtime.audio_formats import FORMATS
from local_cloud.realtime.conversation import USER_MS_PER_TOKEN, Conversation, Entry, text_tokens
from local_cloud.realtime.events import Json, Refused, new_id
from local_cloud.realtime.input_audio import InputAudio
from local_cloud.realtime.voice_activity import SpeechStarted, SpeechStopped, VoiceActivity

_LEAST_COMMIT_MS = 100
_DETECTION_MS = 500  # kept of silence beyond the padding, since speech is noticed late


class Listening:
    """Turns audio into user messages of a conversation.

    Args:
        send: takes each event.
        conversation: where the messages go.
        config: the session's ``audio.input``.
        vary_order: let transcripts come at random times, as OpenAI does.
        on_speech: called when speech starts that may interrupt.
        on_turn: called when a turn ended that wants a response.
    """

    def __init__(
        self,
        *,
        send: Callable[[Json], None],
        conversation: Conversation,
        config: Json,
        vary_order: bool,
        on_speech: Callable[[], None],
        on_turn: Callable[[], None],
    ) -> None:
        self._send = send
        self._conversation = conversation
        self._vary_order = vary_order
        self._on_speech = on_speech
        self._on_turn = on_turn
        self._config: Json = {}
        self._audio = InputAudio(FORMATS[config["format"]["type"]])
        self._voice_activity: VoiceActivity | None = None
        self._item_id = new_id("item")
        self._turn_start_ms = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self.configure(config)

    def configure(self, config: Json) -> None:
        """Follow the session's ``audio.input``; a new format or turn detection starts listening afresh."""
        before, self._config = self._config, config
        audio_format = FORMATS[config["format"]["type"]]
        if audio_format is not self._audio.format:
            self._audio = InputAudio(audio_format, self._audio.end_ms)
        elif before.get("turn_detection") == config["turn_detection"]:
            return
        self._start_afresh()

    def append(self, audio: bytes) -> None:
        """Hear audio."""
        self._audio.append(audio)
        if self._voice_activity is None:
            return
        for change in self._voice_activity.hear(audio):
            match change:
                case SpeechStarted():
                    self._start_turn(change)
                case SpeechStopped():
                    self._end_turn(change)
        if not self._voice_activity.speaking:
            self._audio.keep_last(self._voice_activity.prefix_padding_ms + _DETECTION_MS)

    def commit(self) -> None:
        """Make a message of what the buffer holds.

        Raises:
            Refused: it holds less than 100 ms.
        """
        length_ms = self._audio.length_ms
        if length_ms < _LEAST_COMMIT_MS:
            raise Refused(
                f"Error committing input audio buffer: buffer too small. Expected at least {_LEAST_COMMIT_MS}ms of "
                f"audio, but buffer only has {length_ms}ms of audio.",
                "input_audio_buffer_commit_empty",
            )
        self._commit(self._audio.end_ms, 0, length_ms)
        self._start_afresh()

    def clear(self) -> None:
        """Forget what the buffer holds."""
        self._audio.keep_last(0)
        self._start_afresh()
        self._send({"type": "input_audio_buffer.cleared"})

    def expect_speech(self, playing_ms: float) -> None:
        """Start the idle timeout, if one is set; ``playing_ms`` is how long the last answer still plays."""
        self.stop()
        timeout_ms = (self._config["turn_detection"] or {}).get("idle_timeout_ms")
        if timeout_ms is not None:
            start_ms = self._audio.end_ms
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later((timeout_ms + playing_ms) / 1000, self._time_out, start_ms)

    def stop(self) -> None:
        """Stop the idle timeout."""
        if self._idle_timer:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _start_afresh(self) -> None:
        turn_detection = self._config["turn_detection"]
        self._voice_activity = turn_detection and VoiceActivity(turn_detection, self._audio.format, self._audio.end_ms)

    def _start_turn(self, started: SpeechStarted) -> None:
        self.stop()
        self._turn_start_ms = started.audio_start_ms
        self._send(
            {
                "type": "input_audio_buffer.speech_started",
                "item_id": self._item_id,
                "audio_start_ms": started.audio_start_ms,
            }
        )
        if self._config["turn_detection"]["interrupt_response"]:
            self._on_speech()

    def _end_turn(self, stopped: SpeechStopped) -> None:
        self._send(
            {
                "type": "input_audio_buffer.speech_stopped",
                "item_id": self._item_id,
                "audio_end_ms": stopped.audio_end_ms,
            }
        )
        self._commit(stopped.audio_end_ms, self._turn_start_ms, stopped.speech_ms)
        if self._config["turn_detection"]["create_response"]:
            self._on_turn()

    def _time_out(self, start_ms: int) -> None:
        if self._voice_activity is None or self._voice_activity.speaking:
            return
        self._send(
            {
                "type": "input_audio_buffer.timeout_triggered",
                "item_id": self._item_id,
                "audio_start_ms": start_ms,
                "audio_end_ms": self._audio.end_ms,
            }
        )
        self._commit(self._audio.end_ms, start_ms, speech_ms=0)
        self._on_turn()

    def _commit(self, end_ms: int, start_ms: int, speech_ms: int) -> None:
        audio = self._audio.take(end_ms, start_ms)
        body: Json = {
            "id": self._item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        audio_format = self._audio.format
        entry = Entry(body, {0: audio}, audio_format, audio_format.duration_ms(audio), speech_ms)
        self._item_id = new_id("item")
        previous = self._conversation.insert(entry)
        self._send({"type": "input_audio_buffer.committed", "item_id": entry.id, "previous_item_id": previous})
        for event_type in ("conversation.item.added", "conversation.item.done"):
            self._send({"type": event_type, "previous_item_id": previous, "item": entry.public()})
        if self._config["transcription"]:
            if self._vary_order:
                asyncio.get_running_loop().call_later(random.uniform(0, 0.5), self._transcribe, entry)
            else:
                self._transcribe(entry)

    def _transcribe(self, entry: Entry) -> None:
        """Send the only transcript that is honest without recognising speech: how much of it there was."""
        transcript = f"({entry.speech_ms / 1000:.1f} seconds of speech)"
        entry.body["content"][0]["transcript"] = transcript
        place: Json = {"item_id": entry.id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        for number, word in enumerate(transcript.split(" ")):
            self._send({"type": f"{kind}.delta", **place, "delta": f" {word}" if number else word})
        usage = _transcription_usage(self._config["transcription"], entry, transcript)
        self._send({"type": f"{kind}.completed", **place, "transcript": transcript, "usage": usage})


def _transcription_usage(transcription: Json | None, entry: Entry, transcript: str) -> Json:
    if str((transcription or {}).get("model", "")).startswith("whisper"):
        return {"type": "duration", "seconds": entry.audio_ms / 1000}
    heard, written = ceil(entry.audio_ms / USER_MS_PER_TOKEN), text_tokens(transcript)
    return {
        "type": "tokens",
        "input_tokens": heard,
        "output_tokens": written,
        "total_tokens": heard + written,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
    }
