"""How the simulated service behaves when nothing goes wrong."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """The settings of a simulator.

    Attributes:
        api_key: the only key accepted; None accepts any.
        pace: output per wall time, 1 being as fast as it plays; None is unlimited.
        session_seconds: maximum age of a session.
        vary_order: send in random order what OpenAI's documentation leaves open.
        echo: answer every append with one audio delta of the same audio, and nothing else: for benchmarks.
        record: remember what each connection received and was sent.
    """

    api_key: str | None = None
    pace: float | None = 4.0
    session_seconds: float = 3600
    vary_order: bool = False
    echo: bool = False
    record: bool = True
