"""The plots of who was dropped when and why: all stages of the search, and the finalists."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import EngFormatter

from tictactoe.experiment.objective import geometric_mean
from tictactoe.experiment.results import Results
from tictactoe.reporting.report.data import drawn, sampled
from tictactoe.reporting.report.drawing import (
    INK,
    LOOKS,
    MUTED,
    SOLVED,
    UNSOLVED,
    Plot,
    finish,
    games_axis,
    legend,
    new_figure,
)
from tictactoe.reporting.stages import CONFIRMATION, Stage, stages
from tictactoe.text import count, trial_name

SPREAD = 0.27
"""Of marks about their stage, so that those of equal height do not cover each other."""
TIED, WORSE = ("o", SOLVED, "a finalist, tied"), ("X", UNSOLVED, "a finalist, worse")
"""Mark, colour and label."""


class _Path(NamedTuple):
    """A trial's way through the stages that it took part in."""

    trial: int
    stages: list[int]
    """Counted from 0."""
    means: list[float]
    """Geometric mean of games after each."""
    bound: bool
    """Whether the last of them is a lower bound."""


def stages_plot(results: Results) -> Plot:
    """The objective of every trial after each stage that it took part in."""
    summary, steps = results.summary, stages(results.summary)
    figure, axes = new_figure(330)
    winner, finalists = results.winner.index, {one.index: one for one in summary.selection.finalists}
    paths = _paths(results)
    shift = dict(zip(paths, np.random.default_rng(0).uniform(-SPREAD, SPREAD, len(paths)).tolist(), strict=True))
    ways, dropped = [], list[_Path]()
    for path in paths.values():
        if path.trial not in finalists and path.trial != winner:
            ways.append(np.column_stack([path.stages, path.means]))
            dropped.append(path)
    axes.add_collection(LineCollection(ways, colors=MUTED, linewidths=0.6, alpha=0.5, zorder=1))
    for bound in (True, False):
        ends = [path for path in dropped if path.bound == bound]
        if ends:
            style: dict[str, Any] = {"marker": "^" if bound else ".", "markersize": 3.5, "markeredgewidth": 0.7, "color": MUTED}
            style |= {"markerfacecolor": "none", "alpha": 0.75, "linestyle": "", "zorder": 2}
            label = LOOKS["stopped"].label if bound else "dropped"
            axes.plot(*zip(*(_end(path, shift[path.trial]) for path in ends), strict=True), label=label, **style)
    for index, one in finalists.items():
        if index != winner:
            path, (marker, colour, label) = paths[index], TIED if one.tied else WORSE
            axes.plot(path.stages, path.means, color=colour, linewidth=1.0, alpha=0.8, zorder=3)
            at = _end(path, shift[index] / 2)
            axes.plot(*at, marker=marker, color=colour, markersize=5, linestyle="", label=label, zorder=4)
    _draw_winner(axes, results, paths[winner], len(steps) - 1)
    games_axis(axes, "y")
    _label_stages(axes, steps)
    axes.set(xlim=(-0.5, len(steps) - 0.5), ylabel="geometric mean of games to optimal")
    legend(figure, axes)
    left = ", ".join(f"{stage.trials:,}" for stage in steps[1:])
    caption = (
        f"Of {count(steps[0].trials, 'trial')} the best went on, from stage to stage {left}. Each line is a trial, and ends "
        "where it was dropped. A triangle is a lower bound: its trial was not solved on all seeds when it was dropped. "
        "Looks of the race add fresh seeds, and judge by all seeds run. The thick line won. The bar at its end is where the "
        f"confirmation has its mean, 95 % sure.{sampled(results)}"
    )
    return finish(figure, "stages", "Who was dropped when", caption)


