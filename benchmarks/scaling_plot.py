"""The picture of the benchmark: speed-up against slots, measured and simulated, for a light and for a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.landscape.plot import THEMES, colours
from tictactoe.reporting.report.drawing import style

SIZE = 8.0, 4.4
"""Inches."""
COLOURS = ("#0084d1", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""After Okabe & Ito, 2008. With more lines they come again."""


def draw(measured: Sequence[dict[str, Any]], simulated: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write scaling-light.svg and scaling-dark.svg."""
    lines = [
        (f"{name}, measured, {share:g} CPU a slot", list(rows), "nodes")
        for (name, share), rows in groupby(measured, lambda row: (row["search"], row["CPUs of a node"]))
    ]
    lines += [
        (f"trials of {seconds:g} s, simulated", list(rows), "slots")
        for seconds, rows in groupby(simulated, lambda row: row["trial s"])
    ]
    for name, theme in THEMES.items():
        with style(), matplotlib.rc_context(colours(theme) | {"svg.fonttype": "path"}):
            figure = Figure(figsize=SIZE, layout="constrained")
            axes = figure.add_subplot()
            for (label, rows, key), colour in zip(lines, cycle(COLOURS), strict=False):
                of_it: dict[str, Any] = (
                    {"linestyle": "--", "marker": "o", "markerfacecolor": "none"} if key == "slots" else {"marker": "s"}
                )
                axes.plot([row[key] for row in rows], [row["speed-up"] for row in rows], label=label, color=colour, **of_it)
            _axes(axes, [row[key] for _, rows, key in lines for row in rows], theme["muted"])
            figure.legend(loc="outside upper left", ncols=2, columnspacing=1.2)
            figure.savefig(folder / f"scaling-{name}.svg", facecolor=theme["page"], metadata={"Date": None})


def _axes(axes: Axes, slots: Sequence[int], muted: str) -> None:
    ticks = sorted(set(slots))
    axes.plot(ticks, ticks, color=muted, linewidth=0.9, linestyle=":", label="as many times as slots")
    axes.set(xscale="log", yscale="log", xlabel="slots", ylabel="times the speed of one slot")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_ticks(ticks)
        axis.set_minor_locator(NullLocator())
