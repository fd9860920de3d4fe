"""`make run`: the whole of Airlock on this machine, with stand-ins for whatever is not configured."""

import argparse
import asyncio
import os
import sys
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from dotenv import dotenv_values

from local_cloud.launcher import ServiceFailed, launch
from local_cloud.plan import (
    DEFAULT_PAGE_PORT,
    DEFAULT_RELAY_PORT,
    SIMULATED,
    Environment,
    configured_upstreams,
    plan_services,
)
from local_cloud.ports import free_port, why_not_usable
from local_cloud.redis_server import RedisServer, RedisWillNotStart

ROOT = Path(__file__).resolve().parent.parent


def parse_options(arguments: Sequence[str] | None, given: Environment) -> argparse.Namespace:
    """Return ``page_port``, ``relay_port`` and ``verbose`` from the command line, else from the environment."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud", description=__doc__)
    parser.add_argument(
        "--page-port",
        type=int,
        default=given.get("AIRLOCK_PAGE_PORT") or DEFAULT_PAGE_PORT,
        help="port of the page and the token service (AIRLOCK_PAGE_PORT; default %(default)s)",
    )
    parser.add_argument(
        "--relay-port",
        type=int,
        default=given.get("AIRLOCK_RELAY_PORT") or DEFAULT_RELAY_PORT,
        help="port of the relay (AIRLOCK_RELAY_PORT; default %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="show every log line, not only warnings and errors")
    return parser.parse_args(arguments)


def port_problems(page_port: int, relay_port: int) -> list[str]:
    """Return one sentence for each port that a service could not listen on."""
    problems = []
    wanted = (("token service", page_port, "page"), ("relay", relay_port, "relay"))
    for name, port, flag in wanted:
        if reason := why_not_usable(port):
            problems.append(
                f"Port {port} cannot be used for the {name}: {reason}."
                f' Choose another with: make run ARGS="--{flag}-port PORT" (or set AIRLOCK_{flag.upper()}_PORT)'
            )
    if page_port == relay_port:
        problems.append(f"The page and the relay cannot share port {page_port}.")
    return problems


def upstreams_of_profiles(given: Environment) -> list[str]:
    """Return the names of the ``[[upstreams]]`` in the profiles file; what is wrong with the file, the services say."""
    try:
        text = (ROOT / (given.get("AIRLOCK_PROFILES") or "profiles.toml")).read_text("utf-8")
        upstreams = tomllib.loads(text).get("upstreams", [])
        return [str(upstream["name"]) for upstream in upstreams]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; return the exit code."""
    from_file = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value is not None}
    given = {**from_file, **os.environ}
    options = parse_options(arguments, given)
    if problems := port_problems(options.page_port, options.relay_port):
        print("\n".join(problems), file=sys.stderr)
        return 1

    upstreams = configured_upstreams(given, upstreams_of_profiles(given))
    redis_url = given.get("REDIS_URL")

    def announce() -> None:
        model = SIMULATED if not upstreams else f"{', '.join(upstreams)}: audio goes there, and it costs money"
        print(
            f"\nAirlock is running.\n\n"
            f"  page    http://localhost:{options.page_port}\n"
            f"  relay   ws://localhost:{options.relay_port}/v1/realtime\n"
            f"  model   {model}\n\n"
            f"Ctrl-C stops it.\n",
            flush=True,
        )

    try:
        with ExitStack() as stack:
            redis = None if redis_url else stack.enter_context(RedisServer())
            services = plan_services(
                given,
                page_port=options.page_port,
                relay_port=options.relay_port,
                redis_url=redis_url or (redis.url if redis else ""),
                simulator_port=None if upstreams else free_port(),
            )
            print("Starting Airlock…", flush=True)
            asyncio.run(
                launch(
                    services,
                    redis=redis,
                    folder=ROOT,
                    on_ready=announce,
                    verbose=options.verbose,
                    drain_seconds=float(given.get("DRAIN_SECONDS") or 25),
                )
            )
    except KeyboardInterrupt:  # before the launcher listened for it
        return 0
    except (RedisWillNotStart, ServiceFailed) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
