"""`make run`: the whole of Airlock on this machine, with stand-ins for whatever is not configured."""

import argparse
import asyncio
import os
import sys
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values
from redis import Redis
from redis.exceptions import RedisError

from local_cloud.launcher import ServiceFailed, launch
from local_cloud.plan import (
    DEFAULT_PAGE_PORT,
    DEFAULT_RELAY_PORT,
    Environment,
    announcement,
    configured_upstreams,
    plan_services,
)
from local_cloud.ports import free_port, why_not_usable
from local_cloud.redis_server import RedisServer, RedisWillNotStart

DEFAULT_DRAIN_SECONDS = 25.0
ROOT = Path(__file__).resolve().parent.parent


def parse_options(arguments: Sequence[str] | None, given: Environment) -> argparse.Namespace:
    """Return ``page_port``, ``relay_port`` and ``verbose`` from the command line, else from the environment."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud", description=__doc__)
    parser.add_argument(
        "--page-port",
        type=port_number,
        default=given.get("AIRLOCK_PAGE_PORT") or DEFAULT_PAGE_PORT,
        help="port of the page and the token service (AIRLOCK_PAGE_PORT; default %(default)s)",
    )
    parser.add_argument(
        "--relay-port",
        type=port_number,
        default=given.get("AIRLOCK_RELAY_PORT") or DEFAULT_RELAY_PORT,
        help="port of the relay (AIRLOCK_RELAY_PORT; default %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="show every log line, not only warnings and errors")
    return parser.parse_args(arguments)


def port_number(text: str) -> int:
    """Return the port that ``text`` names."""
    port = int(text)
    if not 1 <= port <= 65_535:
        raise ValueError(text)
    return port


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


def redis_problems(url: str | None) -> list[str]:
    """Return why the Redis that was given cannot be used; of its URL only the host is named."""
    if not url:
        return []
    try:
        with Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        where = urlsplit(url).hostname or "a unix socket"
        return [
            f"The Redis of REDIS_URL, at {where}, cannot be used: {type(error).__name__}."
            " Start it, correct REDIS_URL, or leave it out for the embedded server."
        ]
    return []


def upstreams_of_profiles(given: Environment) -> list[str]:
    """Return the names of the ``[[upstreams]]`` in the profiles file; what is wrong with the file, the services say."""
    try:
        text = (ROOT / (given.get("AIRLOCK_PROFILES") or "profiles.toml")).read_text("utf-8")
        upstreams = tomllib.loads(text).get("upstreams", [])
        return [str(upstream["name"]) for upstream in upstreams]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def drain_seconds(given: Environment) -> float:
    """Return how long a service may drain; what is wrong with the setting, the services say."""
    try:
        return float(given.get("DRAIN_SECONDS") or DEFAULT_DRAIN_SECONDS)
    except ValueError:
        return DEFAULT_DRAIN_SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; return the exit code."""
    from_file = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value is not None}
    given = {**from_file, **os.environ}
    options = parse_options(arguments, given)
    if problems := port_problems(options.page_port, options.relay_port) + redis_problems(given.get("REDIS_URL")):
        print("\n".join(problems), file=sys.stderr)
        return 1

    upstreams = configured_upstreams(given, upstreams_of_profiles(given))
    given_redis_url = given.get("REDIS_URL")
    text = announcement(
        given,
        page_port=options.page_port,
        relay_port=options.relay_port,
        upstreams=upstreams,
        given_redis_url=given_redis_url,
    )
    say = partial(print, flush=True)  # at once, even when the output goes to a file
    try:
        with ExitStack() as stack:
            redis = None if given_redis_url else stack.enter_context(RedisServer())
            services = plan_services(
                given,
                page_port=options.page_port,
                relay_port=options.relay_port,
                redis_url=redis.url if redis else "",  # the given one wins
                simulator_port=None if upstreams else free_port(),
            )
            say("Starting Airlock…")
            asyncio.run(
                launch(
                    services,
                    servers=[redis] if redis else [],
                    folder=ROOT,
                    on_ready=lambda: say(text),
                    show=say,
                    verbose=options.verbose,
                    drain_seconds=drain_seconds(given),
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
