"""`make run-cloud`: the whole of Airlock in production mode, with stand-ins for Azure, all on this machine.

The services run the code that they run in Azure: secrets from Key Vault as a managed identity, Redis and the model over
TLS, every request through a Front Door, telemetry to Application Insights. What stands in for these speaks their
protocols on loopback, under a certificate authority that is made for this run and thrown away after it.
"""

import argparse
import asyncio
import ipaddress
import json
import os
import secrets
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.child_server import ChildServer, ServerWillNotStart
from local_cloud.edge import Edge
from local_cloud.launcher import ServiceFailed, launch
from local_cloud.managed_identity import CLIENT_ID
from local_cloud.plan import Environment, Service
from local_cloud.ports import free_port, why_not_usable
from local_cloud.redis_server import RedisServer

DEFAULT_PORT = 8443
DEFAULT_OPERATOR_PORT = 8090
REFRESH_SECONDS = 30
DRAIN_SECONDS = 10
ROOT = Path(__file__).resolve().parent.parent
_REDIS_USER = "airlock"


def hash_of(key: str) -> str:
    """What the services know of a key."""
    return sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Made:
    """What is made up for one run, and known to whoever started it.

    Attributes:
        front_door_id: of the edge.
        caller_key: mints by API.
        operator_key: lists and ends sessions.
        redis_password: of the one user that Redis has.
        model_key: the only key that the simulator takes.
        signing_key, pseudonym_key: as their names in the vault say.
    """

    front_door_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    caller_key: str = field(default_factory=lambda: "ak_" + secrets.token_urlsafe(32), repr=False)
    operator_key: str = field(default_factory=lambda: "op_" + secrets.token_urlsafe(32), repr=False)
    redis_password: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    model_key: str = field(default_factory=lambda: "sk-" + secrets.token_urlsafe(32), repr=False)
    signing_key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    pseudonym_key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def vault(self, redis_port: int) -> dict[str, str]:
        """The vault's secrets, by their names there."""
        caller = {"name": "demo", "sha256": hash_of(self.caller_key), "tenant": "demo", "profiles": ["default"]}
        operator = {"name": "you", "sha256": hash_of(self.operator_key)}
        return {
            "caller-api-keys": json.dumps([caller]),
            "openai-api-key": self.model_key,
            "operator-keys": json.dumps([operator]),
            "pseudonym-key": self.pseudonym_key,
            "redis-url": f"rediss://{_REDIS_USER}:{self.redis_password}@127.0.0.1:{redis_port}/0",
            "token-signing-keys": self.signing_key,
        }

    def redis_users(self) -> str:
        """Redis' list of users: one who may do all, and anybody else may ask whether it runs."""
        return (
            "user default on nopass -@all +info +quit\n"
            f"user {_REDIS_USER} on >{self.redis_password} ~airlock:* &airlock:* +@all -@admin -@dangerous +info\n"
        )


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens: what people open is chosen, the rest is free."""

    edge: int
    token_operators: int
    relay_operators: tuple[int, ...]
    token_service: int = field(default_factory=free_port)
    relays: tuple[int, ...] = ()
    identity: int = field(default_factory=free_port)
    vault: int = field(default_factory=free_port)
    insights: int = field(default_factory=free_port)
    model: int = field(default_factory=free_port)
    redis: int = field(default_factory=free_port)

    @property
    def page(self) -> str:
        """The page's origin."""
        return f"https://localhost:{self.edge}"


@dataclass(frozen=True, slots=True)
class Files:
    """What stands in the run's folder."""

    folder: Path
    ca_file: Path
    certificate: tuple[Path, Path]

    @property
    def vault(self) -> Path:
        """The vault's secrets; nobody but its own process reads them."""
        return self.folder / "vault.json"

    @property
    def redis_users(self) -> Path:
        """Redis' list of users."""
        return self.folder / "users.acl"


