"""What is drawn of a run and of a soak: panels of bars and lines as :mod:`bench.draw` takes them. Pure."""

from __future__ import annotations

from typing import Any

from bench.reading import Reading
from bench.report import FLOWS, LABELS
from bench.results import Soak
from bench.scenarios import GROWTH, SCENARIOS

Figure = dict[str, Any]


def picture_of(reading: Reading) -> Figure:
    """CPU per message at saturation and in real time, and how it grows with the sessions."""
    panels = [_cost(reading, flow) for flow in ("rt100", "sat20") if flow in FLOWS and reading.contenders(flow)]
    sizes = [size for size in GROWTH if reading.contenders(f"growth{size}")]
    if sizes and (growth := _growth(reading, sizes))["lines"]:
        panels.append(growth)
    return {"width": 9.5, "height": 3.4 * len(panels), "columns": 1, "panels": panels}


def picture_of_soak(soak: Soak) -> Figure:
    """Memory, round trip and CPU over time."""
    x = [sample.at_seconds for sample in soak.samples]
    began = [0.0, *x]
    spans = [after - before for before, after in zip(began, x, strict=False)]

    def panel(title: str, unit: str, **lines: list[float]) -> Figure:
        drawn = [{"label": label, "values": values} for label, values in lines.items()]
        return {"title": title, "x": x, "x_unit": "seconds", "unit": unit, "lines": drawn}

    samples = list(zip(soak.samples, spans, strict=True))
    title = f"{soak.sessions:,} sessions, {soak.frame_ms} ms frames: "
    panels = [
        panel(f"{title}resident memory", "MB", memory=[sample.resident_bytes / 2**20 for sample, _ in samples]),
        panel(
            "Round trip through the relay",
            "ms",
            p50=[sample.trip_p50_ms for sample, _ in samples],
            p99=[sample.trip_p99_ms for sample, _ in samples],
        ),
        panel("Messages", "per second", messages=[sample.messages / span for sample, span in samples]),
        panel("CPU of the relay", "% of a core", cpu=[sample.cpu_ns / 1e7 / span for sample, span in samples]),
    ]
    return {"width": 9.5, "height": 6.5, "columns": 2, "panels": panels}


def _cost(reading: Reading, flow: str) -> Figure:
    bars = []
    for name in reading.contenders(flow):
        cost = reading.cost(flow, name)
        if cost is None:
            continue
        floor = "nginx-tls" if name.endswith("-tls") else "nginx"
        ratio = reading.cost_ratio(flow, name, floor)
        bars.append(
            {
                "label": LABELS[name].replace("*", "").replace("`", ""),
                "value": cost,
                "says": f"{cost:.1f}" if ratio is None or name == floor else f"{cost:.1f}, {ratio:.2f}x nginx",
                "is_ours": name.startswith("relay"),
            }
        )
    return {"title": f"CPU per message: {SCENARIOS[flow].title}", "unit": "µs", "bars": bars}


def _growth(reading: Reading, sizes: list[int]) -> Figure:
    lines = []
    for name in reading.contenders(f"growth{sizes[0]}"):
        values = [reading.cost(f"growth{size}", name) for size in sizes]
        if None not in values:
            lines.append({"label": LABELS[name].replace("*", ""), "values": values})
    title = "CPU per message: 2,000 messages per second shared by 1 to 1,000 sessions"
    return {"title": title, "x": sizes, "x_unit": "sessions", "unit": "µs", "lines": lines, "log_x": True}
