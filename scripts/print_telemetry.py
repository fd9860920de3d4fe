"""Print the tables of docs/telemetry.md from the catalogue: ``python -m scripts.print_telemetry [--write]``."""

from collections.abc import Iterable

from scripts.printed_page import PrintedPage
from service_kit.telemetry.catalogue import ATTRIBUTES, EVENTS, METRICS, SPANS, Metric

MANY = 8


def tables() -> str:
    """Every metric, event and span, as Markdown."""
    return "\n".join(
        (
            _table(("metric", "kind", "unit", "service", "dimensions", "means"), map(_metric, METRICS.values())),
            _buckets(),
            _table(
                ("event", "alert", "means"),
                ((f"`{event.name}`", "yes" if event.is_alert else "-", event.means) for event in EVENTS.values()),
            ),
            _table(("span", "means"), ((f"`{name}`", means) for name, means in SPANS.items())),
            "Attributes of events and spans: " + ", ".join(f"`{name}`" for name in sorted(ATTRIBUTES)) + ".\n",
        )
    )


def _metric(metric: Metric) -> tuple[str, ...]:
    dimensions = "; ".join(f"`{name}`: {_values(values)}" for name, values in metric.dimensions.items())
    return (f"`{metric.name}`", metric.kind, metric.unit, metric.service, dimensions or "-", metric.means)


def _values(values: tuple[str, ...]) -> str:
    if len(values) > MANY:
        return "every one of [errors.md](errors.md)"
    return ", ".join(f"`{value}`" for value in values)


def _buckets() -> str:
    lines: dict[tuple[float, ...], list[str]] = {metric.buckets: [] for metric in METRICS.values() if metric.buckets}
    for metric in METRICS.values():
        if metric.buckets:
            lines[metric.buckets].append(f"`{metric.name}`")
    return "".join(
        f"Buckets of {', '.join(names)}, in milliseconds: {', '.join(f'{bound:g}' for bound in bounds)}, more.\n"
        for bounds, names in lines.items()
    )


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


PAGE = PrintedPage("telemetry.md", "service_kit/telemetry/catalogue.py", tables)

if __name__ == "__main__":
    PAGE.main()
