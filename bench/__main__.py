"""``python -m bench``: measure, say how it goes, and report."""

from __future__ import annotations

import argparse
import time
import tomllib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from bench.contenders import CONTENDERS, PROFILES, RAISED, Surroundings
from bench.keeping import keep
from bench.machine import commit, now, raise_file_limit, this_machine
from bench.reading import Reading
from bench.report import report
from bench.results import Results, Run
from bench.running import Field, measure_services, run_scenario
from bench.scenarios import QUICK, SCENARIOS, USUAL

TOKENS = "tokens"
PAIRS, QUICK_PAIRS = 4_000, 1_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    options = _options(arguments)
    raise_file_limit()
    began = time.monotonic()
    limits = RAISED | {f"profile: {name}": str(value) for name, value in _raised_by_profile().items()}
    print("Limits whose numbers are raised until the load fits; everything is on as shipped:")
    for name, value in limits.items():
        print(f"  {name} = {value}")
    runs: list[Run] = []
    with Surroundings() as around, Field(around).open() as field:
        results = Results(
            measured_at=now(),
            commit=commit(),
            machine=this_machine(around.redis_binary),
            limits=limits,
            rounds=options.rounds,
            runs=runs,
        )
        for number in range(1, options.rounds + 1):
            for name in options.scenarios:
                print(
                    f"[{time.monotonic() - began:4.0f} s] round {number} of {options.rounds}: {_title(name)}",
                    flush=True,
                )
                if name == TOKENS:
                    runs += measure_services(around, QUICK_PAIRS if options.quick else PAIRS, number, print)
                else:
                    pace = QUICK if options.quick else USUAL
                    runs += run_scenario(field, SCENARIOS[name], options.only, pace, number, print)
    print(f"\n{report(Reading(results))}")
    print("Written:", *keep(results, options.json, publish=options.publish))


def _title(scenario: str) -> str:
    return "minting and redeeming" if scenario == TOKENS else SCENARIOS[scenario].title


def _raised_by_profile() -> dict[str, object]:
    limits: dict[str, object] = tomllib.loads(PROFILES.read_text("utf-8"))["profiles"]["default"]["limits"]
    return limits


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what a relayed message costs.")
    names = f"of {', '.join(CONTENDERS)}; default: all"
    parser.add_argument("--only", type=_some_of(CONTENDERS), default=[*CONTENDERS], metavar="NAME,...", help=names)
    scenarios = [*SCENARIOS, TOKENS]
    names = f"of {', '.join(scenarios)}; default: all"
    parser.add_argument("--scenarios", type=_some_of(scenarios), metavar="NAME,...", help=names)
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one short round of what matters most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results go (default: .bench/bench.json)")
    parser.add_argument("--publish", action="store_true", help="put results, plot and tables into the documents")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    quick = [name for name, scenario in SCENARIOS.items() if scenario.is_quick]
    options.scenarios = options.scenarios or ([*quick, TOKENS] if options.quick else scenarios)
    return options


def _some_of(names: Collection[str]) -> Callable[[str], list[str]]:
    def some(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen).difference(names):
            raise argparse.ArgumentTypeError(f"not known: {', '.join(sorted(unknown))}")
        return chosen

    return some


if __name__ == "__main__":
    main()
