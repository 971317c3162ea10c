"""Which trials a search runs and what it makes of them, with Tune left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import records as made
from tests.support.nodes import Listed
from tictactoe.experiment import journal as journals
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Failure, Record
from tictactoe.experiment.rounds import Standing
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning import search
from tictactoe.tuning.trial import state_file


class Started(Observer):
    """An observer that keeps what was there at the start."""

    def search_started(self, before: Standing) -> None:
        records, failures = before.latest
        self.finished = [record.index for record in records]
        self.failed = [failure.index for failure in failures]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Has each missing trial finish at once on one slot; the trials of each fit."""
    asked: list[list[int]] = []

    def fit(settings: Settings, folder: Path, attempt: int, start: float, before: Standing, *rest: Any) -> None:
        asked.append(before.missing)
        for index in before.missing:
            journals.trials(folder).append(
                made.record(index, attempt=attempt, started_s=2.0 * len(asked), ended_s=2.0 * len(asked) + 4)
            )

    monkeypatch.setattr(search, "_fit", fit)
    return asked


def run(folder: Path, observer: Started | None = None, interrupt: Interrupt | None = None, **options: Any) -> Any:
    settings = made.settings(**({"num_samples": 4, "seeds": 2, "games": 10_000} | options))
    observers: list[Any] = [observer or Started()]
    return search.run(settings, folder, interrupt or Interrupt(), observers, Listed(settings))


def put(folder: Path, *entries: Record | Failure) -> None:
    for entry in entries:
        journals.trials(folder).append(entry)


def test_a_new_search_runs_all(tmp_path: Path, fits: list[list[int]]) -> None:
    outcome = run(tmp_path)
    assert fits == [[0, 1, 2, 3]]
    assert [record.index for record in outcome.records] == [0, 1, 2, 3]
    assert (outcome.failures, outcome.truncated) == ([], False)
    assert {record.attempt for record in outcome.records} == {1} == {outcome.cost.attempts}


def test_only_what_is_missing_is_run(tmp_path: Path, fits: list[list[int]]) -> None:
    put(tmp_path, made.record(2), made.failure(0, attempt=2))
    observer = Started()
    outcome = run(tmp_path, observer)
    assert (observer.finished, observer.failed) == ([2], [0])
    assert fits == [[1, 3]]
    assert [record.attempt for record in outcome.records] == [3, 1, 3]
    assert outcome.failures == [made.failure(0, attempt=2)]
    assert (outcome.truncated, outcome.cost.attempts) == (False, 3)


def test_failed_trials_are_run_again_when_asked_for(tmp_path: Path, fits: list[list[int]]) -> None:
    put(tmp_path, *(made.record(index) for index in (1, 2, 3)), made.failure(0))
    assert len(run(tmp_path).failures) == 1
    assert fits == []
    observer = Started()
    outcome = run(tmp_path, observer, retry_failed=True)
    assert (observer.finished, observer.failed) == ([1, 2, 3], [])
    assert fits == [[0]]
    assert outcome.failures == []
    assert [record.index for record in outcome.records] == [0, 1, 2, 3]


def test_trials_that_took_too_long_are_run_again_with_more_time(tmp_path: Path, fits: list[list[int]]) -> None:
    put(tmp_path, made.record(0), made.record(1), made.failure(2, timeout=5.0), made.failure(3))
    assert len(run(tmp_path, trial_timeout=5.0).failures) == 2
    assert fits == []
    outcome = run(tmp_path, trial_timeout=9.0)
    assert fits == [[2]]
    assert [failure.index for failure in outcome.failures] == [3]
    assert not outcome.truncated


def test_failures_that_were_not_run_again_within_the_budget_are_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: list[list[int]]
) -> None:
    def fit(settings: Settings, folder: Path, attempt: int, start: float, before: Standing, *rest: Any) -> None:
        put(folder, made.failure(before.missing[0], attempt=attempt))

    monkeypatch.setattr(search, "_fit", fit)
    put(tmp_path, made.record(0), made.record(1), made.failure(2), made.failure(3))
    outcome = run(tmp_path, retry_failed=True, time_budget=1e-9)
    assert outcome.truncated
    assert [failure.index for failure in outcome.failures] == [2, 3]


