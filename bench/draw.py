"""Draws panels, given as JSON on standard input, into the SVG file that the argument names.

It runs in the environment of ``plot.lock``, so it imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = {"ours": "#0a7d55", "others": "#9aa5b1"}
STYLE = {
    "svg.hashsalt": "airlock",  # the same figure is the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
}


def draw(figure: dict[str, Any], path: str) -> None:
    """Draw a figure: ``{width, height, columns, panels}``."""
    mpl.rcParams.update(STYLE)
    panels = figure["panels"]
    columns = figure["columns"]
    drawing = Figure(figsize=(figure["width"], figure["height"]), layout="tight")
    axes = drawing.subplots(-(-len(panels) // columns), columns, squeeze=False)
    for panel, axis in zip(panels, axes.flat, strict=False):
        axis.set_title(panel["title"])
        if "bars" in panel:
            _bars(axis, panel)
        else:
            _lines(axis, panel)
    drawing.savefig(path, format="svg", metadata={"Date": None})


def _bars(axis: Any, panel: dict[str, Any]) -> None:
    """Horizontal bars, the first on top: ``{label, value, says, is_ours}``."""
    bars = panel["bars"][::-1]
    colours = [COLOURS["ours" if bar["is_ours"] else "others"] for bar in bars]
    drawn = axis.barh([bar["label"] for bar in bars], [bar["value"] for bar in bars], color=colours)
    axis.bar_label(drawn, [bar["says"] for bar in bars], padding=3)
    axis.margins(x=0.25)
    axis.set_xlabel(panel["unit"])


def _lines(axis: Any, panel: dict[str, Any]) -> None:
    """Lines over a common x: ``{label, values}``."""
    for line in panel["lines"]:
        axis.plot(panel["x"], line["values"], label=line["label"], color=line.get("colour"))
    axis.set_ylim(0, 1.2 * max(max(line["values"]) for line in panel["lines"]))
    if panel.get("log_x"):
        axis.set_xscale("log")
    axis.set_xlabel(panel["x_unit"])
    axis.set_ylabel(panel["unit"])
    if len(panel["lines"]) > 1:
        axis.legend(frameon=False)


if __name__ == "__main__":
    draw(json.load(sys.stdin), sys.argv[1])
