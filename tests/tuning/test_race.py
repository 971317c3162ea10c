"""What a race hands out: a function of results, whatever order they come in, however many run at a time, killed or not."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.search import Searcher

from tests.support import records as made
from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment import space
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import CurvePoint, Failure, Record
from tictactoe.experiment.rounds import Round, entrants, standing
from tictactoe.tuning import race
from tictactoe.tuning.algorithms import Study
from tictactoe.tuning.race import BATCHES, Configurations, Drawn, RaceSearch, Suggested
from tictactoe.tuning.trial import Batch

ROUNDS = (Round(30, 2, 100), Round(11, 4, 1_000), Round(4, 8, 50_000))
SLOTS = (1, 2, 3, 16)
CONFIGURATIONS = space.sample(500, 5)
Source = Callable[[], Configurations]


def drawn() -> Drawn:
    return Drawn(lambda: iter(CONFIGURATIONS))


def suggested() -> Suggested:
    return Suggested(Study(5, "3x3x3"))


@dataclass(frozen=True)
class Truth:
    """What each trial comes to in each round: there are ties and failures."""

    seed: int
    failing: float = 0.15

    def of(self, index: int, number: int, config: Hyperparameters) -> Record | Failure:
        chance = Random(f"{self.seed} {index} {number}")
        if chance.random() < self.failing:
            return made.failure(index, config=config, round=number)
        scores: dict[str, Any] = {"mean_log": 6 + chance.randrange(8) / 4, "loss_vs_random": chance.randrange(3) / 8}
        return made.record(index, config=config, round=number, stopped=number < len(ROUNDS) - 1, **scores)


@dataclass
class Words(Observer):
    """What is said of rounds."""

    said: list[tuple[Any, ...]] = field(default_factory=list)

    def round_started(self, number: int, round: Round, of: int) -> None:
        self.said.append(("started", number, round, of))

    def round_finished(self, number: int, records: Sequence[Record]) -> None:
        self.said.append(("finished", number, [(record.index, record.mean_log) for record in records]))


@dataclass
class Race:
    """A search's race, and Ray Tune's part of it: batches run at a time, and end or are lost in any order."""

    source: Source
    truth: Truth
    chance: Random
    rounds: Sequence[Round] = ROUNDS
    losses: float = 0.0
    records: list[Record] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    handed: list[Batch] = field(default_factory=list)
    words: Words = field(default_factory=Words)

    @property
    def ended(self) -> list[Record | Failure]:
        return [*self.records, *self.failures]

    def run(self, slots: int, ends: float = float("inf")) -> bool:
        """Run what is missing, or so many ends of trials of it; whether the race is over."""
        self.handed, self.words = [], Words()
        search = RaceSearch(self.rounds, self.source(), self.records, self.failures, lambda: slots, [self.words])
        running: dict[str, list[tuple[int, Hyperparameters]]] = {}
        numbers: dict[str, int] = {}
        before = len(self.ended)
        while len(self.ended) - before < ends:
            if len(running) < slots and (not running or self.chance.random() < 0.7):
                name = f"batch {len(self.handed)}"
                following = search.suggest(name)
                if following == Searcher.FINISHED:
                    assert not running
                    return True
                if following is not None:
                    self.take(following["batch"])
                    running[name], numbers[name] = list(following["batch"].trials), following["batch"].number
                    continue
                assert running  # else it would wait for ever
            name = self.chance.choice([*running])
            if self.chance.random() < self.losses:
                del running[name]
                search.on_trial_complete(name, error=True)
                continue
            index, config = running[name].pop(0)
            end = self.truth.of(index, numbers[name], config)
            if isinstance(end, Record):
                self.records.append(end)
                search.trial_finished(end)
            else:
                self.failures.append(end)
                search.trial_failed(end)
            lost = isinstance(end, Failure) and self.chance.random() < 0.5  # with its process
            if lost or not running[name]:
                del running[name]
                search.on_trial_complete(name, error=lost)
        return False

    def take(self, batch: Batch) -> None:
        """A batch as it is handed out: after the barrier."""
        self.handed.append(batch)
        now = standing(self.rounds, self.records, self.failures)
        assert batch.number == now.number
        assert {index for index, _ in batch.trials} <= set(now.missing)
        round = self.rounds[batch.number]
        assert (batch.seeds, batch.games) == (round.seeds, round.games)

    def configurations(self) -> dict[tuple[int, int], Hyperparameters]:
        """What has been run, by index and round: each once."""
        assert max(Counter((end.index, end.round) for end in self.ended).values()) == 1
        return {(end.index, end.round): end.config for end in self.ended}


def by_definition(truth: Truth, rounds: Sequence[Round] = ROUNDS) -> dict[tuple[int, int], Hyperparameters]:
    """What a race of drawn configurations runs, by its definition: one round after another."""
    run, before = dict[tuple[int, int], Hyperparameters](), list[Record]()
    for number in range(len(rounds)):
        indices = entrants(rounds, number, before)
        run |= {(index, number): CONFIGURATIONS[index] for index in indices}
        ends = [truth.of(index, number, CONFIGURATIONS[index]) for index in indices]
        before = [end for end in ends if isinstance(end, Record)]
    return run


def all_words(race: Race) -> list[tuple[Any, ...]]:
    """What is said of a whole race: each round's start and end once, in order."""
    words: list[tuple[Any, ...]] = []
    for number, round in enumerate(race.rounds):
        best = sorted((record for record in race.records if record.round == number), key=lambda record: record.rank)
        words.append(("started", number, round, len(race.rounds)))
        words.append(("finished", number, [(record.index, record.mean_log) for record in best]))
    return words


