"""Selections among finalists whose truth is known, without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tests.support import records as made
from tests.support.samples import BUDGET, Law, games
from tictactoe.core.seeds import Stream
from tictactoe.experiment.record import GamesToOptimal, Record
from tictactoe.experiment.selection import CONFIRMATION, LOOKS, Selection, select

SEEDS = 48
MOST_SEEDS = max(*LOOKS.values(), CONFIRMATION)


class Draws:
    """Runs configurations by drawing from their laws: a `selection.Replays`. Index n of a record is that of its law."""

    def __init__(self, laws: Sequence[Law], seed: int, common: bool = False) -> None:
        self._laws = laws
        shape = (len(Stream), 1 if common else len(laws), MOST_SEEDS)
        self._uniform = np.broadcast_to(np.random.default_rng(seed).random(shape), (len(Stream), len(laws), MOST_SEEDS))

    def run(self, stream: Stream, records: Sequence[Record], first: int, last: int) -> list[GamesToOptimal]:
        return [self._games(stream, record.index, first, last) for record in records]

    def learner_cpu_s(self, stream: Stream) -> float:
        return 1.0 + stream

    def records(self) -> list[Record]:
        """What the search says of each."""
        return [
            made.record(index, self._games(Stream.SEARCH, index, 0, SEEDS), BUDGET, config=made.config(index))
            for index in range(len(self._laws))
        ]

    def _games(self, stream: Stream, index: int, first: int, last: int) -> GamesToOptimal:
        return games(self._laws[index].places(self._uniform[stream, index, first:last]))


def selections(laws: Sequence[Law], runs: int, common: bool = False) -> Iterator[Selection]:
    """Selections among the eight that a search finds best, once for each of so many searches."""
    settings = made.settings(seeds=SEEDS, games=BUDGET)
    for seed in range(runs):
        draws = Draws(laws, seed, common)
        records = draws.records()
        selection = select(settings, records, sum(record.played for record in records), draws, lambda _: None)
        assert selection is not None
        yield selection