def production_settings(ports: Ports, files: Files, front_door_id: str) -> dict[str, str]:
    """What both services are told; no secret is among it."""
    return {
        "AIRLOCK_ENV": "production",
        "AIRLOCK_PROFILES": str(ROOT / "profiles.toml"),
        "ALLOWED_ORIGINS": ports.page,
        "APPLICATIONINSIGHTS_CONNECTION_STRING": (
            f"InstrumentationKey={uuid.UUID(int=1)};IngestionEndpoint=http://127.0.0.1:{ports.insights}/"
        ),
        "AZURE_CLIENT_ID": CLIENT_ID,
        "AZURE_FRONT_DOOR_ID": front_door_id,
        "CALLERS": "anonymous,api_key",
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
        "EXTRA_CA_FILE": str(files.ca_file),
        "HOST": "127.0.0.1",
        "KEY_VAULT_URL": f"https://127.0.0.1:{ports.vault}",
        "OPENAI_BASE_URL": f"https://127.0.0.1:{ports.model}/v1",
        "PYTHONUNBUFFERED": "1",
        "RELAY_URL": f"wss://localhost:{ports.edge}/v1/realtime",
        "SECRETS_REFRESH_SECONDS": str(REFRESH_SECONDS),
        "SERVE_PAGE": "true",
        "TRUSTED_EDGE": ",".join(str(ipaddress.ip_network(network)) for network in ("127.0.0.0/8", "::1/128")),
    }


def plan_services(given: Environment, ports: Ports, files: Files, made: Made) -> list[Service]:
    """The stand-ins, then the services, in the order to start them: each needs those before it."""
    # Nothing else of the caller's own settings: a key of his would stand in the services' environment.
    kept = {name: given[name] for name in ("PATH", "HOME", "LANG", "WORKERS") if name in given}
    base = kept | {"PYTHONPATH": str(ROOT)}
    identity_header = secrets.token_hex(16)
    identity = {
        "IDENTITY_ENDPOINT": f"http://127.0.0.1:{ports.identity}/msi/token",
        "IDENTITY_HEADER": identity_header,
    }
    environment = base | identity | production_settings(ports, files, made.front_door_id)
    over_tls = ("--certificate", str(files.certificate[0]), "--certificate-key", str(files.certificate[1]))

    def stand_in(name: str, module: str, port: int, *arguments: str, has_tls: bool = False) -> Service:
        return Service(
            name=name,
            command=(sys.executable, "-m", module, "--port", str(port), *arguments, *(over_tls if has_tls else ())),
            ready_url=f"{'https' if has_tls else 'http'}://127.0.0.1:{port}/",
            environment=base,
            ca_file=files.ca_file if has_tls else None,
        )

    def service(name: str, module: str, port: int, operator_port: int) -> Service:
        return Service(
            name=name,
            command=(sys.executable, "-m", module),
            ready_url=f"http://127.0.0.1:{port}/readyz",
            environment=environment | {"PORT": str(port), "OPERATOR_PORT": str(operator_port)},
        )

    relays = zip(ports.relays, ports.relay_operators, strict=True)
    return [
        stand_in("identity", "local_cloud.managed_identity", ports.identity, "--header", identity_header),
        stand_in("key vault", "local_cloud.key_vault", ports.vault, "--secrets", str(files.vault), has_tls=True),
        stand_in("insights", "local_cloud.application_insights", ports.insights),
        stand_in(
            "simulator", "local_cloud.realtime", ports.model, "--api-key", made.model_key, "--no-record", has_tls=True
        ),
        service("token service", "token_service", ports.token_service, ports.token_operators),
        *(service(f"relay {n}", "relay", *each) for n, each in enumerate(relays, start=1)),
    ]