def _paths(results: Results) -> dict[int, _Path]:
    """The way of each trial that is drawn, by index; the winner's without its confirmation."""
    shown, rounds = {record.index for record in drawn(results)}, len(results.summary.rounds)
    paths: dict[int, _Path] = {}
    for record in results.rounds:
        if record.index in shown:
            before = paths.get(record.index, _Path(record.index, [], [], bound=False))
            at, means = [*before.stages, record.round], [*before.means, record.geometric_mean]
            paths[record.index] = _Path(record.index, at, means, record.is_bound)
    for one in results.summary.selection.finalists:
        before, looks = paths[one.index], one.means[1:]
        at = [*before.stages, *range(rounds, rounds + len(looks))]
        paths[one.index] = _Path(one.index, at, [*before.means, *map(geometric_mean, looks)], bound=False)
    return paths


def _end(path: _Path, shift: float) -> tuple[float, float]:
    """Where the mark of a trial's end stands."""
    return path.stages[-1] + shift, path.means[-1]


def _draw_winner(axes: Axes, results: Results, path: _Path, last: int) -> None:
    """The winner's way up to the last stage, its confirmation."""
    confirmed = results.summary.best.confirmed
    style: dict[str, Any] = {"color": INK, "zorder": 6}
    places, means = [*path.stages, last], [*path.means, geometric_mean(confirmed.mean_log)]
    axes.plot(places, means, "D-", markersize=3.5, linewidth=2.2, label="the winner", **style)
    low, high = map(geometric_mean, confirmed.mean_log_interval)
    axes.plot([last, last], [low, high], linewidth=6, alpha=0.35, solid_capstyle="butt", **style)


def _label_stages(axes: Axes, steps: list[Stage]) -> None:
    """Below the axis, for each stage: its name, and its trials, seeds and games."""
    short, names = EngFormatter(sep=""), {CONFIRMATION: "con-\nfirmed", "search": "\nsearch"}
    labels = [
        "\n".join(
            (
                names.get(step.name, step.name.replace(" ", "\n")),
                f"{step.trials:,}" if step.trials < 10_000 else short(step.trials),
                f"{step.seeds:,}",
                short(round(step.games, 2 - len(str(step.games)))),
            )
        )
        for step in steps
    ]
    axes.set_xticks(range(len(steps)), labels)
    axes.tick_params(axis="x", length=0, labelsize=9)
    axes.grid(visible=False, axis="x")
    axes.annotate(
        "\n\ntrials\nseeds\ngames", (0, 0), (-6, -3.5), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="top", fontsize=9, color=MUTED,
    )  # fmt: skip


def finalists(results: Results) -> Plot:
    """Each finalist on fresh seeds with its lower bound, beside the winner's interval. There must be finalists."""
    rows, best = results.summary.selection.finalists, results.summary.best
    figure, axes = new_figure(84 + 19 * len(rows))
    low, high = map(geometric_mean, best.confirmed.mean_log_interval)
    axes.axvspan(low, high, color=MUTED, alpha=0.25, linewidth=0, label="the winner, confirmed")
    for place, row in enumerate(rows):
        mark, colour, label = TIED if row.tied else WORSE
        if row.index == best.index:
            mark, colour, label = "D", INK, "the winner"
        least, mean = map(geometric_mean, (row.at_least, row.mean_log))
        axes.plot([least, mean], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(least, place, "|", color=colour, markersize=8)
        axes.plot(mean, place, mark, color=colour, markersize=5, label=label, linestyle="")
    games_axis(axes, "x")
    axes.set_yticks(range(len(rows)), [trial_name(row.index) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("geometric mean of games, on fresh seeds")
    legend(figure, axes)
    caption = (
        "Each mark is a finalist's geometric mean on seeds that the search never saw, and its line goes down to a bound that "
        "the mean over all seeds is above. The band is the winner's interval on the seeds of the confirmation. Whose bound "
        f"lies right of the band is worse than the winner. {results.summary.selection.tied} of {len(rows)}, the winner "
        "among them, cannot be told apart; the best of all finalists is among these, 95 % sure."
    )
    return finish(figure, "finalists", "Finalists on fresh seeds", caption)