def test_a_finished_search_is_not_run_but_added_up(tmp_path: Path, fits: list[list[int]]) -> None:
    times: list[dict[str, Any]] = [{"started_s": 1 + 2.5 * index, "ended_s": 3.5 + 2.5 * index} for index in range(4)]
    put(tmp_path, *(made.record(index, earlier_cpu_s=0.5, **times[index]) for index in range(4)))
    cost = run(tmp_path).cost
    assert fits == []
    assert (cost.learner_cpu_s, cost.games, cost.games_per_cpu_s) == (8.0, 80_000, 10_000.0)
    assert cost.learner_share == (8.0 - 2.0) / 10.0  # of the one slot that was used, in the one attempt
    assert cost.attempts == 2


def test_slots_count_by_the_nodes_and_an_attempt_that_ended_no_trial_by_them_too(tmp_path: Path, fits: list[list[int]]) -> None:
    put(tmp_path, *(made.record(index, started_s=1.0 + 2 * index, ended_s=3.0 + 2 * index) for index in range(4)))
    journals.nodes(tmp_path).append(made.node_event(0, slots=1), made.node_event(1, at_s=5.0, node="10.0.0.2", slots=2))
    cost = run(tmp_path).cost
    assert (cost.learner_share, cost.attempts) == (8.0 / (4 * 1 + 4 * 3), 2)
    assert run(tmp_path, max_concurrent=2).cost.learner_share == 8.0 / (4 * 1 + 4 * 2)
    assert [event.attempt for event in journals.nodes(tmp_path).read()] == [1, 1, 2, 3]  # each start says which nodes there are
    cost = run(tmp_path).cost
    assert (cost.learner_share, cost.attempts) == (8.0 / (4 * 1 + 4 * 3), 4)


def test_an_interrupted_search_has_no_outcome(tmp_path: Path, fits: list[list[int]]) -> None:
    interrupt = Interrupt()
    interrupt.event.set()
    assert run(tmp_path, interrupt=interrupt) is None
    assert fits == []


def test_a_search_that_ends_early_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: list[list[int]]) -> None:
    monkeypatch.setattr(search, "_fit", lambda *arguments: None)
    with pytest.raises(RuntimeError, match=r"no trial finished within --time-budget 1e-09; give it more seconds"):
        run(tmp_path, time_budget=1e-9)
    with pytest.raises(RuntimeError, match="ended with 4 trials still to run; run the same command again"):
        run(tmp_path)
    put(tmp_path, made.record(1))
    assert run(tmp_path, time_budget=1e-9).truncated
    with pytest.raises(RuntimeError, match="ended with 3 trials still to run"):
        run(tmp_path, time_budget=1e6)


def test_all_trials_failed(tmp_path: Path, fits: list[list[int]]) -> None:
    put(tmp_path, *(made.failure(index, error=f"ValueError: {index}") for index in range(4)))
    with pytest.raises(RuntimeError, match=r"all 4 trials failed; .*trial_00000\): ValueError: 0; .*--retry-failed"):
        run(tmp_path)
    assert fits == []
    assert len(run(tmp_path, retry_failed=True).records) == 4


def test_states_of_finished_trials_are_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "unfinished"
    now = Standing([], [], number=1, missing=[1, 2])
    search._clear(folder, now)
    for index, number in ((0, 1), (1, 1), (1, 0), (1, 2)):
        state_file(folder, index, number).touch()
    state_file(folder, 1, 1).with_suffix(".hung").touch()
    (folder / "ready").mkdir()
    (folder / "ready" / "process").touch()
    search._clear(folder, now)
    assert list(folder.iterdir()) == [state_file(folder, 1, 1)]


def test_the_time_budget_ends_the_search() -> None:
    assert search.TimeBudget(0.0).stop_all()
    budget = search.TimeBudget(100.0)
    assert not budget.stop_all()
    assert not budget("trial", {})
