"""What the environment's addresses mean, what deployments are called, and who is named to people."""

import pytest

from service_kit.upstreams import UpstreamSettings, provider_names, upstreams_of_environment

AZURE = "https://voice.openai.azure.com"


@pytest.mark.parametrize(
    ("azure", "openai", "upstreams"),
    [
        (None, None, [("openai", "https://api.openai.com/v1", "openai-api-key")]),
        (None, "http://127.0.0.1:9000/v1", [("openai", "http://127.0.0.1:9000/v1", "openai-api-key")]),
        (AZURE, None, [("azure", f"{AZURE}/openai/v1", "azure-openai-api-key")]),
        (f"{AZURE}/openai/v1", None, [("azure", f"{AZURE}/openai/v1", "azure-openai-api-key")]),
        (f"{AZURE}/gate", None, [("azure", f"{AZURE}/gate/openai/v1", "azure-openai-api-key")]),
        (
            AZURE,
            "https://api.openai.com/v1",
            [
                ("azure", f"{AZURE}/openai/v1", "azure-openai-api-key"),
                ("openai", "https://api.openai.com/v1", "openai-api-key"),
            ],
        ),
    ],
)
def test_the_addresses_decide(azure: str | None, openai: str | None, upstreams: list[tuple[str, str, str]]) -> None:
    found = upstreams_of_environment(azure_endpoint=azure, openai_base_url=openai)
    assert [(upstream.kind, upstream.base_url, upstream.secret) for upstream in found] == upstreams


def make(kind: str, base_url: str, models: dict[str, str] | None = None) -> UpstreamSettings:
    return UpstreamSettings.model_validate(
        {"name": "x", "kind": kind, "base_url": base_url, "auth": "secret:x", "models": models}
    )


@pytest.mark.parametrize(
    ("models", "model", "deployment"),
    [
        (None, "gpt-realtime-2.1", "gpt-realtime-2.1"),
        ({"gpt-realtime-2.1": "voice"}, "gpt-realtime-2.1", "voice"),
        ({"gpt-realtime-2.1": "voice"}, "gpt-realtime", None),
        ({"gpt-realtime-2.1": "voice"}, "voice", None),
    ],
)
def test_a_model_has_a_deployment(models: dict[str, str] | None, model: str, deployment: str | None) -> None:
    assert make("azure", AZURE, models).deployment(model) == deployment


@pytest.mark.parametrize(
    ("upstreams", "names"),
    [
        ([("openai", "https://api.openai.com/v1")], "OpenAI"),
        ([("azure", "https://a.openai.azure.com/openai/v1"), ("openai", "https://api.openai.com/v1")],
         "Azure OpenAI, OpenAI"),
        ([("azure", "https://a.openai.azure.com"), ("azure", "https://b.openai.azure.com")], "Azure OpenAI"),
        ([("azure", "http://127.0.0.1:1/openai/v1"), ("openai", "http://localhost:2/v1")], "simulator"),
        ([("openai", "https://proxy.example/v1"), ("openai", "https://api.openai.com/v1")], "proxy.example, OpenAI"),
    ],
)  # fmt: skip
def test_every_provider_is_named_once_in_order(upstreams: list[tuple[str, str]], names: str) -> None:
    assert provider_names(tuple(make(kind, base_url) for kind, base_url in upstreams)) == names