@settings(max_examples=30)
@given(seed=st.integers(0, 10**9), slots=st.sampled_from(SLOTS), losses=st.sampled_from([0.0, 0.1]))
def test_any_order_of_arrival_and_any_number_of_slots(seed: int, slots: int, losses: float) -> None:
    one = Race(drawn, Truth(seed), Random(seed), losses=losses)
    assert one.run(slots)
    assert one.configurations() == by_definition(one.truth)
    assert one.words.said == all_words(one)
    assert [batch.number for batch in one.handed] == sorted(batch.number for batch in one.handed)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**9),
    parts=st.lists(st.tuples(st.sampled_from(SLOTS), st.integers(0, 25)), max_size=6),
    losses=st.sampled_from([0.0, 0.1]),
)
def test_resumed_at_any_points(seed: int, parts: list[tuple[int, int]], losses: float) -> None:
    one = Race(drawn, Truth(seed), Random(seed), losses=losses)
    for slots, ends in parts:
        one.run(slots, ends)
        assert one.words.said == all_words(one)[: len(one.words.said)] or one.words.said[-1][0] == "started"
    assert one.run(2)
    assert one.configurations() == by_definition(one.truth)
    assert one.words.said == all_words(one)
    assert one.run(3)
    assert one.handed == []  # over is over


@pytest.mark.parametrize(("seed", "parts"), [(1, []), (2, [(3, 17)]), (3, [(16, 5), (1, 26)])])
def test_optunas_suggestions_are_the_same_too(seed: int, parts: list[tuple[int, int]]) -> None:
    """As those of one slot that is never interrupted."""
    in_order, one = (Race(suggested, Truth(seed), Random(seed + number)) for number in range(2))
    assert in_order.run(1)
    for slots, ends in parts:
        one.run(slots, ends)
    assert one.run(3)
    assert one.configurations() == in_order.configurations()
    assert one.words.said == in_order.words.said == all_words(one)


@dataclass(frozen=True)
class Better(Truth):
    """Some trials came to something else."""

    trials: range = range(0)

    def of(self, index: int, number: int, config: Hyperparameters) -> Record | Failure:
        end = super().of(index, number, config)
        return replace(end, mean_log=end.mean_log - 3) if isinstance(end, Record) and index in self.trials else end


def first_configurations(truth: Truth) -> list[Hyperparameters]:
    one = Race(suggested, truth, Random(0), rounds=(Round(24, 2, 100),))
    assert one.run(2)
    return [one.configurations()[index, 0] for index in range(24)]


