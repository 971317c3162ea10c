"""The picture of the benchmark: regret against games spent, for a light and for a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from tictactoe.reporting.report.drawing import DPI, style, unlabelled

SIZE = 8.0, 4.4
"""Inches."""
THEMES = {
    "light": {"ink": "#1b1f24", "muted": "#59636e", "grid": "#d8dee4", "page": "#ffffff"},
    "dark": {"ink": "#e6edf3", "muted": "#9198a1", "grid": "#3d444d", "page": "#0d1117"},
}
LOOKS = {
    "random": ("#8c8c8c", "o", "-"),
    "Optuna TPE": ("#cc79a7", "s", "-"),
    "ASHA": ("#009e73", "^", "-"),
    "race (default)": ("#0084d1", "D", "-"),
    "race, Optuna TPE": ("#56b4e9", "*", "-"),
    "Optuna SuccessiveHalvingPruner": ("#e69f00", "v", "--"),
    "Optuna HyperbandPruner": ("#d55e00", "<", "--"),
    "Optuna WilcoxonPruner": ("#a06cd5", ">", "--"),
}
"""Colour (after Okabe & Ito, 2008), mark and line of each tuner that is drawn."""


def draw(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write landscape-light.png and landscape-dark.png."""
    for name, theme in THEMES.items():
        with style(), matplotlib.rc_context(colours(theme)):
            figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
            axes = figure.add_subplot()
            for tuner, its_rows in groupby(rows, lambda row: row["tuner"]):
                if tuner in LOOKS:
                    colour, marker, line = LOOKS[tuner]
                    points = list(its_rows)
                    games, regret = ([row[key] for row in points] for key in ("games M", "regret %"))
                    low, high = ([abs(row[key] - row["regret %"]) for row in points] for key in ("from", "to"))
                    axes.errorbar(
                        games, regret, [low, high], label=tuner, color=colour, marker=marker, linestyle=line,
                        markersize=9 if marker == "*" else 6, linewidth=1.6, elinewidth=0.9, capsize=2,
                    )  # fmt: skip
            axes.set(xscale="log", yscale="log", xlabel="games of self-play (millions)", ylabel="regret of the winner, %")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.yaxis.set_major_formatter("{x:g}")
            for axis in (axes.xaxis, axes.yaxis):
                unlabelled(axis)
            figure.legend(loc="outside upper left", ncols=3, columnspacing=1.2)
            figure.savefig(folder / f"landscape-{name}.png", facecolor=theme["page"])


def colours(theme: dict[str, str]) -> dict[Any, Any]:
    """Of everything that is no tuner's."""
    muted = dict.fromkeys(("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), theme["muted"])
    return muted | {"text.color": theme["ink"], "grid.color": theme["grid"], "axes.facecolor": theme["page"]}
