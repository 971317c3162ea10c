"""A picture of the board of deploy/monitoring, from a real Prometheus' answers, for a light and for a dark page.

It runs the search of deployment.yaml on two nodes of one CPU each, both on this machine. One leaves in the middle, as a machine
does that loses its power, and another joins. Prometheus watches it by the files of deploy/monitoring. Each panel's
queries are asked of it as Grafana would. matplotlib draws the answers where the board has the panels.

    python -m benchmarks.board docs
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.landscape.plot import THEMES, colours
from benchmarks.scaling_plot import COLOURS
from tests.support.monitoring import board, filled
from tests.support.processes import Machine, free_port
from tests.support.prometheus import Prometheus, local_config, prometheus
from tictactoe.reporting.report.drawing import style
from tictactoe.text import minutes

SEARCH = ("--num-samples", "1024", "--seeds", "256", "--games", "400000", "--name", "search", "--hold")
HERE = ("--node-address", "127.0.0.1", "--num-cpus", "1")
ALONE_S, TOGETHER_S, GAP_S, HELD_S = 20.0, 60.0, 20.0, 20.0
"""How long the head is alone, has its first worker, has none, and holds its dashboard."""
SIZE, GRID = (15.0, 9.4), (24, 25)
"""Inches; and the board's columns and rows."""
STEP_S = 5.0


def main() -> None:
    commands = argparse.ArgumentParser(description=__doc__)
    commands.add_argument("folder", type=Path, help="where monitoring-light.png and monitoring-dark.png go")
    options = commands.parse_args()
    with tempfile.TemporaryDirectory() as name:
        panels = watch(Path(name))
    for theme in THEMES:
        draw(panels, theme, options.folder / f"monitoring-{theme}.png")


def watch(folder: Path) -> list[dict[str, Any]]:
    """The board's panels, each with its `answers`: a legend and a series of moments and values, for each line."""
    token, dashboard, metrics, cluster = secrets.token_hex(32), free_port(), free_port(), free_port()
    (folder / "token").write_text(token)
    ports = ("--dashboard-port", str(dashboard), "--metrics-port", str(metrics), "--cluster-port", str(cluster))
    head = Machine(folder, token, *SEARCH, "--cluster", "--results-dir", str(folder), *ports, *HERE)
    machines = [head]
    config = local_config(folder / "token", f"http://127.0.0.1:{dashboard}")
    began = time.time()
    try:
        with prometheus(config, folder) as there:
            there.wait_for("max(ray_tictactoe_slots)", 1)
            time.sleep(ALONE_S)
            for pause in (TOGETHER_S, 0.0):
                machines.append(Machine(folder, token, "worker", f"127.0.0.1:{cluster}", *HERE))
                if pause:
                    time.sleep(pause)
                    machines[-1].power_off()
                    time.sleep(GAP_S)
            there.wait_for('max(ray_tictactoe_phase{phase="held"})', 1, 900.0)
            time.sleep(HELD_S)
            return [answered(panel, there, time.time() - began) for panel in board()["panels"]]
    finally:
        for machine in machines:
            machine.kill()
        for machine in machines:
            machine.left(15.0)
            machine.remove()


def answered(panel: dict[str, Any], there: Prometheus, seconds: float) -> dict[str, Any]:
    """A panel with the answers to its queries, over so many seconds."""
    answers = []
    for target in panel["targets"]:
        for labels, points in there.series(filled(target["expr"], "search"), seconds, STEP_S):
            legend = target.get("legendFormat") or labels.get("alertname", "")
            for label, value in labels.items():
                legend = legend.replace("{{" + label + "}}", value)
            answers.append((legend, points))
    return panel | {"answers": answers}


def draw(panels: Sequence[dict[str, Any]], name: str, path: Path) -> None:
    """Draw the board."""
    theme = THEMES[name]
    with style(), matplotlib.rc_context(colours(theme) | {"font.size": 8}):
        figure = Figure(figsize=SIZE, dpi=110)
        moments = [at for panel in panels for _, points in panel["answers"] for at, _ in points]
        for panel in panels:
            place = panel["gridPos"]
            left, width = place["x"] / GRID[0], place["w"] / GRID[0]
            bottom, height = 1 - (place["y"] + place["h"]) / GRID[1], place["h"] / GRID[1]
            drawn = panel["type"] == "timeseries"
            axes = figure.add_axes((left + 0.028, bottom + 0.035 * drawn + 0.005, width - 0.04, height - 0.035 - 0.04 * drawn))
            axes.set_title(panel["title"], loc="left", fontsize=9, fontweight="bold")
            if drawn:
                lines(axes, panel, min(moments))
            else:
                numbers(axes, panel, max(moments), theme)
        figure.savefig(path, facecolor=theme["page"])


def lines(axes: Axes, panel: dict[str, Any], zero: float) -> None:
    """A panel of lines over time."""
    for number, (legend, points) in enumerate(panel["answers"]):
        times, values = [at - zero for at, _ in points], [value for _, value in points]
        axes.plot(times, values, label=legend, color=COLOURS[number % len(COLOURS)], linewidth=1.3)
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: worded(value, unit)))
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_formatter("{x:g} s")
    if panel["answers"]:
        axes.legend(fontsize=6.5, loc="best", frameon=False)


def numbers(axes: Axes, panel: dict[str, Any], end: float, theme: dict[str, str]) -> None:
    """A panel of the values at the end, in words; what was heard only before is left out."""
    axes.set_axis_off()
    now = [(legend, points[-1][1]) for legend, points in panel["answers"] if points[-1][0] > end - 2 * STEP_S]
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    if panel["type"] == "table":
        axes.text(0, 0.9, "\n".join(legend for legend, _ in now) or "none fires", fontsize=9, va="top")
        return
    for number, (legend, value) in enumerate(now):
        x = (number + 0.5) / len(now)
        big = legend if unit == "none" else worded(value, unit)
        axes.text(x, 0.55, big, fontsize=17, ha="center", va="center", color=COLOURS[0], transform=axes.transAxes)
        if unit != "none":
            axes.text(x, 0.12, legend, fontsize=7.5, ha="center", va="center", color=theme["muted"], transform=axes.transAxes)


def worded(value: float, unit: str) -> str:
    """A value with its unit, as the board has it."""
    if unit == "percentunit":
        return f"{100 * value:.0f} %"
    if unit == "percent":
        return f"{value:.0f} %"
    if unit == "s":
        return minutes(value)
    if value >= 1e6:
        return f"{value / 1e6:,.3g} M"
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
