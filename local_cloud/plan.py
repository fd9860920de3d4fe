"""Decides what `make run` starts and with which environment; starts nothing itself."""

import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

Environment = Mapping[str, str]

DEFAULT_PAGE_PORT = 8080
DEFAULT_RELAY_PORT = 8081
OPENAI_BASE_URL = "https://api.openai.com/v1"
SECRETS = {"OPENAI_API_KEY", "PSEUDONYM_KEY", "REDIS_URL", "TOKEN_SIGNING_KEYS"}
"""Of what is made up here, what a Key Vault has where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One child process of the launcher; it is ready once ``ready_url`` answers with a status below 500.

    ``ca_file`` names who vouches for that answer, where it comes over TLS and that is known.
    """

    name: str
    command: Sequence[str]
    ready_url: str
    environment: Environment = field(repr=False)  # carries secrets
    ca_file: Path | None = None


def configured_upstreams(given: Environment, profile_upstreams: Sequence[str] = ()) -> list[str]:
    """Return, in words, every model provider that the services will talk to; an empty list means the simulator.

    ``profile_upstreams`` are the names of the ``[[upstreams]]`` of the profiles file, which win over the environment.
    """
    if profile_upstreams:
        return [f"upstream {name} of the profiles file" for name in profile_upstreams]
    upstreams = []
    if endpoint := given.get("AZURE_OPENAI_ENDPOINT"):
        upstreams.append(f"Azure OpenAI at {_host(endpoint)}")
    if given.get("OPENAI_API_KEY"):
        upstreams.append(f"OpenAI at {_host(given.get('OPENAI_BASE_URL') or OPENAI_BASE_URL)}")
    return upstreams


def _host(url: str) -> str:
    """Return the host alone: the rest of a URL may hold a secret."""
    return urlsplit(url).hostname or "this machine"


def _secure(given: Environment) -> str:
    """Return what makes ``http`` and ``ws`` secure, where the services are to end TLS themselves."""
    return "s" if given.get("TLS_CERT_FILE") else ""


def announcement(
    given: Environment, *, page_port: int, relay_port: int, upstreams: Sequence[str], given_redis_url: str | None
) -> str:
    """Return what a person wants to know once everything runs; of a given Redis only the host is named."""
    secure = _secure(given)
    model = "the simulator: no key is needed, and nothing leaves this machine"
    if upstreams:
        model = f"{', '.join(upstreams)}: what is said goes there, and costs money"
    redis = "embedded: forgets everything when it stops"
    if given_redis_url:
        redis = f"at {_host(given_redis_url)}"
    return f"""
Airlock is running.

  page    http{secure}://localhost:{page_port}
  relay   ws{secure}://localhost:{relay_port}/v1/realtime
  model   {model}
  redis   {redis}

Ctrl-C stops it.
"""


def compose_environment(
    given: Environment, *, page_port: int, relay_port: int, redis_url: str, simulator_port: int | None
) -> dict[str, str]:
    """Return the environment of both services: what was given, and a working value for whatever was not."""
    secure = _secure(given)
    defaults = {
        "AIRLOCK_PROFILES": "profiles.toml",
        "ALLOWED_ORIGINS": f"http{secure}://localhost:{page_port},http{secure}://127.0.0.1:{page_port}",
        "CALLERS": _callers(given),
        "PSEUDONYM_KEY": secrets.token_urlsafe(32),
        "REDIS_URL": redis_url,
        "RELAY_URL": f"ws{secure}://localhost:{relay_port}/v1/realtime",
        "SERVE_PAGE": "true",
        "TOKEN_SIGNING_KEYS": secrets.token_urlsafe(32),
    }
    # HOST is never taken over: some shells and tools export it with another meaning.
    decided = {"HOST": "127.0.0.1", "PYTHONUNBUFFERED": "1"}
    if simulator_port is not None:
        decided |= {"OPENAI_API_KEY": "sk-simulator", "OPENAI_BASE_URL": f"http://127.0.0.1:{simulator_port}/v1"}
    elif given.get("AZURE_OPENAI_ENDPOINT") and given.get("OPENAI_API_KEY"):
        # Beside Azure, OpenAI is used only where its address is given: the announcement has named it.
        defaults["OPENAI_BASE_URL"] = OPENAI_BASE_URL
    ours = {name: value for name, value in defaults.items() if not given.get(name)} | decided
    if given.get("KEY_VAULT_URL"):  # then the services take no secret from here
        ours = {name: value for name, value in ours.items() if name not in SECRETS}
    return {**given, **ours}


def _callers(given: Environment) -> str:
    """Return who may ask for a token: anybody on the page, and whoever the settings have a key or an issuer for."""
    configured = {"api_key": given.get("CALLER_API_KEYS"), "oidc": given.get("OIDC_ISSUER")}
    return ",".join(["anonymous", *(kind for kind, setting in configured.items() if setting)])


def plan_services(
    given: Environment, *, page_port: int, relay_port: int, redis_url: str, simulator_port: int | None
) -> list[Service]:
    """Return the services in the order to start them: each needs those before it."""
    environment = compose_environment(
        given, page_port=page_port, relay_port=relay_port, redis_url=redis_url, simulator_port=simulator_port
    )

    def service(name: str, module: str, port: int, **own: str) -> Service:
        return Service(
            name=name,
            command=(sys.executable, "-m", module),
            ready_url=f"http{_secure(given)}://127.0.0.1:{port}/readyz",
            environment={**environment, "PORT": str(port), **own},
        )

    # Both services have a listener for operators, and they cannot share a port.
    operators = given.get("OPERATOR_PORT", "")
    relays_own = {"OPERATOR_PORT": str(int(operators) + 1)} if operators.isdecimal() else {}
    services = [
        service("token service", "token_service", page_port),
        service("relay", "relay", relay_port, **relays_own),
    ]
    if simulator_port is not None:
        # Nobody looks at what it recorded, and the page says that nothing is kept.
        listen = ("--host", "127.0.0.1", "--port", str(simulator_port), "--no-record")
        simulator = Service(
            name="simulator",
            command=(sys.executable, "-m", "local_cloud.realtime", *listen),
            ready_url=f"http://127.0.0.1:{simulator_port}/",
            environment=environment,
        )
        services.insert(0, simulator)
    return services