def test_optuna_knows_the_generations_before_and_no_others() -> None:
    size, before = 24 // race.GENERATIONS, first_configurations(Truth(1, failing=0.0))
    for start in (12, 24 - 2 * size, 24 - size):  # Optuna draws at random until it knows 10
        after = first_configurations(Better(1, 0.0, range(start, start + size)))
        assert after[: start + size] == before[: start + size]
        assert start + size == 24 or after[start + size] != before[start + size]


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize(
    ("trials", "seeds", "games"), [(30, 2, 100), (9, 1, 100), (500, 2, 2_000), (30, 8, 60_000), (7, 9, 10**6)]
)
def test_batches(slots: int, trials: int, seeds: int, games: int) -> None:
    one = Race(drawn, Truth(0, failing=0.0), Random(0), rounds=(Round(trials, seeds, games),))
    assert one.run(slots)
    sizes = [len(batch.trials) for batch in one.handed]
    assert [index for batch in one.handed for index, _ in batch.trials] == list(range(trials))
    assert all(size == 1 or size * seeds * games <= race.BATCH_GAMES for size in sizes)
    assert len(sizes) >= min(slots * BATCHES, trials)


def test_what_few_trials_are_left_are_run_at_a_time_too() -> None:
    search = RaceSearch(
        ROUNDS, drawn(), [made.record(index, config=CONFIGURATIONS[index]) for index in range(27)], [], lambda: 2, []
    )
    batches = [search.suggest(f"{number}")["batch"] for number in range(3)]
    assert [[index for index, _ in batch.trials] for batch in batches] == [[27], [28], [29]]


def test_a_barrier_waits_for_the_last_result() -> None:
    search = RaceSearch(ROUNDS, drawn(), [], [], lambda: 16, [])
    batches = list[Batch]()
    while (following := search.suggest(f"{len(batches)}")) is not None:
        batches.append(following["batch"])
    trials = [trial for batch in batches for trial in batch.trials]
    assert [index for index, _ in trials] == list(range(30))
    for index, config in trials[:-1]:
        search.trial_finished(made.record(index, config=config))
    for number in range(len(batches) - 1):
        search.on_trial_complete(f"{number}")
        assert search.suggest("too early") is None
    search.trial_failed(made.failure(29, config=trials[-1][1]))
    search.on_trial_complete(f"{len(batches) - 1}", error=True)
    assert search.suggest("now")["batch"].number == 1


def test_a_lost_batch_is_handed_out_again_without_the_trial_that_failed() -> None:
    search = RaceSearch((Round(40, 1, 100), ROUNDS[2]), drawn(), [], [], lambda: 1, [])
    batch = search.suggest("0")["batch"]
    (first, second, *others) = batch.trials
    assert len(others) >= 2
    search.trial_finished(made.record(first[0], config=first[1]))
    search.trial_failed(made.failure(second[0], config=second[1]))
    search.on_trial_complete("0", error=True)
    later = list(_to_the_barrier(search))
    assert [trial for other in later for trial in other.trials][-len(others) :] == others
    assert second not in [trial for other in later for trial in other.trials]


def _to_the_barrier(search: RaceSearch) -> Iterator[Batch]:
    """All batches of the round at hand; each ends well at once."""
    number = 0
    while (batch := search.suggest(f"later {number}")["batch"]).number == 0:
        yield batch
        for index, config in batch.trials:
            search.trial_finished(made.record(index, config=config))
        search.on_trial_complete(f"later {number}")
        number += 1


@pytest.mark.parametrize("source", [drawn, suggested])
def test_a_round_that_nobody_survives_ends_the_race(source: Source) -> None:
    one = Race(source, Truth(0, failing=1.0), Random(0))
    assert one.run(2)
    assert {end.round for end in one.ended} == {0}
    assert len(one.failures) == ROUNDS[0].trials


def test_curves_are_not_kept() -> None:
    """Of a hundred thousand trials they would take all the memory."""
    search = RaceSearch(ROUNDS, drawn(), [], [], lambda: 1, [])
    nothing = (0.0, 0.0, 0.0)
    point = CurvePoint(100, 0, nothing, nothing, 0.0)
    search.trial_finished(made.record(0, history=(point,) * 1_000))
    (kept,) = search._ended[0].values()
    assert kept is not None and (kept.history, kept.games_to_optimal) == ((), ())
    assert len(pickle.dumps(search)) < 200  # Tune pickles searchers for a use that is none of ours


def test_drawn_configurations_are_those_of_the_space() -> None:
    source, expected = Drawn(partial(space.draws, 5)), CONFIGURATIONS[:9]
    (part,) = source.portions(9)
    assert list(part) == list(enumerate(expected))
    assert list(source.of([2, 7])) == [(2, expected[2]), (7, expected[7])]
    assert list(source.of([])) == []
    assert all(one != other for one, other in pairwise(expected))
