"""What `make run` decides before it starts anything."""

import pytest

from local_cloud.plan import announcement, compose_environment, configured_upstreams, plan_services


def compose(given: dict[str, str], simulator_port: int | None = None) -> dict[str, str]:
    return compose_environment(
        given, page_port=8080, relay_port=8081, redis_url="redis://127.0.0.1:7000/0", simulator_port=simulator_port
    )


@pytest.mark.parametrize(
    ("given", "upstreams"),
    [
        ({}, []),
        ({"OPENAI_API_KEY": ""}, []),
        ({"OPENAI_BASE_URL": "https://proxy.example/v1"}, []),
        ({"OPENAI_API_KEY": "sk-real"}, ["OpenAI at api.openai.com"]),
        (
            {"OPENAI_API_KEY": "sk-real", "OPENAI_BASE_URL": "https://me:secret@proxy.example/v1"},
            ["OpenAI at proxy.example"],
        ),
        ({"AZURE_OPENAI_ENDPOINT": "https://voice.openai.azure.com/"}, ["Azure OpenAI at voice.openai.azure.com"]),
    ],
)
def test_upstreams_are_named_by_their_host(given: dict[str, str], upstreams: list[str]) -> None:
    assert configured_upstreams(given) == upstreams


def test_upstreams_of_the_profiles_file_win() -> None:
    assert configured_upstreams({"OPENAI_API_KEY": "sk-real"}, ["sweden"]) == ["upstream sweden of the profiles file"]


def test_nothing_given_is_enough_to_run_against_the_simulator() -> None:
    environment = compose({}, simulator_port=9000)
    assert environment["OPENAI_BASE_URL"] == "http://127.0.0.1:9000/v1"
    assert environment["REDIS_URL"] == "redis://127.0.0.1:7000/0"
    assert environment["RELAY_URL"] == "ws://localhost:8081/v1/realtime"
    assert environment["ALLOWED_ORIGINS"] == "http://localhost:8080,http://127.0.0.1:8080"
    assert environment["CALLERS"] == "anonymous"
    assert environment["SERVE_PAGE"] == "true"


def test_no_secret_is_made_up_beside_a_key_vault() -> None:
    environment = compose({"KEY_VAULT_URL": "https://my-vault.vault.azure.net"}, simulator_port=9000)
    made_up = {"OPENAI_API_KEY", "PSEUDONYM_KEY", "REDIS_URL", "TOKEN_SIGNING_KEYS"}
    assert made_up.isdisjoint(environment)
    assert made_up <= compose({}, simulator_port=9000).keys()


def test_simulator_never_sees_a_real_address_or_key() -> None:
    environment = compose({"OPENAI_API_KEY": "", "OPENAI_BASE_URL": "https://proxy.example/v1"}, simulator_port=9000)
    assert environment["OPENAI_API_KEY"] == "sk-simulator"
    assert environment["OPENAI_BASE_URL"] == "http://127.0.0.1:9000/v1"


def test_both_services_get_as_many_workers_as_are_asked_for() -> None:
    services = plan_services(
        {"WORKERS": "3"}, page_port=8080, relay_port=8081, redis_url="redis://127.0.0.1:7000/0", simulator_port=9000
    )
    assert [service.environment["WORKERS"] for service in services[1:]] == ["3", "3"]


def test_what_is_given_is_kept_but_not_a_foreign_host() -> None:
    given = {"OPENAI_API_KEY": "sk-real", "TOKEN_SIGNING_KEYS": "old,new", "SERVE_PAGE": "false", "HOST": "box"}
    environment = compose(given)
    assert {name: environment[name] for name in given} == {**given, "HOST": "127.0.0.1"}
    assert "OPENAI_BASE_URL" not in environment


def test_openai_beside_azure_gets_the_address_that_the_token_service_names_it_by() -> None:
    given = {"OPENAI_API_KEY": "sk-real", "AZURE_OPENAI_ENDPOINT": "https://voice.openai.azure.com"}
    assert configured_upstreams(given) == ["Azure OpenAI at voice.openai.azure.com", "OpenAI at api.openai.com"]
    assert compose(given)["OPENAI_BASE_URL"] == "https://api.openai.com/v1"
    assert compose({**given, "OPENAI_BASE_URL": "https://x/v1"})["OPENAI_BASE_URL"] == "https://x/v1"


@pytest.mark.parametrize(
    ("upstreams", "redis_url", "said", "not_said"),
    [
        ([], None, ["nothing leaves this machine", "redis   embedded"], "costs money"),
        (["OpenAI at api.openai.com"], None, ["OpenAI at api.openai.com", "costs money"], "nothing leaves"),
        ([], "rediss://:secret@cache.example:6380/0", ["redis   at cache.example"], "secret"),
    ],
)
def test_announcement_says_where_everything_goes(
    upstreams: list[str], redis_url: str | None, said: list[str], not_said: str
) -> None:
    text = announcement({}, page_port=8090, relay_port=8091, upstreams=upstreams, given_redis_url=redis_url)
    for words in ["http://localhost:8090\n", "ws://localhost:8091/v1/realtime\n", *said]:
        assert words in text
    assert not_said not in text


def test_with_a_certificate_everything_is_secure() -> None:
    given = {"TLS_CERT_FILE": "tls.crt", "TLS_KEY_FILE": "tls.key"}
    text = announcement(given, page_port=8090, relay_port=8091, upstreams=[], given_redis_url=None)
    assert "https://localhost:8090\n" in text
    assert "wss://localhost:8091/v1/realtime\n" in text
    environment = compose(given)
    assert environment["RELAY_URL"] == "wss://localhost:8081/v1/realtime"
    assert environment["ALLOWED_ORIGINS"] == "https://localhost:8080,https://127.0.0.1:8080"
    services = plan_services(given, page_port=8090, relay_port=8091, redis_url="", simulator_port=9000)
    assert [service.ready_url.partition("://")[0] for service in services] == ["http", "https", "https"]


def test_each_run_makes_fresh_secrets() -> None:
    first, second = compose({}), compose({})
    for name in ("TOKEN_SIGNING_KEYS", "PSEUDONYM_KEY"):
        assert len(first[name]) >= 32
        assert first[name] != second[name]
    assert first["TOKEN_SIGNING_KEYS"] != first["PSEUDONYM_KEY"]


def test_keys_for_callers_enable_them() -> None:
    assert compose({"CALLER_API_KEYS": "[]"})["CALLERS"] == "anonymous,api_key"
    assert compose({"OIDC_ISSUER": "https://login.example"})["CALLERS"] == "anonymous,oidc"


@pytest.mark.parametrize(
    ("simulator_port", "names"),
    [(None, ["token service", "relay"]), (9000, ["simulator", "token service", "relay"])],
)
def test_services_start_after_what_they_need(simulator_port: int | None, names: list[str]) -> None:
    services = plan_services({}, page_port=8090, relay_port=8091, redis_url="redis://r", simulator_port=simulator_port)
    assert [service.name for service in services] == names
    assert [service.environment["PORT"] for service in services[-2:]] == ["8090", "8091"]
    assert "TOKEN_SIGNING_KEYS" not in repr(services)


def test_the_relay_s_listener_for_operators_is_beside_the_token_service_s() -> None:
    def ports(given: dict[str, str]) -> list[str | None]:
        services = plan_services(given, page_port=8090, relay_port=8091, redis_url="redis://r", simulator_port=None)
        return [service.environment.get("OPERATOR_PORT") for service in services]

    assert ports({"OPERATOR_PORT": "8095"}) == ["8095", "8096"]
    assert ports({}) == [None, None]
