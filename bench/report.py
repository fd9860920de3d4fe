"""A run as tables, in Markdown: for the terminal and for docs/performance.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from bench.reading import Reading
from bench.results import Results, Run, Soak
from bench.scenarios import GROWTH, SCENARIOS
from bench.targets import TARGETS

LABELS: Final = {
    "direct": "direct",
    "nginx": "nginx",
    "relay": "**Airlock**",
    "relay-plain": "Airlock, `PURE_PYTHON=1`",
    "relay-aiohttp": "Airlock, `WEBSOCKETS=aiohttp`",
    "relay-workers": "Airlock, `WORKERS=2`",
    "aiohttp": "aiohttp pump",
    "openai": "`openai` SDK pump",
    "litellm": "LiteLLM",
    "nginx-tls": "nginx, `wss` upstream",
    "relay-tls": "**Airlock, `wss` upstream**",
    "aiohttp-tls": "aiohttp pump, `wss` upstream",
}
FLOWS: Final = ("sat20", "sat20-single", "sat100", "rt20", "rt100", "rt100-100ms", "rt300")
_NOTHING: Final = "-"


def results_in_words(reading: Reading) -> str:
    """A run as the documents show it: where it was made, and the report."""
    return f"{_where(reading.results)}\n{_limits(reading.results)}\n{report(reading)}"


def soak_in_words(soak: Soak) -> str:
    """A soak in a few lines."""
    run = Run(scenario="soak", contender=soak.contender, round=1, answer=soak.answer)
    answer, samples = soak.answer, soak.samples
    third = max(1, len(samples) // 3)
    figures = {
        "resident memory, MB": [sample.resident_bytes / 2**20 for sample in samples],
        "round trip p50, ms": [sample.trip_p50_ms for sample in samples],
        "round trip p99, ms": [sample.trip_p99_ms for sample in samples],
    }
    rows = [
        (says, _number(median(values[:third])), _number(median(values[-third:]))) for says, values in figures.items()
    ]
    return (
        f"{_where(soak)}\n"
        f"{soak.sessions:,} sessions, {soak.frame_ms} ms frames, {answer.seconds:.0f} s on two cores:"
        f" {answer.messages:,} messages, {answer.lost} lost, {_number(run.cpu_us_per_message)} µs of CPU each.\n\n"
        + _table(("median of samples", "first third", "last third"), rows)
        + (f"\n**{run.flaw}**\n" if run.flaw else "")
    )


def _where(made: Results | Soak) -> str:
    machine = made.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    where = f"{machine.cores} cores ({machine.cpu}), {machine.system}"
    return f"Measured {made.measured_at} at commit {made.commit} on {where}: {versions}.\n"


def _limits(results: Results) -> str:
    names = ", ".join(f"`{name}` {value}" for name, value in results.limits.items())
    return f"Rounds: {results.rounds}. Limits whose numbers were raised, all in force: {names}.\n"


def report(reading: Reading) -> str:
    """All of it."""
    parts = (_targets(reading), _cost(reading), _latency(reading), _sessions(reading), _growth(reading))
    more = (_services(reading), _shares(reading), _problems(reading))
    return "\n".join(part for part in (*parts, *more) if part)


def _targets(reading: Reading) -> str:
    def row(says: str, limit: str, value: str, reached: bool | None) -> tuple[str, ...]:
        return says, limit, value, {True: "reached", False: "**not reached**", None: "not measured"}[reached]

    rows = (
        row(
            target.says,
            f"{'≥' if target.at_least else '≤'} {target.limit:,g} {target.unit}".strip(),
            _NOTHING if (value := target.read(reading)) is None else f"{_number(value)} {target.unit}".strip(),
            target.is_reached(reading),
        )
        for target in TARGETS
    )
    return "Targets:\n\n" + _table(("what", "to reach", "measured", ""), rows)


def _cost(reading: Reading) -> str:
    flows = [name for name in FLOWS if reading.contenders(name)]
    rows = []
    for name in _present(reading, flows):
        floor = "nginx-tls" if name.endswith("-tls") else "nginx"
        if name != "direct":
            rows.append((LABELS[name], *(_cost_cell(reading, flow, name, floor) for flow in flows)))
    if not rows:
        return ""
    says = "".join(f"`{name}`: {SCENARIOS[name].title}. " for name in flows)
    return (
        "CPU per relayed message in µs, and against nginx' (with TLS where the upstream is `wss`):\n\n"
        + _table(("", *flows), rows)
        + f"\n{says.strip()}\n"
    )


def _cost_cell(reading: Reading, flow: str, name: str, floor: str) -> str:
    cost = reading.cost(flow, name)
    if cost is None:
        return _NOTHING
    ratio = reading.cost_ratio(flow, name, floor)
    return f"{cost:.1f}" if ratio is None or name == floor else f"{cost:.1f} ({ratio:.2f}x)"


def _latency(reading: Reading) -> str:
    flows = [name for name in ("rt20", "rt100", "rt300") if "direct" in reading.contenders(name)]
    rows = [
        (
            LABELS[name],
            *(_pair(reading.added_ms(flow, name, 50), reading.added_ms(flow, name, 99)) for flow in flows),
            _number(reading.sessions_per_core("rt300", name)),
        )
        for name in _present(reading, flows)
        if name != "direct"
    ]
    if not rows:
        return ""
    heads = ("", *(f"{flow}, p50 / p99 ms" for flow in flows), "sessions per core")
    return "Added round trip, and the sessions in real time that a core carries by `rt300`:\n\n" + _table(heads, rows)


def _sessions(reading: Reading) -> str:
    rows = [
        (
            LABELS[name],
            _number(reading.base_mb(name)),
            _number(reading.idle_kb(name)),
            _number(reading.active_kb(name)),
            _number(reading.set_up_ms(name)),
            _number(reading.set_up_ratio(name, "litellm")),
            _number(reading.set_ups_per_second(name)),
        )
        for name in reading.contenders("sessions")
    ]
    if not rows:
        return ""
    heads = (
        "",
        "base MB",
        "KB per idle session",
        "per active one",
        "CPU ms to set one up",
        "÷ LiteLLM",
        "set up per second",
    )
    return f"Memory and set-up, {SCENARIOS['sessions'].title}:\n\n" + _table(heads, rows)


def _growth(reading: Reading) -> str:
    sizes = [size for size in GROWTH if reading.contenders(f"growth{size}")]
    if not sizes:
        return ""
    rows = [
        (
            LABELS[name],
            *(_number(reading.cost(f"growth{size}", name)) for size in sizes),
            _number(reading.growth(name, GROWTH[0], GROWTH[-1])),
        )
        for name in reading.contenders(f"growth{sizes[0]}")
    ]
    heads = ("sessions", *(f"{size:,}" for size in sizes), f"{GROWTH[-1]:,} ÷ {GROWTH[0]}")
    return "CPU µs per message, 2,000 messages per second shared by so many sessions:\n\n" + _table(heads, rows)


def _services(reading: Reading) -> str:
    rows = [
        (
            step,
            _number(reading.step_us(step)),
            _pair(reading.step_ms(step, 50), reading.step_ms(step, 99)),
        )
        for step in ("mint", "redeem")
        if reading.step_us(step) is not None
    ]
    if not rows:
        return ""
    return (
        "Tokens: a mint over HTTP, a redeem by the relay's code without upgrade and dial; without Redis' own CPU:\n\n"
        + _table(("", "CPU µs", "p50 / p99 ms at 500 per second"), rows)
    )


def _shares(reading: Reading) -> str:
    rows = [
        (
            flow,
            LABELS[name],
            _number(reading.per_second(flow, name)),
            *(
                _number(reading.core_share(flow, name, process))
                for process in ("contender", "load", "upstream", "redis")
            ),
        )
        for flow in FLOWS
        for name in reading.contenders(flow)
        if reading.per_second(flow, name) is not None
    ]
    if not rows:
        return ""
    return (
        "Who was busy, in cores. The load generator and the upstream were not what held others up: `direct` is how much"
        " they pass between them.\n\n"
        + _table(("", "", "messages per second", "itself", "load generator", "upstream", "Redis"), rows)
    )


def _problems(reading: Reading) -> str:
    lines = [
        f"- {scenario}, {contender}: {' '.join(what.split())}\n" for scenario, contender, what in reading.problems()
    ]
    return "Not measured, or worth nothing:\n\n" + "".join(lines) if lines else ""


def _present(reading: Reading, scenarios: Iterable[str]) -> list[str]:
    taking_part = {name for scenario in scenarios for name in reading.contenders(scenario)}
    return [name for name in LABELS if name in taking_part]


def _pair(one: float | None, other: float | None) -> str:
    return _NOTHING if one is None or other is None else f"{one:.2f} / {other:.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
