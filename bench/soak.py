"""``python -m bench.soak``: many live sessions for some minutes on two cores, and whether it stays as it begins."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.contenders import CONTENDERS, CannotRun, Surroundings
from bench.keeping import keep
from bench.machine import commit, get_ready, now, this_machine
from bench.orders import Flow, Flowed, Sample
from bench.report import soak_in_words
from bench.results import Run, Soak
from bench.running import Failed, ask

CORES: Final = 2
SESSIONS: Final = 1_000
FRAME_MS: Final = 100
SECONDS: Final = 300.0
SAMPLE_SECONDS: Final = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the process' exit code, 1 if anything was lost or went wrong."""
    options = _options(arguments)
    get_ready()
    # The relay, the browsers, the model and Redis share them.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    print(f"{options.sessions:,} sessions, {FRAME_MS} ms frames, {options.seconds:g} s on {CORES} cores", flush=True)
    try:
        soak = _soak(options.only, options.sessions, options.seconds)
    except (CannotRun, Failed) as problem:
        print(problem)
        return 1
    print(f"\n{soak_in_words(soak)}")
    keep(soak, options.json, print, publish=options.publish)
    return 1 if Run(scenario="soak", contender=options.only, round=1, answer=soak.answer).flaw else 0


def _soak(name: str, sessions: int, seconds: float) -> Soak:
    samples: list[Sample] = []

    def on_sample(sample: Sample) -> None:
        samples.append(sample)
        print(
            f"{sample.at_seconds:5.0f} s  {sample.messages:,} messages, p50 {sample.trip_p50_ms:.2f},"
            f" p99 {sample.trip_p99_ms:.2f} ms, {sample.resident_bytes / 2**20:.1f} MB",
            flush=True,
        )

    with Surroundings() as around, ExitStack() as running:
        contender = CONTENDERS[name]
        server = contender.start_server(around)
        if server is not None:
            running.callback(server.stop)
        answer = ask(
            Flow(
                place=contender.place(around, server),
                sessions=sessions,
                frame_ms=FRAME_MS,
                appends_per_second=sessions * 1000 / FRAME_MS,
                warm_up_seconds=min(SAMPLE_SECONDS, seconds),
                seconds=seconds,
                watched={"upstream": around.upstream.pid, "redis": around.redis.pid},
                sample_every_seconds=min(SAMPLE_SECONDS, seconds),
            ),
            on_sample,
        )
        assert isinstance(answer, Flowed)  # noqa: S101 - what a Flow is answered with
        return Soak(
            measured_at=now(),
            commit=commit(),
            machine=this_machine(around.redis_binary),
            contender=name,
            sessions=sessions,
            frame_ms=FRAME_MS,
            samples=samples,
            answer=answer,
        )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Many live sessions for some minutes.")
    parser.add_argument("--only", choices=[*CONTENDERS], default="relay", help="who is measured (default: relay)")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"default: {SESSIONS}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"default: {SECONDS:g}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results go (default: .bench/soak.json)")
    parser.add_argument("--publish", action="store_true", help="put results, plot and table into the documents")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
