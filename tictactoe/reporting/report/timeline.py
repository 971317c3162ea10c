"""Who ran when: the worker processes of all nodes, what of their time was learning, and when nodes joined and were lost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection

from tictactoe.experiment.record import Record
from tictactoe.experiment.results import Results
from tictactoe.experiment.slots import Attempt, attempts, slot_limit, slot_seconds
from tictactoe.reporting.report import data
from tictactoe.reporting.report.drawing import GRID, INK, SOLVED, UNSOLVED, Plot, finish, new_figure
from tictactoe.text import count, percent, seconds

ROW, ROWS = 26, 400
"""Points of one row, and at most of all."""
STRIP = 11
"""Points above a node's rows for the words beside its ticks."""
NAMED = 24
"""With more rows or nodes than that they have no names, and ticks no words."""
WORD = 0.13
"""What a word takes of the width."""
LETTERS = 15
"""Of a node's address; the longest of IPv4."""


def timeline(results: Results) -> Plot:
    """Which worker ran which trial when, and what of it was learning. Workers are grouped by their nodes."""
    all_attempts = attempts(results.rounds, results.nodes)
    workers, changes = processes(all_attempts), changes_by_node(all_attempts)
    number = sum(max(1, len(own)) for own in workers.values())
    strip = STRIP * number / min(ROW * number, ROWS) if len(workers) <= NAMED else 0.0
    row_of, spans, bottom = dict[tuple[str, int], float](), dict[str, tuple[float, float]](), 0.0
    for node, own in workers.items():
        top = bottom + strip * (node in changes)
        row_of |= {(node, worker): top + place for place, worker in enumerate(own)}
        spans[node], bottom = (bottom, top + max(1, len(own))), top + max(1, len(own))
    figure, axes = new_figure(75 + min(ROW * number, ROWS) * bottom / number)
    together = math.ceil(len(results.rounds) / data.DRAWN)
    trials, learning = [], []
    for place, attempt in enumerate(all_attempts):
        if place:
            axes.axvline(attempt.start, color=INK, linewidth=0.8, linestyle="--")
        for process, records in neighbours(attempt, together):
            row, start = row_of[process], records[0].started_s + attempt.offset
            end, cpu = start + sum(record.seconds for record in records), sum(record.attempt_cpu_s for record in records)
            trials.append(_bar(start, end, row, 0.12))
            learning.append(_bar(end - cpu, end, row, 0.36))
    axes.add_collection(PolyCollection(trials, color=UNSOLVED, linewidth=0))
    axes.add_collection(PolyCollection(learning, color=SOLVED, linewidth=0))
    axes.autoscale_view()
    axes.grid(visible=False, axis="y")
    if len(workers) > 1:
        _name_nodes(axes, spans)
    else:
        names = {row: f"worker {place}" for place, row in enumerate(row_of.values(), 1)} if number <= NAMED else {}
        axes.set_yticks(list(names), list(names.values()))
    end = all_attempts[-1].start + all_attempts[-1].seconds
    for node, own_changes in changes.items():
        _mark(axes, own_changes, *spans[node], strip, end)
    axes.set(xlabel="seconds since the first trial began", ylim=(bottom - 0.4, -0.6))
    return finish(figure, "timeline", "Who ran when", _caption(results, together, len(workers), changes))


def processes(all_attempts: Sequence[Attempt]) -> dict[str, list[int]]:
    """The worker processes of each node; nodes and processes in the order in which they came."""
    found = dict[str, dict[int, None]]()
    for attempt in all_attempts:
        for event in attempt.events:
            if event.at_s + attempt.offset <= attempt.start + attempt.seconds:
                found.setdefault(event.node, {})
        for record in sorted(attempt.records, key=lambda record: record.started_s):
            found.setdefault(record.node, {})[record.worker] = None
    return {node: list(own) for node, own in found.items()}


