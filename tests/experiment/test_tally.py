"""What is counted of a search while it runs."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.support import one_process
from tests.support import records as made
from tictactoe.core.seeds import Stream
from tictactoe.experiment import journal as journals
from tictactoe.experiment import status as statuses
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Record
from tictactoe.experiment.rounds import rounds
from tictactoe.experiment.status import Status
from tictactoe.experiment.tally import Tally
from tictactoe.tuning import trial

RACE = {"num_samples": 240, "seeds": 3, "games": 1_000}
PLANNED = sum(one.trials for one in rounds(made.settings(**RACE)))


class Looks(Observer):
    """Asks a tally for the status after each trial."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.statuses: list[Status] = []

    def trial_finished(self, record: Record) -> None:
        self.statuses.append(self._tally.status())


class Clock:
    """Stands still unless it is set on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def watched(folder: Path, slots: int) -> tuple[Clock, Tally]:
    """A search of four trials that begins or goes on, with a node of so many slots."""
    clock = Clock()
    tally = Tally(made.settings(num_samples=4, seeds=2, games=made.BUDGET, scheduler="none"), folder, clock)
    tally.search_started(made.standing())
    tally.node_changed(made.node_event())
    tally.slots_changed(slots)
    return clock, tally


def busy(folder: Path, slots: int, seconds: float, learner_cpu_s: float, played: int = 9_000) -> tuple[Clock, Tally]:
    """Such a search after as many trials as it has slots have run for so long; the first of them has reported."""
    clock, tally = watched(folder, slots)
    for index in range(slots):
        tally.trial_started(index, made.config(index))
    clock.now += seconds
    tally.trial_reported(0, made.progress(played=played, learner_cpu_s=learner_cpu_s), False)
    return clock, tally


def looks(folder: Path, slots: int, chance: Random, ends: float = float("inf"), losses: float = 0.0) -> list[Status]:
    """A race that ends or is cut after so many trials, and its status after each of them."""
    settings = made.settings(**RACE, time_budget=1e-9 if ends < PLANNED else None)
    tally = Tally(settings, folder)
    seen = Looks(tally)
    outcome = one_process.run(settings, folder, slots, chance, ends, losses, [tally, seen])
    assert outcome is not None
    last = seen.statuses[-1]
    if outcome.truncated:  # trials that it has cut have played, too
        assert last.games["search"] >= outcome.cost.games
    else:
        assert last.games["search"] == outcome.cost.games
        assert last.learner_cpu_s["search"] == pytest.approx(outcome.cost.learner_cpu_s)
    assert last.trials.finished == sum(one.trials for one in outcome.rounds)
    assert last.attempt == outcome.cost.attempts
    return seen.statuses


def test_counts_add_up_and_never_fall_in_a_race_that_is_cut_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "REPORT_SECONDS", 0.0)
    seen: list[Status] = []
    for number, ends in enumerate((70, 150, float("inf"))):
        seen += looks(tmp_path, 3, Random(number), ends, losses=0.05)
    assert {one.attempt for one in seen} == {1, 2, 3}
    for one in seen:
        assert vars(one.trials).keys() == {"waiting", "running", "finished", "failed"}
        assert sum(vars(one.trials).values()) == PLANNED, one.trials
        assert one.trials.running <= one.slots == 3
        assert one.trial_s <= one.slot_s + 1e-6
        assert 0.0 <= one.learner_share <= 1.0
        assert one.best is not None and one.best.seeds >= one.best.solved
    for before, after in pairwise(seen):
        assert before.round <= after.round
        assert before.games["search"] <= after.games["search"]
        assert before.trials.finished <= after.trials.finished
        assert before.learner_cpu_s["search"] <= after.learner_cpu_s["search"] + 1e-9
    end = seen[-1]
    assert (end.trials.waiting, end.trials.running, end.trials.failed, end.round) == (0, 0, 0, end.rounds)
    assert sum(end.retries.values()) == end.retries["process"] > 0


def test_the_time_of_slots_and_what_of_it_was_learning(tmp_path: Path) -> None:
    clock, tally = watched(tmp_path, slots=2)
    clock.now += 50  # processes start: no slot's time
    assert tally.status().slot_s == 0
    tally.trial_started(0, made.config(0))
    clock.now += 3
    tally.trial_reported(0, made.progress(played=9_000, learner_cpu_s=6.5, earlier_cpu_s=4.0), False)
    running = tally.status()
    assert (running.slot_s, running.trial_s, running.learner_share) == (6, 3, 2.5 / 6)
    assert (running.games["search"], running.learner_cpu_s["search"]) == (9_000, 6.5)
    assert running.trials == statuses.Trials(waiting=3, running=1, finished=0, failed=0)
    tally.node_changed(made.node_event(1, node="10.0.0.2"))
    tally.slots_changed(4)
    clock.now += 1
    tally.trial_finished(made.record(0, started_s=0, ended_s=4, learner_cpu_s=7.0, earlier_cpu_s=4.0))
    tally.trial_failed(made.failure(1))
    ended = tally.status()
    assert (ended.slot_s, ended.trial_s, ended.learner_share) == (10, 4, 0.3)
    assert ended.trials == statuses.Trials(waiting=2, running=0, finished=1, failed=1)
    assert (ended.nodes, ended.nodes_lost, ended.slots) == (2, 0, 4)
    tally.node_changed(made.node_event(2, node="10.0.0.2", event="lost"))
    tally.enter("finalists")
    clock.now += 100  # no more of the search
    over = tally.status()
    assert (over.slot_s, over.trials.waiting, over.nodes, over.nodes_lost) == (10, 0, 1, 1)


def test_a_trial_that_is_run_again_makes_no_count_fall(tmp_path: Path) -> None:
    tally = Tally(made.settings(num_samples=1, seeds=2, games=made.BUDGET), tmp_path)
    tally.trial_started(0, made.config(0))
    tally.trial_reported(0, made.progress(played=15_000, learner_cpu_s=2.0), False)
    assert tally.status().games["search"] == 15_000
    tally.trial_retried(0, "node")
    tally.trial_started(0, made.config(0))
    tally.trial_reported(0, made.progress(played=5_000, learner_cpu_s=1.0), False)
    again = tally.status()
    assert (again.games["search"], again.learner_cpu_s["search"], again.retries) == (15_000, 2.0, {"node": 1})
    tally.trial_finished(made.record(0, learner_cpu_s=2.5))
    assert (tally.status().games["search"], tally.status().learner_cpu_s["search"]) == (20_000, 2.5)


def test_a_trial_whose_node_was_lost_waits(tmp_path: Path) -> None:
    clock, tally = busy(tmp_path, slots=1, seconds=10, learner_cpu_s=8.0)
    tally.slots_changed(0)
    tally.trial_retried(0, "node")
    clock.now += 600  # no node is there
    lost = tally.status()
    assert (lost.trial_s, lost.slot_s, lost.trials.running, lost.trials.waiting) == (10, 10, 0, 4)
    assert (lost.games["search"], lost.learner_cpu_s["search"], lost.learner_share) == (9_000, 8.0, 0.8)
    tally.slots_changed(1)
    tally.trial_started(0, made.config(0))
    clock.now += 5
    again = tally.status()
    assert (again.trial_s, again.slot_s, again.trials.running, again.trials.waiting) == (15, 15, 1, 3)
    tally.trial_finished(made.record(0, started_s=0, ended_s=5))
    assert tally.status().trial_s == 15


def test_trials_that_a_time_budget_cuts_run_no_more(tmp_path: Path) -> None:
    clock, tally = busy(tmp_path, slots=2, seconds=20, learner_cpu_s=16.0)
    tally.enter("finalists")
    clock.now += 600
    over = tally.status()
    assert (over.trial_s, over.slot_s, over.trials.running, over.learner_share) == (40, 40, 0, 0.4)
    assert (over.games["search"], over.learner_cpu_s["search"]) == (9_000, 16.0)


def test_a_failed_trial_has_ended_and_has_used_its_slot(tmp_path: Path) -> None:
    clock, tally = busy(tmp_path, slots=1, seconds=4, learner_cpu_s=4.0)
    first = tally.status().last_finished
    tally.trial_failed(made.failure(0))
    clock.now += 1
    failed = tally.status()
    assert (failed.trial_s, failed.slot_s) == (4, 5) and failed.last_finished > first
    tally.trial_started(1, made.config(1))
    tally.trial_reported(1, made.progress(played=1_000, learner_cpu_s=0.5), False)
    both = tally.status()
    assert (both.games["search"], both.learner_cpu_s["search"], both.learner_share) == (10_000, 4.5, 0.9)


def test_a_start_after_a_kill_goes_on_with_what_unfinished_trials_had_come_to(tmp_path: Path) -> None:
    """All of it is in the last status only: the journal knows of ended trials."""
    _, killed = busy(tmp_path, slots=2, seconds=3_000, learner_cpu_s=2_900.0, played=15_000)
    statuses.write(tmp_path, before := killed.status())
    clock, tally = watched(tmp_path, slots=2)
    assert tally.status().games == before.games and tally.status().learner_cpu_s == before.learner_cpu_s
    tally.trial_started(0, made.config(0))
    clock.now += 100
    tally.trial_reported(0, made.progress(played=16_000, learner_cpu_s=2_990.0, earlier_cpu_s=2_900.0), False)
    now = tally.status()
    assert (now.games["search"], now.learner_cpu_s["search"]) == (16_000, 2_990.0)
    assert (now.trial_s, now.slot_s, now.learner_share) == (6_100, 6_200, 0.45)


def test_what_earlier_starts_have_come_to_counts(tmp_path: Path) -> None:
    fresh = journals.replays(tmp_path)
    fresh.append(made.replay(0), made.replay(1, stream=Stream.CONFIRMATION, games_to_optimal=(1, 2, 3)))
    events = [made.node_event(), made.node_event(1, node="10.0.0.2"), made.node_event(2, node="10.0.0.2", event="lost")]
    journals.nodes(tmp_path).append(*events)
    tally = Tally(made.settings(num_samples=3, seeds=2, games=made.BUDGET, scheduler="none"), tmp_path)
    tally.search_started(made.standing([made.record(0), made.record(2, (None, 500))], [made.failure(1)]))
    status = tally.status()
    assert status.trials == statuses.Trials(waiting=0, running=0, finished=2, failed=1)
    assert status.games == {"search": 40_000, "fresh": 5 * made.BUDGET}
    assert status.learner_cpu_s == {"search": 4.0, "fresh": 1.0}
    assert (status.nodes, status.nodes_lost, status.attempt) == (0, 1, 1)  # those of this start are told yet
    assert status.slot_s == 2 * 2 and status.learner_share == 0.0
    assert status.best is not None and (status.best.index, status.best.solved) == (0, 2)


def test_a_finished_search_that_is_shown_again_has_the_slots_that_it_had(tmp_path: Path) -> None:
    _, tally = busy(tmp_path, slots=2, seconds=20, learner_cpu_s=16.0)
    tally.enter("held")
    statuses.write(tmp_path, last := tally.status())
    again = Tally(made.settings(num_samples=4, seeds=2, games=made.BUDGET, scheduler="none"), tmp_path)
    again.enter("results")
    again.search_started(made.standing())
    shown = again.status()
    assert (shown.slots, shown.nodes, shown.learner_share) == (last.slots, last.nodes, last.learner_share) == (2, 1, 0.4)


def test_the_moment_of_the_last_end(tmp_path: Path) -> None:
    began = time.time()
    tally = Tally(made.settings(num_samples=3), tmp_path)
    first = tally.status().last_finished
    tally.replicates_finished(made.replay())
    last = tally.status()
    assert began <= first < last.last_finished <= last.at


def test_what_is_written_is_read_again_and_nothing_else(tmp_path: Path) -> None:
    assert statuses.read(tmp_path) is None
    tally = Tally(made.settings(num_samples=3), tmp_path)
    tally.trial_finished(made.record(0))
    tally.trial_retried(1, "memory")
    status = tally.status()
    statuses.write(tmp_path, status)
    assert statuses.read(tmp_path) == status
    (tmp_path / statuses.FILE).write_text('{"name": "of another version"}')
    assert statuses.read(tmp_path) is None
