"""The plots of a report, each with its caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from tictactoe.reporting.report.data import Findings, Record, games, is_number, last_attempt, short, spans_decades, trial_name
from tictactoe.reporting.report.drawing import INK, MUTED, SOLVED, UNSOLVED, Plot, finish, new_figure

SCATTER: dict[str, dict[str, Any]] = {
    "solved": {"marker": "o", "color": SOLVED, "label": "solved on every seed"},
    "unsolved": {"marker": "x", "color": UNSOLVED, "label": "not on every seed"},
    "stopped": {"marker": "^", "color": MUTED, "markerfacecolor": "none", "label": "stopped early"},
}
DASHES = ("-", "--", ":", "-.")


def games_to_optimal(found: Findings) -> Plot:
    """Every trial's games to optimal, best first."""
    figure, axes = new_figure(230)
    never = 1.6 * found.budget
    medians, spans, colours = [], [], []
    for place, record in enumerate(found.ranked, 1):
        replicates = [never if value is None else value for value in record["games_to_optimal"]]
        low, high = np.quantile(replicates, (0.1, 0.9), method="inverted_cdf")
        medians.append(never if record["median"] is None else record["median"])
        spans.append([(place, low), (place, high)])
        colours.append(SCATTER[found.kind(record)]["color"])
    axes.add_collection(LineCollection(spans, colors=colours, linewidths=1.2, alpha=0.55))
    _scatter(axes, found, found.ranked, range(1, len(medians) + 1), medians, 3.5)
    axes.axhline(found.budget, color=MUTED, linewidth=0.8, linestyle="--")
    axes.annotate("budget", (1, found.budget), (0, 2), textcoords="offset points", color=MUTED, fontsize=9)
    _games_axis(axes.yaxis, axes.set_yscale)
    axes.set(xlabel="trials, best PAR-10 first", ylabel="games to optimal", ylim=(None, 1.25 * never))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    solved = sum(found.kind(record) == "solved" for record in found.records)
    caption = (
        f"Each mark is a trial's median over its seeds and each line spans their 10 % to 90 % quantiles; what lies above the "
        f"dashed budget of {found.budget:,} games never got there. "
        f"{solved} of {len(found.records)} trials were solved on every seed."
    )
    return finish(figure, "games-to-optimal", "Games to optimal of every trial", caption)


