"""What the report shows and `Results` does not say: which trials are drawn, whose curves are shown, why trials failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tictactoe.experiment.record import Record
from tictactoe.experiment.results import Results
from tictactoe.experiment.summary import Unfinished
from tictactoe.text import count, is_number

Value = float | bool | str
"""Of a hyperparameter."""
LISTED_REASONS = 5
"""The report tells so many reasons why trials failed. summary.json has all of them."""
DRAWN = 1_000
"""Plots with a mark, a line or a bar for each trial have so many at most: a page of more is slow to make and to look at."""


@dataclass(frozen=True)
class Reason:
    """Why some trials failed."""

    error: str
    trials: list[int]
    """Their indices."""


def kind(results: Results, record: Record) -> str:
    """ "solved" or "unsolved" (not on every seed) of a trial that has run all that it was to, else "stopped".

    That is its whole budget, or the last round of the search.
    """
    last = len(results.summary.rounds) - 1
    return (replace(record, stopped=False) if last and record.round == last else record).kind


def drawn(results: Results) -> list[Record]:
    """The records that a plot of all trials shows, in index order: of many those at even steps of rank, and the finalists."""
    if len(results.records) <= DRAWN:
        return results.records
    certain = {results.winner.index, *(finalist.index for finalist in results.summary.selection.finalists)}
    places = np.linspace(0, len(results.records) - 1, DRAWN - len(certain)).round().astype(int)
    chosen = certain | {results.ranked[place].index for place in places}
    return [record for record in results.records if record.index in chosen]


def sampled(results: Results) -> str:
    """What a caption says where `drawn` leaves trials out; begins with a space, or is empty."""
    shown, all_of_them = len(drawn(results)), count(len(results.records), "trial")
    if shown == len(results.records):
        return ""
    return f" Of {all_of_them} {shown:,} are drawn, from the best to the worst in even steps. trials.csv has all."


def with_curves(results: Results, number: int) -> list[Record]:
    """The winner and the finalists after it, or the best trials where nobody raced.

    At most `number` records, and only those that have a learning curve.
    """
    by_index = {record.index: record for record in results.records}
    finalists = [finalist.index for finalist in results.summary.selection.finalists if finalist.index in by_index]
    order = finalists or [record.index for record in results.ranked]
    records = [results.winner, *(by_index[index] for index in order if index != results.winner.index)]
    return [record for record in records[:number] if record.history]


def reasons(summary: Unfinished) -> list[Reason]:
    """Why trials failed: each reason once, the most frequent ones first, `LISTED_REASONS` of them at most."""
    trials: dict[str, list[int]] = {}
    for index, error in sorted(summary.errors.items()):
        trials.setdefault(error, []).append(index)
    ordered = sorted(trials.items(), key=lambda item: -len(item[1]))
    return [Reason(error, indices) for error, indices in ordered[:LISTED_REASONS]]


def values(records: Sequence[Record], hyperparameter: str) -> list[Value]:
    """The value of a hyperparameter in each record."""
    return [getattr(record.config, hyperparameter) for record in records]


def numbers(of: Sequence[Value]) -> list[float] | None:
    """The values as numbers. None where one of them is no number."""
    return [float(value) for value in of] if all(map(is_number, of)) else None


def levels(of: Sequence[Value]) -> list[Value]:
    """The different values, in the order of their texts."""
    return sorted(set(of), key=str)


def spans_decades(of: Sequence[float]) -> bool:
    """Whether numbers belong on a logarithmic axis: they are positive and span two decades or more."""
    return min(of) > 0 and max(of) >= 100 * min(of)
