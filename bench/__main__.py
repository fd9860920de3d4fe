"""``python -m bench``: measure, say how it goes, and report."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.contenders import CONTENDERS, RAISED, Surroundings, raised_by_profile
from bench.keeping import keep
from bench.machine import commit, get_ready, now, this_machine
from bench.reading import Reading
from bench.report import report
from bench.results import Results, Run
from bench.running import Field, measure_services, run_scenario
from bench.scenarios import QUICK, SCENARIOS, USUAL

TOKENS: Final = "tokens"
PAIRS, QUICK_PAIRS = 4_000, 1_000
say: Final = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    options = _options(arguments)
    get_ready()
    limits = RAISED | raised_by_profile()
    say("Everything is on as shipped. Limits whose numbers are raised until the load fits:")
    for name, value in limits.items():
        say(f"  {name} = {value}")
    with Surroundings() as around:
        results = Results(
            measured_at=now(),
            commit=commit(),
            machine=this_machine(around.redis_binary),
            limits=limits,
            rounds=options.rounds,
            runs=_measure(options, around),
        )
    say(f"\n{report(Reading(results))}")
    keep(results, options.json, say, publish=options.publish)


def _measure(options: argparse.Namespace, around: Surroundings) -> list[Run]:
    runs: list[Run] = []
    began = time.monotonic()
    with Field(around).open() as field:
        for number, name in itertools.product(range(1, options.rounds + 1), options.scenarios):
            title = "minting and redeeming" if name == TOKENS else SCENARIOS[name].title
            say(f"[{time.monotonic() - began:4.0f} s] round {number} of {options.rounds}: {title}")
            if name == TOKENS:
                runs += measure_services(around, QUICK_PAIRS if options.quick else PAIRS, number, say)
            else:
                pace = QUICK if options.quick else USUAL
                runs += run_scenario(field, SCENARIOS[name], options.only, pace, number, say)
    return runs


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
