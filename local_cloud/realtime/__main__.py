"""Run the simulator as a process: ``python -m local_cloud.realtime --port 9000``."""

import argparse
import asyncio
import signal
import ssl
from pathlib import Path

from local_cloud.realtime.behaviour import Behaviour
from local_cloud.realtime.simulator import Simulator

_KEPT_CONNECTIONS = 8  # each may hold tens of MiB


async def serve(behaviour: Behaviour, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Simulator(behaviour, host=host, port=port, keep_connections=_KEPT_CONNECTIONS, tls=tls) as simulator:
        print(f"realtime simulator on {simulator.base_url}", flush=True)
        await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud.realtime", description="OpenAI Realtime, simulated.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free port and prints it")
    parser.add_argument("--certificate", type=Path, help="PEM file, to serve over TLS")
    parser.add_argument("--certificate-key", type=Path, help="PEM file of its key; without it, in the same file")
    parser.add_argument("--api-key", help="the only key to accept; by default any")
    parser.add_argument("--pace", type=float, default=4.0, help="output per wall time; 1 is real time, 0 is unlimited")
    parser.add_argument("--no-record", dest="record", action="store_false", help="remember nothing of connections")
    parser.add_argument("--echo", action="store_true", help="answer every append with the same audio: for benchmarks")
    given = parser.parse_args()
    behaviour = Behaviour(api_key=given.api_key, pace=given.pace or None, record=given.record, echo=given.echo)
    tls = None
    if given.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(given.certificate, given.certificate_key)
    asyncio.run(serve(behaviour, given.host, given.port, tls))


if __name__ == "__main__":
    main()
