"""Runs orders in processes of their own, and every contender in its turn."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec

from bench.contenders import CONTENDERS, ROOT, CannotRun, Surroundings
from bench.orders import Answer, Done, Flowed, MintTokens, Order, Redeem, Sample, WasSetUp
from bench.results import SERVICES, Run
from bench.scenarios import Pace, Scenario
from local_cloud.child_server import ChildServer

PAIRS_PER_SECOND: Final = 500
Say = Callable[[str], None]


class Failed(Exception):
    """A measurement went wrong; the text says how."""


def ask(order: Order, on_sample: Callable[[Sample], None] | None = None) -> Flowed | WasSetUp | Done:
    """Have an order obeyed by a process of its own. Raises Failed."""
    module = "bench.redeeming" if isinstance(order, Redeem) else "bench.load"
    answer: Answer | None = None
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(msgspec.json.encode(order))
        process.stdin.close()
        for line in process.stdout:
            answer = msgspec.json.decode(line, type=Answer)
            if isinstance(answer, Sample) and on_sample is not None:
                on_sample(answer)
        if process.wait() != 0:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
            raise Failed(text.splitlines()[-1] if text else f"{module} ended with {process.returncode}")
    if answer is None or isinstance(answer, Sample):
        raise Failed(f"{module} said nothing")
    return answer


class Field:
    """The contenders, each started when it is first needed and running until the end."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._running = ExitStack()
        self._servers: dict[str, ChildServer | None] = {}
        self._absent: dict[str, str] = {}

    @contextmanager
    def open(self) -> Iterator[Field]:
        """Stop them all in the end."""
        with self._running:
            yield self

    def measure(self, scenario: Scenario, name: str, pace: Pace) -> Flowed | WasSetUp:
        """One contender in one scenario. Raises CannotRun, Failed."""
        if scenario.sets_up:  # memory tells most in a fresh process
            server = self._start(name)
            try:
                return self._measure(scenario, name, server, pace)
            finally:
                if server is not None:
                    server.stop()
        return self._measure(scenario, name, self._server(name), pace)

    def _measure(self, scenario: Scenario, name: str, server: ChildServer | None, pace: Pace) -> Flowed | WasSetUp:
        contender = CONTENDERS[name]
        upstream = self._around.tls_upstream if contender.tls else self._around.upstream
        watched = {"upstream": upstream.pid, "redis": self._around.redis.pid}
        answer = ask(scenario.order(contender.place(self._around, server), pace, watched))
        assert not isinstance(answer, Done)  # noqa: S101 - it was asked for something else
        return answer

    def _server(self, name: str) -> ChildServer | None:
        if name not in self._servers:
            server = self._servers[name] = self._start(name)
            if server is not None:
                self._running.callback(server.stop)
        return self._servers[name]

    def _start(self, name: str) -> ChildServer | None:
        if name in self._absent:  # what takes long to fail is not tried again
            raise CannotRun(self._absent[name])
        try:
            return CONTENDERS[name].start_server(self._around)
        except CannotRun as problem:
            self._absent[name] = str(problem)
            raise


def run_scenario(
    field: Field, scenario: Scenario, names: Sequence[str], pace: Pace, number: int, say: Say
) -> list[Run]:
    """Every contender once, in order; what cannot run or goes wrong is said."""
    runs = []
    for name in scenario.contenders:
        if name not in names:
            continue
        answer, problem = None, None
        try:
            answer = field.measure(scenario, name, pace)
        except (CannotRun, Failed) as error:
            problem = f"could not run: {error}" if isinstance(error, CannotRun) else str(error)
        run = Run(scenario=scenario.name, contender=name, round=number, answer=answer, problem=problem)
        say(f"  {scenario.name:<12} {name:<14} {run.in_words()}")
        runs.append(run)
    return runs


def measure_services(around: Surroundings, pairs: int, number: int, say: Say) -> list[Run]:
    """Mint and redeem, first as fast as it goes, then at 500 a second."""
    runs = []
    for name, count, per_second in (("", pairs, 0), ("-500", pairs // 2, PAIRS_PER_SECOND)):
        mint: Order = MintTokens(mint=around.mint, pid=around.token_service.pid, count=count, per_second=per_second)
        runs.append(_service_run(f"mint{name}", number, mint))
        say(f"  {runs[-1].scenario:<12} {runs[-1].in_words()}")
        if isinstance(runs[-1].answer, Done):
            redeem: Order = Redeem(
                tokens=runs[-1].answer.tokens,
                redis_url=around.redis.url,
                signing_keys=[around.signing_key],
                per_second=per_second,
            )
            runs.append(_service_run(f"redeem{name}", number, redeem))
            say(f"  {runs[-1].scenario:<12} {runs[-1].in_words()}")
    return [_without_tokens(run) for run in runs]


def _service_run(scenario: str, number: int, order: Order) -> Run:
    try:
        answer, problem = ask(order), None
    except Failed as error:
        answer, problem = None, str(error)
    return Run(scenario=scenario, contender=SERVICES, round=number, answer=answer, problem=problem)


def _without_tokens(run: Run) -> Run:
    if not isinstance(run.answer, Done):
        return run
    return msgspec.structs.replace(run, answer=msgspec.structs.replace(run.answer, tokens=[]))
