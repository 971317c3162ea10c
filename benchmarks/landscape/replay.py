"""One search on the table: its seeds, what it has played, and the records and replays that the product's code asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.landscape.table import TASK, Landscape
from tictactoe.core.seeds import Stream
from tictactoe.experiment import objective, selection
from tictactoe.experiment.record import GamesToOptimal, Record
from tictactoe.settings import Settings

MOST = 512
"""Seeds of each stream."""


class Replay:
    """One repetition of a way of searching.

    Its streams of seeds are drawn from the table's seeds with replacement: the table is the population. `order` are the rows of
    the table in random order, and `rows` those that have been tried, by trial's index.
    """

    def __init__(self, landscape: Landscape, repetition: int) -> None:
        self.landscape, self.repetition = landscape, repetition
        self.rng = np.random.default_rng(repetition)
        self.order: list[int] = self.rng.permutation(len(landscape.configurations)).tolist()
        self.seeds = {stream: self.rng.integers(landscape.optimal.shape[1], size=MOST) for stream in Stream}
        self.rows: list[int] = []
        self.games = 0
        """Played so far, the race included and the confirmation not: that one chooses nothing."""
        self._winner = -1

    def anew(self) -> Replay:
        """The same repetition from its beginning."""
        return Replay(self.landscape, self.repetition)

    def add(self, row: int) -> int:
        """Try one more configuration; its index."""
        self.rows.append(row)
        return len(self.rows) - 1

    def evaluate(self, index: int, seeds: int, games: int, number: int = 0) -> Record:
        """Play a trial's replicates up to so many games, a point of the grid, as round `number`; its record."""
        grid = self.landscape.grid
        point = grid.index(games)
        games_to_optimal = self.landscape.games_to_optimal(self.rows[index], self.seeds[Stream.SEARCH][:seeds], point)
        self.games += games * seeds
        values = objective.bounds(games_to_optimal, games, grid)
        return Record(
            mean_log=objective.mean_log(values),
            par10=objective.par10(values),
            median=None,
            solved=0,
            exploitability=0.0,
            loss_vs_random=0.0,
            games=games,
            learner_cpu_s=0.0,
            games_to_optimal=games_to_optimal,
            played=games * seeds,
            share=games / grid[-1],
            earlier_cpu_s=0.0,
            history=(),
            index=index,
            attempt=1,
            config=self.landscape.configurations[self.rows[index]],
            started_s=0.0,
            ended_s=0.0,
            node="",
            worker=0,
            stopped=games < grid[-1],
            round=number,
        )

    def race(self, settings: Settings, records: Sequence[Record]) -> int:
        """The row of the winner of the product's race of finalists."""
        ended = selection.select(settings, records, self.games, self, lambda line: None)
        assert ended is None, "it is interrupted at the confirmation"
        return self._winner

    def best(self, records: Sequence[Record]) -> int:
        """The row of the search's own best."""
        return self.rows[min(records, key=lambda record: record.rank).index]

    def run(self, stream: Stream, records: Sequence[Record], first: int, last: int) -> list[GamesToOptimal] | None:
        """What `selection.Replays` asks for; at the confirmation, which chooses nothing, the winner is known."""
        if stream is Stream.CONFIRMATION:
            self._winner = self.rows[records[0].index]
            return None
        seeds, point = self.seeds[stream][first:last], len(self.landscape.grid) - 1
        self.games += TASK.games * len(records) * len(seeds)
        return [self.landscape.games_to_optimal(self.rows[record.index], seeds, point) for record in records]

    def learner_cpu_s(self, stream: Stream) -> float:
        """None: nothing is learned."""
        return 0.0
