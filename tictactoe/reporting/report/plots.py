"""The plots of trials and finalists, each with its caption."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.ticker import MaxNLocator

from tictactoe.experiment.results import Results
from tictactoe.experiment.slots import attempts, slot_seconds
from tictactoe.reporting.report.data import (
    confidence,
    drawn,
    neighbours,
    sampled,
    trials_a_bar,
    with_curves,
)
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
    scatter,
)
from tictactoe.text import count, percent, seconds, trial_name

NEVER = 1.6
"""Where "never" stands on an axis of games, in budgets."""


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
    figure, axes = new_figure(230)
    budget, place_of = results.budget, _on_axis(results)
    shown = {record.index for record in drawn(results)}
    ranked = [(place, record) for place, record in enumerate(results.ranked, 1) if record.index in shown]
    medians, spans, colours = [], [], []
    for place, record in ranked:
        replicates = [place_of(number) for number in record.games_to_optimal]
        low, high = np.quantile(replicates, (0.1, 0.9), method="inverted_cdf")
        medians.append(place_of(record.median))
        spans.append([(place, low), (place, high)])
        colours.append(LOOKS[record.kind].colour)
    axes.add_collection(LineCollection(spans, colors=colours, linewidths=1.2, alpha=0.55))
    scatter(axes, [record for _, record in ranked], [place for place, _ in ranked], medians, 3.5)
    axes.axhline(budget, color=MUTED, linewidth=0.8, linestyle="--")
    axes.annotate("budget", (1, budget), (0, 2), textcoords="offset points", color=MUTED, fontsize=9)
    games_axis(axes, "y")
    axes.set(xlabel="trials, best PAR-10 first", ylabel="games to optimal", ylim=(None, 1.25 * NEVER * budget))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, axes)
    solved = sum(record.kind == "solved" for record in results.records)
    caption = (
        "Each mark is a trial's median over its seeds. Each line goes from their 10 % to their 90 % quantile. "
        f"What lies above the dashed line, the budget of {count(budget, 'game')}, never got there. "
        f"{solved} of {count(len(results.records), 'trial')} solved every seed.{sampled(results)}"
    )
    return finish(figure, "games-to-optimal", "Games to optimal of every trial", caption)


def finalists(results: Results) -> Plot:
    """Median and interval of each finalist on fresh seeds. There must be finalists."""
    rows, place_of = results.summary.selection.finalists, _on_axis(results)
    figure, axes = new_figure(70 + 19 * len(rows))
    for place, row in enumerate(rows):
        low, high = map(place_of, row.interval)
        colour, marker, label = (SOLVED, "o", "tied with the winner") if row.tied else (UNSOLVED, "x", "worse")
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(place_of(row.median), place, marker, color=colour, markersize=5, label=label, linestyle="")
    games_axis(axes, "x")
    axes.set_yticks(range(len(rows)), [trial_name(row.index) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("games to optimal on fresh seeds")
    legend(figure, axes)
    caption = (
        "Each mark is a finalist's median on seeds that the search never saw. Each line is its interval. The winner is first. "
        f"With a probability of {confidence(rows[0])}, all intervals hold the true medians. "
        f"{results.summary.selection.tied} of {len(rows)}, the winner among them, cannot be told apart at 95 %."
    )
    return finish(figure, "finalists", "Finalists on fresh seeds", caption)


def learning_curve(results: Results, measure: Measure) -> Plot:
    """A measure over games of self-play: the winner with its band, others beside it."""
    figure, axes = new_figure(220)
    pale = [[(point.games, getattr(point, measure.name)[1]) for point in record.history] for record in drawn(results)]
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
        "Lines are medians over seeds. The winner's has a band from the 10 % to the 90 % quantile. Pale lines are all trials. "
        f"{measure.meaning}{sampled(results)}"
    )
    return finish(figure, measure.name.replace("_", "-"), measure.title, caption)


def timeline(results: Results) -> Plot:
    """Which worker ran which trial when, and what of it was learning."""
    started = sorted(results.records, key=lambda record: (record.attempt, record.started_s))
    workers = list(dict.fromkeys(record.worker for record in started))
    row_of = {worker: row for row, worker in enumerate(workers)}
    figure, axes = new_figure(75 + min(26 * len(workers), 400))
    together = trials_a_bar(results)
    trials, learning = [], []
    for number, attempt in enumerate(attempts(results.records)):
        if number:
            axes.axvline(attempt.start, color=INK, linewidth=0.8, linestyle="--")
        for worker, own in neighbours(attempt, together):
            row, start = row_of[worker], own[0].started_s + attempt.offset
            end, cpu = start + sum(record.seconds for record in own), sum(record.attempt_cpu_s for record in own)
            trials.append(_bar(start, end, row, 0.12))
            learning.append(_bar(end - cpu, end, row, 0.36))
    axes.add_collection(PolyCollection(trials, color=UNSOLVED, linewidth=0))
    axes.add_collection(PolyCollection(learning, color=SOLVED, linewidth=0))
    axes.autoscale_view()
    axes.set_yticks(range(len(workers)), [f"worker {place}" for place in range(1, len(workers) + 1)])
    if len(workers) > 24:
        axes.set_yticks([])
    axes.set(xlabel="seconds since the first trial began", ylim=(len(workers) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    spent, cost = slot_seconds(results.records), results.summary.cost
    caption = (
        f"Thick bars are learning, drawn at the end of their trial: {percent(spent.share(spent.learning))} of the slots' time. "
        f"Thin bars are the rest of a trial: {percent(spent.share(spent.trial))}. "
        f"Gaps are slots between two trials: {percent(spent.share(spent.between))}. "
        f"Before the first trial {seconds(cost.startup_s)} went by, mostly Ray's start, of the {seconds(cost.wall_s)} "
        f"that {cost.last_attempt or 'the whole search'} took."
    )
    if together > 1:
        caption += f" A bar stands for up to {count(together, 'trial')} of a worker, one after another."
    return finish(figure, "timeline", "Who ran when", caption)


def _bar(start: float, end: float, row: int, half: float) -> list[tuple[float, float]]:
    """The corners of a bar in a row, with half its width."""
    return [(start, row - half), (start, row + half), (end, row + half), (end, row - half)]


def _on_axis(results: Results) -> Callable[[float | None], float]:
    """Where a number of games stands on an axis; None, "never", stands above the budget."""
    return lambda number: NEVER * results.budget if number is None else number