def announcement(ports: Ports, files: Files, made: Made) -> str:
    """What a person wants to know once everything runs."""
    curl = f"curl --cacert {files.ca_file}"
    bearer = f"-H 'Authorization: Bearer {made.caller_key}'"
    new_ring = json.dumps({"value": f"{secrets.token_urlsafe(32)},{made.signing_key}"})
    relay_metrics = " and ".join(f"http://127.0.0.1:{port}/metrics" for port in ports.relay_operators)
    return f"""
Airlock is running in production mode; Azure is stood in for, and nothing leaves this machine.

  page          {ports.page}
                Your browser will warn: it does not know the authority in {files.ca_file}
  relay         wss://localhost:{ports.edge}/v1/realtime, {len(ports.relays)} replicas behind the edge
  operators     http://127.0.0.1:{ports.token_operators}, with the key {made.operator_key}
  metrics       http://127.0.0.1:{ports.token_operators}/metrics and {relay_metrics}, with the same key
  telemetry     http://127.0.0.1:{ports.insights}, what Application Insights was sent
  key vault     https://127.0.0.1:{ports.vault}, read every {REFRESH_SECONDS} s

Mint by API, with a caller's key:
  {curl} {bearer} -H 'Content-Type: application/json' -d '{{}}' {ports.page}/v1/realtime/client_secrets

Bring in a new signing key, which signs nothing yet; docs/secrets.md has the steps after this one:
  {curl} -X PUT https://127.0.0.1:{ports.vault}/_vault/secrets/token-signing-keys -d '{new_ring}'

Ctrl-C stops it.
"""


def write_files(folder: Path, ports: Ports, made: Made) -> Files:
    """Make the authority, a certificate, and the files that stand-ins read."""
    authority = ThrowAwayAuthority(folder)
    files = Files(folder, authority.ca_file, authority.issue())
    for path, text in ((files.vault, json.dumps(made.vault(ports.redis))), (files.redis_users, made.redis_users())):
        path.touch(0o600)
        path.write_text(text, encoding="utf-8")
    return files


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return ``port``, ``operator_port``, ``relays`` and ``verbose`` from the command line."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud.cloud", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="of the page and the relay (default %(default)s)"
    )
    parser.add_argument(
        "--operator-port",
        type=int,
        default=DEFAULT_OPERATOR_PORT,
        help="of the operators' page (default %(default)s); each relay has the next after it",
    )
    parser.add_argument("--relays", type=int, default=2, help="how many relays (default %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="show every log line, not only warnings and errors")
    return parser.parse_args(arguments)


def problems_of(ports: Ports) -> list[str]:
    """One sentence for each thing that is missing or in the way."""
    problems = [
        f"Port {port} cannot be used: {reason}. Choose another with --port or --operator-port."
        for port in (ports.edge, ports.token_operators, *ports.relay_operators)
        if (reason := why_not_usable(port))
    ]
    if shutil.which("redis-server") is None:
        problems.append("redis-server was not found; the embedded server has no TLS. Install it, or run: make packages")
    return problems


def run(ports: Ports, given: Mapping[str, str], *, verbose: bool) -> None:
    """Run until Ctrl-C. Raises ServerWillNotStart, ServiceFailed."""
    made, say = Made(), partial(print, flush=True)
    with TemporaryDirectory(prefix="airlock-cloud-") as folder, ExitStack() as servers:
        files = write_files(Path(folder), ports, made)
        redis = RedisServer(
            port=ports.redis,
            binary=Path(shutil.which("redis-server") or ""),
            options={"aclfile": str(files.redis_users)},
            certificate=files.certificate,
        )
        edge = Edge(
            ports.edge,
            certificate=files.certificate,
            front_door_id=made.front_door_id,
            token_services=[ports.token_service],
            relays=ports.relays,
        )
        running: list[ChildServer] = [servers.enter_context(redis), servers.enter_context(edge)]
        say("Starting Airlock in production mode…")
        asyncio.run(
            launch(
                plan_services(given, ports, files, made),
                servers=running,
                folder=Path(folder),  # where no .env is
                on_ready=lambda: say(announcement(ports, files, made)),
                show=say,
                verbose=verbose,
                drain_seconds=DRAIN_SECONDS,
            )
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; return the exit code."""
    options = parse_options(arguments)
    ports = Ports(
        edge=options.port,
        token_operators=options.operator_port,
        relay_operators=tuple(options.operator_port + 1 + number for number in range(options.relays)),
        relays=tuple(free_port() for _ in range(options.relays)),
    )
    if problems := problems_of(ports):
        print("\n".join(problems), file=sys.stderr)
        return 1
    try:
        run(ports, os.environ, verbose=options.verbose)
    except KeyboardInterrupt:  # before the launcher listened for it
        return 0
    except (ServerWillNotStart, ServiceFailed) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