def changes_by_node(all_attempts: Sequence[Attempt]) -> dict[str, list[tuple[float, str]]]:
    """When a node joined or was lost between the start of an attempt's first trial and the end of its last one, and which."""
    found = dict[str, list[tuple[float, str]]]()
    for attempt in all_attempts:
        for event in attempt.events:
            at = event.at_s + attempt.offset
            if attempt.start < at <= attempt.start + attempt.seconds:
                found.setdefault(event.node, []).append((at, event.event))
    return found


def neighbours(attempt: Attempt, size: int) -> Iterator[tuple[tuple[str, int], list[Record]]]:
    """The trials of each process in the order in which they ran, up to `size` of them together.

    Each with its process: the node's address and the id there.
    """
    by_process: dict[tuple[str, int], list[Record]] = {}
    for record in sorted(attempt.records, key=lambda record: record.started_s):
        by_process.setdefault((record.node, record.worker), []).append(record)
    for process, own in by_process.items():
        for first in range(0, len(own), size):
            yield process, own[first : first + size]


def _name_nodes(axes: Axes, spans: dict[str, tuple[float, float]]) -> None:
    """Names of nodes in the middle of their rows, and lines between two."""
    shown = spans if len(spans) <= NAMED else {}
    for top, _ in list(shown.values())[1:]:
        axes.axhline(top - 0.5, color=GRID, linewidth=0.8)
    names = [node if len(node) <= LETTERS else f"…{node[-LETTERS + 1 :]}" for node in shown]
    axes.set_yticks([(top + bottom - 1) / 2 for top, bottom in shown.values()], names, fontsize=8)
    axes.tick_params(axis="y", length=0)


def _mark(axes: Axes, changes: list[tuple[float, str]], top: float, bottom: float, strip: float, end: float) -> None:
    """A tick over a node's rows for each change, with a word where it has room beside the one before.

    What a node did lies between two words: so "joined" stands right of its tick and "lost" left, but at the plot's ends.
    """
    ticks = [[(at, top - 0.5), (at, bottom - 0.5)] for at, _ in changes]
    axes.add_collection(LineCollection(ticks, colors=INK, linewidths=1.2))
    free = -math.inf
    for at, word in changes:
        right = at <= (1 - WORD) * end if word == "joined" else at < WORD * end
        if strip and at - (0 if right else WORD * end) >= free:
            axes.annotate(
                word,
                (at, top - 0.5 + strip / 2),
                (2 if right else -2, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=8,
                color=INK,
            )
            free = at + (WORD * end if right else 0)


def _bar(start: float, end: float, row: float, half: float) -> list[tuple[float, float]]:
    """The corners of a bar in a row, with half its width."""
    return [(start, row - half), (start, row + half), (end, row + half), (end, row - half)]


def _caption(results: Results, together: int, nodes: int, changes: dict[str, list[tuple[float, str]]]) -> str:
    summary = results.summary
    spent, cost = slot_seconds(results.rounds, results.nodes, slot_limit(summary.settings)), summary.cost
    caption = (
        f"Thick bars are learning, drawn at the end of their trial: {percent(spent.share(spent.learning))} of the slots' time. "
        f"Thin bars are the rest of a trial: {percent(spent.share(spent.trial))}. "
        f"Gaps are slots between two trials, or with one that did not end there: {percent(spent.share(spent.between))}. "
        f"Before the first trial {seconds(cost.startup_s)} went by, mostly Ray's start, of the {seconds(cost.wall_s)} "
        f"that {cost.last_attempt or 'the whole search'} took."
    )
    if nodes > 1:
        caption += f" Rows are the worker processes of {nodes} nodes."
    if changes:
        words = [word for own in changes.values() for _, word in own]
        caption += (
            f" Upright ticks are nodes that joined after the first trial had begun ({words.count('joined')}) or were lost "
            f"({words.count('lost')})."
        )
    if together > 1:
        caption += f" A bar stands for up to {count(together, 'trial')} of a worker, one after another."
    return caption
