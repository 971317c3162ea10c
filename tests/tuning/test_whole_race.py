"""A whole race with real learners and Tune left out: cut, lost, failed and resumed, it comes to the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support import one_process
from tests.support import records as made
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.experiment import journal as journals
from tictactoe.experiment.record import Record, Task
from tictactoe.experiment.replicates import Replicates
from tictactoe.experiment.results import Outcome
from tictactoe.experiment.rounds import rounds
from tictactoe.experiment.selection import finalists
from tictactoe.tuning import trial

RACE = {"num_samples": 240, "seeds": 3, "games": 1_000}
WITH_OPTUNA = {"num_samples": 24, "seeds": 3, "games": 1_000, "search": "optuna"}


def break_trials(patch: pytest.MonkeyPatch, which: Callable[[Hyperparameters], bool]) -> None:
    """Have the trials of some configurations fail."""

    def make(task: Task, config: Hyperparameters) -> Replicates:
        if which(config):
            raise ValueError("broken")
        return Replicates(task, config)

    patch.setattr(trial, "Replicates", make)


def untimed(records: Sequence[Record]) -> list[Record]:
    times: dict[str, Any] = {"learner_cpu_s": 0.0, "earlier_cpu_s": 0.0, "started_s": 0.0, "ended_s": 0.0}
    return [replace(record, attempt=0, node="", worker=0, **times) for record in records]


def told(outcome: Outcome | None) -> tuple[Any, ...]:
    """What of a search its digest is made from."""
    assert outcome is not None and not outcome.truncated
    races = [record.index for record in finalists(outcome.records)]
    played = [(one.trials, one.seeds, one.games, one.played) for one in outcome.rounds]
    return untimed(outcome.records), outcome.failures, races, outcome.cost.games, played


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """What a race comes to that nothing disturbs."""
    return told(one_process.run(made.settings(**RACE), tmp_path_factory.mktemp("at_once")))


def test_a_race_of_real_learners(at_once: tuple[Any, ...]) -> None:
    records, failures, races, games, played = at_once
    all_rounds = rounds(made.settings(**RACE))
    assert len(all_rounds) == 3 and failures == []
    assert [one[:3] for one in played] == [(round.trials, round.seeds, round.games) for round in all_rounds]
    assert [one[3] for one in played] == [round.trials * round.seeds * round.games for round in all_rounds]
    assert games == sum(one[3] for one in played)
    assert [record.index for record in records] == list(range(240))
    assert set(races) < {record.index for record in records if record.round == 2}
    assert all(record.stopped == (record.round < 2) for record in records)


@pytest.mark.parametrize(("slots", "losses"), [(2, 0.0), (3, 0.02)])
def test_slots_and_lost_processes_change_nothing(
    tmp_path: Path, at_once: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, slots: int, losses: float
) -> None:
    monkeypatch.setattr(trial, "REPORT_SECONDS", 0.002)
    again = one_process.run(made.settings(**RACE), tmp_path, slots, Random(slots), losses=losses)
    assert told(again) == at_once


def test_a_time_budget_cuts_a_race_in_the_middle_of_a_round(
    tmp_path: Path, at_once: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is truncated, has finalists all the same, and goes on with more time to the same end."""
    monkeypatch.setattr(trial, "REPORT_SECONDS", 0.0)
    for number, (ends, reached) in enumerate(((70, 0), (200, 1), (40, 2))):
        cut = one_process.run(made.settings(**RACE, time_budget=1e-9), tmp_path, number + 1, Random(number), ends)
        assert cut is not None and cut.truncated and cut.failures == []
        assert len(cut.rounds) == 1 + reached == 1 + max(record.round for record in cut.records)
        assert cut.rounds[reached].trials < rounds(made.settings(**RACE))[reached].trials
        best = finalists(cut.records)
        assert len(best) == 8 and reached in {record.round for record in best}
        assert len({record.index for record in cut.records}) == len(cut.records) == cut.rounds[0].trials
    assert told(one_process.run(made.settings(**RACE), tmp_path, 2, Random(9))) == at_once


def test_a_race_with_optuna_goes_on_to_the_same_end(tmp_path: Path) -> None:
    for number, ends in enumerate((10, 18)):
        settings = made.settings(**WITH_OPTUNA, time_budget=1e-9)
        cut = one_process.run(settings, tmp_path / "cut", number + 1, Random(number), ends)
        assert cut is not None and cut.truncated and len(cut.rounds) == number + 1
    resumed = one_process.run(made.settings(**WITH_OPTUNA), tmp_path / "cut", 3, Random(3), losses=0.1)
    assert told(resumed) == told(one_process.run(made.settings(**WITH_OPTUNA), tmp_path / "whole"))


def test_what_was_to_be_run_again_and_was_not_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a search that is truncated then is no worse than before."""
    with monkeypatch.context() as patch:
        break_trials(patch, lambda config: config.bootstrap == "negamax")
        before = one_process.run(made.settings(**RACE), tmp_path)
    assert before is not None and not before.truncated and len(before.failures) > 20
    after = one_process.run(made.settings(**RACE, retry_failed=True, time_budget=1e-9), tmp_path, ends=0)
    assert after is not None and after.truncated
    assert (after.records, after.failures, after.rounds) == (before.records, before.failures, before.rounds)


def test_a_failed_trial_that_is_run_again_takes_the_place_that_is_its_own(
    tmp_path: Path, at_once: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others came to instead of it is taken out of the journal."""
    records, _, races, _, _ = at_once
    winner = next(record for record in records if record.index == races[0])
    with monkeypatch.context() as patch:
        break_trials(patch, lambda config: config == winner.config)
        without = one_process.run(made.settings(**RACE), tmp_path)
    assert without is not None
    (failure,) = without.failures
    assert (failure.index, failure.error, failure.round) == (winner.index, "ValueError: broken", 0)
    assert winner.index not in [record.index for record in finalists(without.records)]
    assert len(journals.trials(tmp_path).read()) == sum(round.trials for round in rounds(made.settings(**RACE)))
    again = one_process.run(made.settings(**RACE, retry_failed=True), tmp_path)
    assert told(again) == at_once
    counted = journals.trials(tmp_path).read()
    assert len(counted) == sum(round.trials for round in rounds(made.settings(**RACE)))
    assert all(isinstance(entry, Record) for entry in counted)
    assert told(one_process.run(made.settings(**RACE), tmp_path)) == at_once


def test_a_race_that_all_lose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_trials(monkeypatch, lambda config: True)
    with pytest.raises(RuntimeError, match=r"all 240 trials failed; .*ValueError: broken"):
        one_process.run(made.settings(**RACE), tmp_path)