def finalists(found: Findings) -> Plot:
    """Median and interval of each finalist on fresh seeds."""
    rows = found.finalists
    figure, axes = new_figure(70 + 19 * len(rows))
    never = 1.6 * found.budget
    for place, row in enumerate(rows):
        low, high = (never if value is None else value for value in row["interval"])
        median = never if row["median"] is None else row["median"]
        colour = SOLVED if row["tied"] else UNSOLVED
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        label = "tied with the winner" if row["tied"] else "worse"
        axes.plot(median, place, "o" if row["tied"] else "x", color=colour, markersize=5, label=label, linestyle="")
    _games_axis(axes.xaxis, axes.set_xscale)
    axes.set_yticks(range(len(rows)), [trial_name(row["index"]) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("games to optimal on fresh seeds")
    _legend(axes)
    tied = sum(bool(row["tied"]) for row in rows)
    caption = (
        "Each mark is a finalist's median on seeds the search never saw and each line its interval; the winner is first. "
        f"All of them hold the true medians, {found.confidence} sure. "
        f"{tied} of {len(rows)}, the winner among them, cannot be told apart at 95 %."
    )
    return finish(figure, "finalists", "Finalists on fresh seeds", caption)


def hyperparameter(found: Findings, name: str) -> Plot:
    """One hyperparameter against PAR-10."""
    figure, axes = new_figure(195)
    values = [record["config"][name] for record in found.records]
    levels: list[Any] = [] if all(map(is_number, values)) else sorted(set(values), key=str)
    spread = np.random.default_rng(0).uniform(-0.18, 0.18, len(values))  # so that equal choices do not cover each other
    places = [levels.index(value) + shift if levels else value for value, shift in zip(values, spread, strict=True)]
    _scatter(axes, found, found.records, places, [record["par10"] for record in found.records], 4)
    at = places[found.records.index(found.winner)]
    axes.plot(at, found.winner["par10"], "D", markersize=8, markerfacecolor="none", color=INK, zorder=5)
    if levels:
        axes.set_xticks(range(len(levels)), [str(level) for level in levels])
        axes.set_xlim(-0.5, len(levels) - 0.5)
    elif spans_decades(values):
        axes.set_xscale("log")
    _games_axis(axes.yaxis, axes.set_yscale)
    title = name.replace("_", " ")
    axes.set(xlabel=title, ylabel="PAR-10")
    chosen = short(found.winner["config"][name])
    return finish(figure, f"hyperparameter-{name}", f"PAR-10 over {title}", f"The winner's {title} is {chosen}")


def importance(shares: dict[str, float]) -> Plot:
    """How much each hyperparameter decides about good trials."""
    figure, axes = new_figure(40 + 19 * len(shares))
    names = list(shares)
    axes.barh(range(len(names)), list(shares.values()), color=SOLVED, height=0.6)
    for place, share in enumerate(shares.values()):
        axes.annotate(f"{share:.0%}", (share, place), (3, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.15 * max(shares.values())), xticks=[])
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    caption = (
        "Shares by PED-ANOVA: how much knowing one hyperparameter alone says about being among the best trials. "
        f"Most of it is {names[0].replace('_', ' ')}."
    )
    return finish(figure, "importance", "Importance of the hyperparameters", caption)


def parallel_coordinates(found: Findings) -> Plot:
    """Every configuration as one line through all hyperparameters and the score."""
    names = [*found.searched, "PAR-10"]
    figure, axes = new_figure(30 + 34 * len(names))
    columns = [[r["par10"] if name == "PAR-10" else r["config"][name] for r in found.records] for name in names]
    scales = [_unit_scale(column) for column in columns]
    lines = np.array([[scale[0][value] for value in column] for column, scale in zip(columns, scales, strict=True)]).T
    rows = np.arange(len(names))
    for kind, dashes, alpha in (("stopped", ":", 0.5), ("unsolved", (0, (3, 2)), 0.8), ("solved", "-", 0.35)):
        chosen = [np.column_stack([line, rows]) for line, r in zip(lines, found.records, strict=True) if found.kind(r) == kind]
        if chosen:
            label = SCATTER[kind]["label"]
            colour = SCATTER[kind]["color"]
            axes.add_collection(
                LineCollection(chosen, colors=colour, linestyles=[dashes], linewidths=0.9, alpha=alpha, label=label)
            )
    axes.plot(lines[found.records.index(found.winner)], rows, "D-", color=INK, linewidth=2, markersize=4, label="the winner")
    for row, (_, low, high) in enumerate(scales):
        axes.axhline(row, color=MUTED, linewidth=0.8, zorder=0)
        axes.annotate(f"{low} – {high}", (1.05, row), va="center", color=MUTED, annotation_clip=False)
    axes.set_yticks(rows, [name.replace("_", " ") for name in names])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set(xlim=(-0.03, 1.03), ylim=(len(names) - 0.4, -0.3), xticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(visible=False)
    _legend(axes, columns=2)
    caption = (
        "Each line is a configuration, from its hyperparameters at the top to its score at the bottom, left is less: "
        "whole lines were solved on every seed, dashed ones were not, the thick one won."
    )
    return finish(figure, "parallel-coordinates", "All configurations at once", caption)


def learning_curve(found: Findings, measure: str, title: str, meaning: str) -> Plot:
    """A measure over games of self-play: the winner with its band, others beside it."""
    shown = found.with_curves(len(DASHES))
    figure, axes = new_figure(220)
    others = [[(h["games"], h[measure][1]) for h in record.get("history") or []] for record in found.records]
    axes.add_collection(LineCollection(others, colors=MUTED, linewidths=0.7, alpha=0.35, zorder=1))
    for place, record in enumerate(shown):
        played = [h["games"] for h in record["history"]]
        low, median, high = np.array([h[measure] for h in record["history"]]).T
        colour = SOLVED if record is found.winner else UNSOLVED
        if record is found.winner:
            axes.fill_between(played, low, high, color=colour, alpha=0.3, linewidth=0)
        name = trial_name(record["index"])
        label = f"{name}, the winner" if record is found.winner else name
        width = 2.0 if record is found.winner else 1.2
        axes.plot(played, median, DASHES[place], color=colour, linewidth=width, label=label, zorder=9 - place)
    _games_axis(axes.xaxis, axes.set_xscale)
    axes.set(xlabel="games of self-play", ylabel=title.lower(), ylim=(0, None))
    _legend(axes, columns=2)
    caption = f"Medians over seeds, the winner's with a band from the 10 % to the 90 % quantile; pale, all trials. {meaning}"
    return finish(figure, measure.replace("_", "-"), title, caption)


def timeline(found: Findings) -> Plot:
    """Which worker ran which trial when, and what of it was learning."""
    records = [record for _, attempt in found.attempts for record in attempt]
    workers = list(
        dict.fromkeys(record.get("worker") for record in sorted(records, key=lambda r: (_attempt(r), r["started_s"])))
    )
    figure, axes = new_figure(75 + min(26 * len(workers), 400))
    for number, (offset, attempt) in enumerate(found.attempts):
        if number:
            axes.axvline(min(r["started_s"] for r in attempt) + offset, color=INK, linewidth=0.8, linestyle="--")
        for row, worker in enumerate(workers):
            mine = [r for r in attempt if r.get("worker") == worker]
            spans = [(r["started_s"] + offset, r["ended_s"] - r["started_s"]) for r in mine]
            learning = [min(r["learner_cpu_s"], length) for r, (_, length) in zip(mine, spans, strict=True)]
            ends = [(s + length - cpu, cpu) for (s, length), cpu in zip(spans, learning, strict=True)]
            axes.broken_barh(spans, (row - 0.12, 0.24), color=UNSOLVED, linewidth=0)
            axes.broken_barh(ends, (row - 0.36, 0.72), color=SOLVED, linewidth=0)
    axes.set_yticks(range(len(workers)), [f"worker {place}" for place in range(1, len(workers) + 1)])
    if len(workers) > 24:
        axes.set_yticks([])
    axes.set(xlabel="seconds since the first trial began", ylim=(len(workers) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    spent = found.slot_seconds()
    shares = {name: seconds / max(sum(spent.values()), 1e-9) for name, seconds in spent.items()}
    cost = found.summary["cost"]
    caption = (
        f"Thick bars are learning (drawn at their trial's end), thin ones the rest of a trial, gaps a slot between two trials: "
        f"{shares['learning']:.0%}, {shares['trial']:.0%} and {shares['between']:.0%} of the slots' time. "
        f"Of the {cost['wall_s']:.1f} s of {last_attempt(cost) or 'the whole search'}, "
        f"{cost['startup_s']:.1f} s went by before the search began (Ray's start)."
    )
    return finish(figure, "timeline", "Who ran when", caption)


def _attempt(record: Record) -> int:
    return int(record.get("attempt", 1))


def _games_axis(axis: Any, set_scale: Any) -> None:
    """A logarithmic axis of games, labelled 300, 1k, 50k, with more labels the less it spans."""
    set_scale("log")
    low, high = axis.get_view_interval()
    if high < 4 * low:
        axis.set_major_locator(MaxNLocator(4))
    elif high < 50 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_formatter(NullFormatter())


def _scatter(axes: Axes, found: Findings, records: list[Record], x: Sequence[float], y: Sequence[float], size: float) -> None:
    """One mark a trial, of the shape and colour of its kind."""
    for kind, look in SCATTER.items():
        chosen = [place for place, record in enumerate(records) if found.kind(record) == kind]
        if chosen:
            axes.plot([x[i] for i in chosen], [y[i] for i in chosen], markersize=size, linestyle="", alpha=0.8, **look)


def _legend(axes: Axes, columns: int = 3) -> None:
    """A legend above the plot, one entry a label."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.figure.legend(once.values(), once.keys(), loc="outside upper left", ncols=columns, handlelength=2.4, columnspacing=1.2)


def _unit_scale(values: list[Any]) -> tuple[dict[Any, float], str, str]:
    """Where on 0..1 each value of a column lies, and what stands at both ends."""
    if not all(map(is_number, values)):
        levels = sorted(set(values), key=str)
        last = max(len(levels) - 1, 1)
        return {level: place / last for place, level in enumerate(levels)}, str(levels[0]), str(levels[-1])
    low, high = min(values), max(values)
    scale = math.log if spans_decades(values) or low > 1 else float
    width = scale(high) - scale(low) or 1.0
    places = {value: (scale(value) - scale(low)) / width for value in values}
    return places, games(low) if low > 1 else short(low), short(high)
