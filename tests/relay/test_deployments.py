"""The name of a transcription model, there and back."""

from typing import Any

import pytest

from relay.deployments import Deployments

TABLE = {"gpt-transcribe": "scribe", "gpt-4o-mini-transcribe": "scribe", "whisper-1": "whisper-sweden"}


NO_MODELS: list[object] = [None, {}, {"language": "sv"}, {"model": None}, {"model": 1}, {"model": {}}, "x", []]


def session(transcription: object) -> dict[str, Any]:
    return {
        "type": "realtime",
        "instructions": "scribe",
        "audio": {"input": {"transcription": transcription, "turn_detection": None}, "output": {"voice": "marin"}},
    }


@pytest.mark.parametrize(("model", "deployment"), [*TABLE.items(), ("gpt-live-transcribe", "gpt-live-transcribe")])
def test_a_model_travels_as_its_deployment_and_comes_back(model: str, deployment: str) -> None:
    ours = session({"model": model, "language": "sv"})
    theirs = session({"model": deployment, "language": "sv"})
    deployments = Deployments(TABLE)
    assert deployments.to_service(ours) == theirs
    assert deployments.from_service(theirs) == ours
    assert deployments.from_service(ours) == ours
    assert ours == session({"model": model, "language": "sv"})  # what was given is not changed
    assert theirs == session({"model": deployment, "language": "sv"})


def test_of_two_models_with_one_deployment_the_one_asked_for_comes_back() -> None:
    deployments = Deployments(TABLE)
    for model in ("gpt-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe"):
        deployments.to_service(session({"model": model}))
        assert deployments.from_service(session({"model": "scribe"})) == session({"model": model})


@pytest.mark.parametrize(
    "odd",
    [
        *map(session, NO_MODELS),
        {}, {"audio": None}, {"audio": {}}, {"audio": {"input": None}}, {"audio": {"input": []}}, {"audio": "x"},
    ],
)  # fmt: skip
def test_a_session_without_a_transcription_model_is_left_alone(odd: dict[str, Any]) -> None:
    deployments = Deployments(TABLE)
    deployments.to_service(session({"model": "whisper-1"}))
    assert deployments.to_service(odd) == odd
    assert deployments.from_service(odd) == odd
