"""Plots of all trials, each with its caption."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.experiment.objective import PENALTY, bounds
from tictactoe.experiment.results import Results
from tictactoe.reporting.report.data import drawn, kind, sampled, with_curves
from tictactoe.reporting.report.drawing import (
    LOOKS,
    MUTED,
    SOLVED,
    UNSOLVED,
    Plot,
    finish,
    games_axis,
    legend,
    new_figure,
    scatter,
    unlabelled,
)
from tictactoe.text import count, trial_name

DASHES = ("-", "--", ":", "-.")
"""Of the learning curves that have a label: the winner's first."""


class Measure(NamedTuple):
    """What a learning curve shows."""

    name: str
    """Field of a `CurvePoint`."""
    title: str
    meaning: str


MEASURES = (
    Measure(
        "exploitability",
        "Exploitability",
        "At 0 nobody can do better against the policy than the game's value. At 2 it can be beaten from both seats.",
    ),
    Measure(
        "loss_vs_random",
        "Loss against random",
        "This is the exact probability of losing to random moves, the mean of both seats.",
    ),
)


def games_to_optimal(results: Results) -> Plot:
    """Every trial's games to optimal, best first."""
    figure, axes = new_figure(240)
    budget = results.budget
    grid = check_grid(Board.parse(results.summary.board), budget)
    shown = {record.index for record in drawn(results)}
    ranked = [(place, record) for place, record in enumerate(results.ranked, 1) if record.index in shown]
    spans, colours, most = [], [], 2 * budget
    for place, record in ranked:
        replicates = bounds(record.games_to_optimal, record.games, grid)
        low, high = np.quantile(replicates, (0.1, 0.9), method="inverted_cdf")
        spans.append([(place, low), (place, high)])
        most = max(most, high)
        colours.append(LOOKS[kind(results, record)].colour)
    axes.add_collection(LineCollection(spans, colors=colours, linewidths=1.2, alpha=0.55))
    means = [record.geometric_mean for _, record in ranked]
    kinds = [kind(results, record) for _, record in ranked]
    scatter(axes, kinds, [place for place, _ in ranked], means, 3.5)
    axes.axhline(budget, color=MUTED, linewidth=0.8, linestyle="--")
    axes.annotate("budget", (1, budget), (0, 2), textcoords="offset points", color=MUTED, fontsize=9)
    games_axis(axes, "y")
    axes.set(xlabel="trials, best first", ylabel="games to optimal", ylim=(None, 1.5 * most))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _mark_rounds(axes, results)
    legend(figure, axes)
    kinds = [kind(results, record) for record in results.records]
    rounds = len(results.summary.rounds) > 1
    caption = (
        "Each mark is a trial's geometric mean over its seeds. Each line goes from their 10 % to their 90 % quantile. "
        f"The dashed line is the budget of {count(budget, 'game')}; a seed that never got there counts as {PENALTY} budgets. "
        f"{kinds.count('solved')} of {count(len(kinds), 'trial')} solved every seed, {kinds.count('unsolved')} did not, and "
        f"{kinds.count('stopped')} were dropped early{': they stand by their rounds' * rounds}.{sampled(results)}"
    )
    return finish(figure, "games-to-optimal", "Games to optimal of every trial", caption)


def _mark_rounds(axes: Axes, results: Results) -> None:
    """Where trials were dropped in rounds: a logarithmic axis of places, as few go on, and where those of each round begin."""
    last = len(results.summary.rounds) - 1
    if last == 0:
        return
    axes.set(xscale="log", xlim=(0.8, 1.1 * len(results.records)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    unlabelled(axes.xaxis)
    ends = [sum(record.round >= number for record in results.records) for number in range(last, -1, -1)]
    for number, (before, end) in zip(range(last, -1, -1), pairwise([0, *ends]), strict=True):
        if before:
            axes.axvline(before + 0.5, color=MUTED, linewidth=0.8, linestyle=":")
        middle = math.sqrt(max(before + 0.5, 0.8) * end)
        axes.annotate(
            f"round {number + 1}",
            (middle, 0.99),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            color=MUTED,
            fontsize=9,
        )


def learning_curve(results: Results, measure: Measure) -> Plot:
    """A measure over games of self-play: the winner with its band, others beside it."""
    figure, axes = new_figure(220)
    curves = [record.history for record in drawn(results) if record.history]
    pale = [[(point.games, getattr(point, measure.name)[1]) for point in curve] for curve in curves]
    axes.add_collection(LineCollection(pale, colors=MUTED, linewidths=0.7, alpha=0.35, zorder=1))
    for place, record in enumerate(with_curves(results, len(DASHES))):
        played = [point.games for point in record.history]
        low, median, high = np.array([getattr(point, measure.name) for point in record.history]).T
        won = record is results.winner
        colour, width, suffix = (SOLVED, 2.0, ", the winner") if won else (UNSOLVED, 1.2, "")
        if won:
            axes.fill_between(played, low, high, color=colour, alpha=0.3, linewidth=0)
        label = trial_name(record.index) + suffix
        axes.plot(played, median, DASHES[place], color=colour, linewidth=width, label=label, zorder=9 - place)
    games_axis(axes, "x")
    axes.set(xlabel="games of self-play", ylabel=measure.title.lower(), ylim=(0, None))
    legend(figure, axes)
    caption = (
        "Lines are medians over seeds. The winner's has a band from the 10 % to the 90 % quantile. Pale lines are all trials "
        "that a curve was kept of, in a race those of the last round. "
        f"{measure.meaning}{sampled(results)}"
    )
    return finish(figure, measure.name.replace("_", "-"), measure.title, caption)
