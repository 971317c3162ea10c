"""The race of a search for Ray Tune: rounds of trials, in batches, with a barrier after each round.

What is run next depends on the results of the rounds before it and on nothing else: not on the order in which results came,
nor on how many trials ran at a time. So it is rebuilt from the journal when a search is resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from ray.tune.search import Searcher

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Failure, Record
from tictactoe.experiment.rounds import Round, entrants
from tictactoe.tuning.algorithms import Resumable, Study
from tictactoe.tuning.trial import Batch

BATCH_GAMES = 1_000_000
"""A batch plays about this many games at most: some tenths of a second on the default board."""
BATCHES = 4
"""Each slot gets at least so many batches between two barriers, so that all of them end at about the same time."""

GENERATIONS = 8
"""Optuna suggests the first round's configurations in so many parts."""

Trials = Sequence[tuple[int, Hyperparameters]]
"""Indices with their configurations."""


def generation(number: int) -> int:
    """The size of Optuna's generations, of so many configurations in all."""
    return -(-number // GENERATIONS)


class Configurations(Protocol):
    """Where the configurations of a race come from."""

    def portions(self, number: int) -> Iterator[Trials]:
        """The first `number` configurations, in parts. Each part may depend on what has been told of the ones before it."""

    def of(self, indices: Sequence[int]) -> Trials:
        """Configurations that have been handed out."""

    def tell(self, index: int, score: float | None) -> None:
        """What a configuration came to in the first round, None where it has failed; in index order within a part."""


class RaceSearch(Resumable, Observer):
    """Hands out the trials of a race, and hears of their ends.

    `records` and `failures` are of all rounds that have been run; `slots` says how many trials can run at a time; `observers`
    hear when a round begins and ends.
    """

    def __init__(
        self,
        rounds: Sequence[Round],
        configurations: Configurations,
        records: Sequence[Record],
        failures: Sequence[Failure],
        slots: Callable[[], int],
        observers: Sequence[Observer],
    ) -> None:
        super().__init__()
        self._rounds, self._configurations, self._slots, self._observers = rounds, configurations, slots, observers
        self._ended: list[dict[int, Record | None]] = [{} for _ in rounds]
        """By round: the trials that have ended, with None for those that have failed."""
        for record in records:
            self.trial_finished(record)
        for failure in failures:
            self.trial_failed(failure)
        self._parts = self._all_parts()
        self._number, self._part = 0, list[tuple[int, Hyperparameters]]()
        """The round at hand, and the trials between two barriers of it."""
        self._waiting: list[tuple[int, Hyperparameters]] = []
        self._size = 1
        """Trials of a batch of them at most."""
        self._live: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """The next batch; None while results are missing that decide about it, FINISHED when the race is over."""
        while not self._waiting:
            # What has not ended was lost with the process that ran others of its batch.
            self._waiting = [trial for trial in self._part if trial[0] not in self._ended[self._number]]
            self._size = max(1, len(self._waiting) // (BATCHES * max(1, self._slots())))
            if self._waiting and self._live:
                self._waiting = []
                return None
            if not self._waiting:
                following = next(self._parts, None)
                if following is None:
                    return Searcher.FINISHED
                self._number, self._part = following[0], list(following[1])
        round = self._rounds[self._number]
        size = min(self._size, max(1, BATCH_GAMES // (round.seeds * round.games)))
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        self._live.add(trial_id)
        return {"batch": Batch.of(self._number, round, batch)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A batch has ended; of its trials the observer's methods are told."""
        self._live.discard(trial_id)

    def trial_finished(self, record: Record) -> None:
        self._ended[record.round][record.index] = replace(record, history=(), games_to_optimal=())  # of hundred thousands

    def trial_failed(self, failure: Failure) -> None:
        self._ended[failure.round][failure.index] = None

    def _all_parts(self) -> Iterator[tuple[int, Trials]]:
        """What lies between two barriers, one after another: a round's number and trials. It is taken up when all has ended."""
        for number, round in enumerate(self._rounds):
            self._say(lambda observer: observer.round_started(number, round, len(self._rounds)))  # noqa: B023 - called at once
            if number == 0:
                for part in self._configurations.portions(round.trials):
                    yield number, part
                    for index, _ in part:
                        record = self._ended[number][index]
                        self._configurations.tell(index, record.mean_log if record else None)
            else:
                before = [record for record in self._ended[number - 1].values() if record]
                yield number, self._configurations.of(entrants(self._rounds, number, before))
            ended = sorted((record for record in self._ended[number].values() if record), key=lambda record: record.rank)
            self._say(lambda observer: observer.round_finished(number, ended))  # noqa: B023

    def _say(self, word: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            word(observer)


class Drawn:
    """Independent random configurations; none depends on any result."""

    def __init__(self, draws: Callable[[], Iterator[Hyperparameters]]) -> None:
        self._draws = draws

    def portions(self, number: int) -> Iterator[Trials]:
        """All at once."""
        yield list(enumerate(islice(self._draws(), number)))

    def of(self, indices: Sequence[int]) -> Trials:
        """Drawn again: to keep them all would take more memory than it takes time to draw them."""
        wanted = set(indices)
        return [
            (index, drawn) for index, drawn in enumerate(islice(self._draws(), max(wanted, default=-1) + 1)) if index in wanted
        ]

    def tell(self, index: int, score: float | None) -> None:
        """Nothing."""


class Suggested:
    """Configurations that Optuna suggests in generations, each of which knows what all before it came to in the first round.

    That is racing with a model (as in irace: Lopez-Ibanez et al., 2016, Operations Research Perspectives 3:43-58).
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._configs: dict[int, Hyperparameters] = {}

    def portions(self, number: int) -> Iterator[Trials]:
        """One generation after another."""
        for start in range(0, number, generation(number)):
            part = {index: self._study.ask(index) for index in range(start, min(start + generation(number), number))}
            self._configs |= part
            yield list(part.items())

    def of(self, indices: Sequence[int]) -> Trials:
        """As they were suggested."""
        return [(index, self._configs[index]) for index in indices]

    def tell(self, index: int, score: float | None) -> None:
        """Tell the study."""
        self._study.tell(self._configs[index], score)
