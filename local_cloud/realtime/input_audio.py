"""The input audio buffer: what was appended and not yet committed, addressed by its place in the session's audio."""

from local_cloud.realtime.audio_formats import AudioFormat


class InputAudio:
    """Audio of one format that started at ``start_ms`` of everything the session heard."""

    def __init__(self, audio_format: AudioFormat, start_ms: int = 0) -> None:
        self.format = audio_format
        self._audio = bytearray()
        self._start_ms = start_ms

    @property
    def end_ms(self) -> int:
        """How much audio the session heard so far."""
        return self._start_ms + self.length_ms

    @property
    def length_ms(self) -> int:
        """How much is in the buffer."""
        return self.format.duration_ms(self._audio)

    def append(self, audio: bytes) -> None:
        """Add audio at the end."""
        self._audio += audio

    def keep_last(self, milliseconds: int) -> None:
        """Forget what is older: without turns, silence would pile up."""
        self.take(max(self._start_ms, self.end_ms - milliseconds))

    def take(self, end_ms: int, start_ms: int = 0) -> bytearray:
        """Remove everything before ``end_ms`` and return what of it lies after ``start_ms``."""
        end = max(end_ms - self._start_ms, 0) * self.format.bytes_per_ms
        start = max(start_ms - self._start_ms, 0) * self.format.bytes_per_ms
        taken = self._audio[start:end]
        del self._audio[:end]
        self._start_ms = max(self._start_ms, end_ms)
        return taken
