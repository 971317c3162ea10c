"""The plots of hyperparameters: each alone, how much each decides, and all at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tictactoe.experiment.results import Results
from tictactoe.reporting.report.data import Value, drawn, kind, levels, numbers, sampled, spans_decades, values
from tictactoe.reporting.report.drawing import (
    INK,
    LOOKS,
    MUTED,
    SOLVED,
    UNSOLVED,
    Plot,
    finish,
    games_axis,
    lay_out_alike,
    legend,
    new_figure,
    scatter,
    unlabelled,
)
from tictactoe.reporting.report.importance import Importance
from tictactoe.text import games, percent, plain_name, short


def hyperparameters(results: Results) -> list[Plot]:
    """Each hyperparameter against the objective."""
    figures = [_hyperparameter(results, name) for name in results.searched]
    lay_out_alike(figures)
    plots = []
    for figure, name in zip(figures, results.searched, strict=True):
        caption = f"The winner's {plain_name(name)} is {short(getattr(results.winner.config, name))}.{sampled(results)}"
        plots.append(finish(figure, f"hyperparameter-{name}", f"Games to optimal over {plain_name(name)}", caption))
    return plots


def _hyperparameter(results: Results, name: str) -> Figure:
    figure, axes = new_figure(195)
    column = values(results.records, name)
    choices, places = levels(column), numbers(column)
    if places is None:
        spread = np.random.default_rng(0).uniform(-0.18, 0.18, len(column))  # so that equal choices do not cover each other
        places = [choices.index(value) + shift for value, shift in zip(column, spread.tolist(), strict=True)]
        axes.set_xticks(range(len(choices)), [str(choice) for choice in choices])
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif spans_decades(places):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda number, place: short(number))
        unlabelled(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))  # more labels may touch
    place_of = dict(zip((record.index for record in results.records), places, strict=True))
    shown = drawn(results)
    kinds, means = [kind(results, record) for record in shown], [record.geometric_mean for record in shown]
    scatter(axes, kinds, [place_of[record.index] for record in shown], means, 4)
    at = place_of[results.winner.index]
    axes.plot(at, results.winner.geometric_mean, "D", markersize=8, markerfacecolor="none", color=INK, zorder=5)
    games_axis(axes, "y")
    axes.set(xlabel=plain_name(name), ylabel="geometric mean of games")
    return figure


def importance(shares: dict[str, Importance]) -> Plot:
    """How much each hyperparameter decides about good trials, and how much luck would; the largest share is first."""
    figure, axes = new_figure(64 + 19 * len(shares))
    names, rows = [plain_name(name) for name in shares], range(len(shares))
    most = max(max(one.share, one.luck) for one in shares.values())
    for row, one in zip(rows, shares.values(), strict=True):
        colour = SOLVED if one.stands_out else MUTED
        axes.barh(row, one.share, color=colour, height=0.6, alpha=1.0 if one.stands_out else 0.5)
        axes.plot([one.luck, one.luck], [row - 0.42, row + 0.42], color=UNSOLVED, linewidth=2, label="what luck may reach")
        axes.annotate(percent(one.share), (max(one.share, one.luck), row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.18 * most), xticks=[])
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    legend(figure, axes)
    outstanding = [plain_name(name) for name, one in shares.items() if one.stands_out]
    caption = (
        "Shares by PED-ANOVA: how much one hyperparameter alone says about being among the best trials. "
        "Had ranks nothing to do with hyperparameters, in 95 % of searches no bar at all would get past its line. "
    )
    if outstanding:
        caption += f"Past it: {', '.join(outstanding)}."
    else:
        caption += "None does: these trials do not say which hyperparameter matters."
    title = "Importance of the hyperparameters" if outstanding else "No hyperparameter stands out"
    return finish(figure, "importance", title, caption)


def parallel_coordinates(results: Results) -> Plot:
    """Every configuration as one line through all hyperparameters and the score."""
    columns = {plain_name(name): values(results.records, name) for name in results.searched}
    columns["games"] = [record.geometric_mean for record in results.records]
    figure, axes = new_figure(30 + 34 * len(columns))
    scales = [_scale(column) for column in columns.values()]
    places = np.array([scale.places for scale in scales]).T
    line_of = {record.index: line for record, line in zip(results.records, places, strict=True)}
    rows = np.arange(len(columns))
    for name, look in reversed(LOOKS.items()):  # solved ones on top
        lines = [np.column_stack([line_of[record.index], rows]) for record in drawn(results) if kind(results, record) == name]
        if lines:
            style: dict[str, Any] = {"colors": look.colour, "linestyles": [look.dashes], "alpha": look.opacity}
            axes.add_collection(LineCollection(lines, linewidths=0.9, label=look.label, **style))
    axes.plot(line_of[results.winner.index], rows, "D-", color=INK, linewidth=2, markersize=4, label="the winner")
    for row, scale in enumerate(scales):
        axes.axhline(row, color=MUTED, linewidth=0.8, zorder=0)
        axes.annotate(f"{scale.low} – {scale.high}", (1.05, row), va="center", color=MUTED, annotation_clip=False)
    axes.set_yticks(rows, list(columns))
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set(xlim=(-0.03, 1.03), ylim=(len(columns) - 0.4, -0.3), xticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(visible=False)
    legend(figure, axes)
    caption = (
        "Each line is a configuration, from its hyperparameters at the top to its geometric mean of games to optimal at the "
        "bottom. Left is less. Whole lines were solved on every seed, dashed ones were not, dotted ones were dropped early and "
        "end at the least they would have come to. The thick one won."
        f"{sampled(results)}"
    )
    return finish(figure, "parallel-coordinates", "All configurations at once", caption)


class _Scale(NamedTuple):
    """A column on an axis from 0 to 1."""

    places: list[float]
    low: str
    """What stands at 0."""
    high: str


def _scale(column: Sequence[Value]) -> _Scale:
    """The scale of a column: of numbers logarithmic where that shows more, else by level."""
    as_numbers = numbers(column)
    if as_numbers is None:
        ordered = levels(column)
        last = max(len(ordered) - 1, 1)
        return _Scale([ordered.index(value) / last for value in column], str(ordered[0]), str(ordered[-1]))
    low, high = min(as_numbers), max(as_numbers)
    scale: Callable[[float], float] = math.log if spans_decades(as_numbers) or low > 1 else float
    width = scale(high) - scale(low) or 1.0
    places = [(scale(number) - scale(low)) / width for number in as_numbers]
    return _Scale(places, games(low) if low > 1 else short(low), short(high))
