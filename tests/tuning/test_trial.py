"""Batches of trials as Ray Tune runs them, with Ray left out: real learners, one process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tictactoe.core.evaluation import check_grid, curve_grid
from tictactoe.core.game import Board
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.experiment import replicates
from tictactoe.experiment.record import Progress, Task
from tictactoe.experiment.replicates import Replicates, rungs
from tictactoe.experiment.rounds import Round
from tictactoe.experiment.space import sample
from tictactoe.tuning import block
from tictactoe.tuning import trial as trials
from tictactoe.tuning.trial import AGAIN, Batch, Execution, QLearningTrial, Report, state_file

GRID = check_grid(Board(), 2_000)
WHOLE, EARLY = Round(9, 3, 2_000), Round(9, 2, GRID[-4])
CONFIGS = list(enumerate(sample(4, 0)))


def start(
    round: Round = EARLY, configs: Sequence[tuple[int, Hyperparameters]] = CONFIGS, again: bool = False, **execution: Any
) -> QLearningTrial:
    """A batch in a new process, the first one for it or not."""
    task, lost = asdict(Task("3x3x3", WHOLE.seeds, WHOLE.games, 0)), {AGAIN: True} if again else {}
    batch = {"batch": Batch.of(1, round, configs), "task": task, "execution": asdict(Execution(**execution))}
    return QLearningTrial(batch | lost)


def train(batch: QLearningTrial) -> dict[str, Any]:
    """The next result, as Tune gets it."""
    return dict(batch.train())  # type: ignore[no-untyped-call]


def finish(batch: QLearningTrial) -> list[list[Report]]:
    """The reports of each result until the batch is done."""
    results: list[dict[str, Any]] = []
    while not results or not results[-1]["done"]:
        results.append(train(batch))
    return [result["reports"] for result in results]


def ends(batch: QLearningTrial) -> dict[int, Progress | str]:
    """What each trial of a batch has come to; nothing timed."""
    final = [report for reports in finish(batch) for report in reports if report.final]
    assert [report.index for report in final] == [index for index, _ in batch.batch.trials]
    return {report.index: untimed(report.progress) if report.progress else str(report.error) for report in final}


def untimed(progress: Progress) -> Progress:
    return replace(progress, learner_cpu_s=0.0, earlier_cpu_s=0.0)


def apart(round: Round = EARLY, configs: Sequence[tuple[int, Hyperparameters]] = CONFIGS) -> dict[int, Progress | str]:
    """The same trials, each in a batch and process of its own."""
    return {index: end for one in configs for index, end in ends(start(round, [one])).items()}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports and saves after every few games."""
    monkeypatch.setattr(replicates, "CHUNK", 150)
    monkeypatch.setattr(trials, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(block, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(block, "CHECKPOINT_SHARE", math.inf)


@pytest.fixture
def troubled(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Have a trial do something once before it trains, by its index."""
    troubles: dict[Hyperparameters, Callable[[], None]] = {}

    class Troubled(Replicates):
        def advance(self, deadline: float, target: int) -> None:
            troubles.pop(self.hyperparameters, lambda: None)()
            super().advance(deadline, target)

    monkeypatch.setattr(trials, "Replicates", Troubled)
    return lambda index, trouble: troubles.update({CONFIGS[index][1]: trouble})


def fail() -> None:
    raise ValueError("broken")


@pytest.mark.parametrize("round", [EARLY, WHOLE], ids=["capped", "whole"])
def test_a_batch_is_its_trials_one_after_another(round: Round) -> None:
    task = Task("3x3x3", round.seeds, WHOLE.games, 0, cap=round.games if round is EARLY else None)
    by_hand: dict[int, Progress | str] = {}
    for index, config in CONFIGS:
        learners = Replicates(task, config)
        learners.advance(math.inf, round.games)
        by_hand[index] = untimed(learners.progress())
    assert ends(start(round)) == apart(round) == by_hand
    assert all(isinstance(end, Progress) and (end.games, end.share) == (round.games, 1.0) for end in by_hand.values())
    assert len({end.mean_log for end in by_hand.values() if isinstance(end, Progress)}) > 1


@pytest.mark.parametrize("seconds", [0.0, 0.002, 0.01])
def test_when_it_reports_changes_nothing(monkeypatch: pytest.MonkeyPatch, impatient: None, seconds: float) -> None:
    monkeypatch.setattr(trials, "REPORT_SECONDS", seconds)
    expected = apart()
    results = finish(start())
    assert ends(start()) == expected
    reports = [report for one in results for report in one]
    assert len(results) > len(CONFIGS) or seconds
    for one in results:
        assert all(report.final for report in one[:-1])  # of those that go on there is one at most
    assert [report.index for report in reports] == sorted(report.index for report in reports)
    for index, _ in CONFIGS:
        own = [report for report in reports if report.index == index]
        assert [report.final for report in own] == [False] * (len(own) - 1) + [True]
        assert len({report.began for report in own}) == 1
        played = [report.progress.played for report in own if report.progress]
        assert played == sorted(set(played)) and len(played) == len(own)


def test_times_are_one_after_another() -> None:
    batch = start()
    before = time.monotonic()
    result = train(batch)
    assert result["done"] and len(result["reports"]) == len(CONFIGS)
    times = [at for report in result["reports"] for at in (report.began, report.made)]
    assert times == sorted(times)
    assert times[1] > before and times[-1] <= result["now"] <= time.monotonic()
    last = result["reports"][-1].progress
    assert (result["games"], result["mean_log"], result["loss_vs_random"]) == (last.games, last.mean_log, last.loss_vs_random)


def test_a_process_takes_one_batch_after_another() -> None:
    batch = start(EARLY, CONFIGS[:2])
    expected = apart(WHOLE, CONFIGS[2:])
    finish(batch)
    assert batch.reset_config(start(WHOLE, CONFIGS[2:]).config)
    assert ends(batch) == expected


@pytest.mark.parametrize("index", range(4))
def test_a_trial_that_raises_fails_alone(troubled: Callable[..., None], index: int) -> None:
    expected = apart()
    troubled(index, fail)
    assert ends(start()) == expected | {index: "ValueError: broken"}


def test_a_trial_that_cannot_even_begin_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = apart()

    def make(task: Task, config: Hyperparameters) -> Replicates:
        if config == CONFIGS[1][1]:
            raise MemoryError("no room")
        return Replicates(task, config)

    monkeypatch.setattr(trials, "Replicates", make)
    assert ends(start()) == expected | {1: "MemoryError: no room"}


def test_each_trial_has_the_whole_timeout(
    tmp_path: Path, troubled: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, passed = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(passed))
    expected = apart()
    for index in range(4):
        troubled(index, lambda: passed.append(40.0))
    assert ends(start(state_dir=str(tmp_path), timeout=60.0)) == expected
    for index in range(4):
        troubled(index, lambda seconds=80.0 if index == 2 else 40.0: passed.append(seconds))
    late = finish(start(state_dir=str(tmp_path), timeout=60.0))
    errors = {report.index: (report.error, report.timeout) for reports in late for report in reports}
    assert errors.pop(2) == ("TimeoutError: took longer than --trial-timeout 60 s", 60.0)
    assert {*errors.values()} == {(None, None)}
    assert not [*tmp_path.glob("*.hung")]


def test_a_trial_that_hung_before_fails_alone(tmp_path: Path) -> None:
    """The watchdog has ended its process and left a word."""
    expected = apart()
    state_file(tmp_path, 1, 1).with_suffix(".hung").write_text("Timeout!")
    state_file(tmp_path, 2, 0).with_suffix(".hung").write_text("Timeout!")  # in another round
    state_file(tmp_path, 3, 1).with_suffix(".hung").touch()  # its process was lost while it ran, not hung
    late = "TimeoutError: took longer than --trial-timeout 60 s"
    assert ends(start(state_dir=str(tmp_path), timeout=60.0, again=True)) == expected | {1: late}


def test_a_mark_is_looked_for_only_where_a_process_was_lost(tmp_path: Path) -> None:
    """To ask the head's node for one takes longer than some trials."""
    state_file(tmp_path, 1, 1).with_suffix(".hung").write_text("Timeout!")
    assert ends(start(state_dir=str(tmp_path), timeout=60.0)) == apart()


def test_a_lost_process_goes_on_in_the_middle_of_a_batch(tmp_path: Path, impatient: None) -> None:
    expected, lost = apart(), start(state_dir=str(tmp_path), attempt="one")
    state = state_file(tmp_path, 1, 1)
    while not state.exists():
        train(lost)
    assert lost.index == 1 and not lost.ended
    other = start(state_dir=str(tmp_path), attempt="two", again=True)
    results = finish(other)
    final = {r.index: untimed(r.progress) for reports in results for r in reports if r.progress and r.final}
    assert final == expected
    notes = {report.index: report.note for reports in results for report in reports if report.note}
    assert 1 in notes  # and 0 where it was saved: its state is for the relay to remove
    assert notes[1].startswith("goes on after ")


def test_where_a_process_was_lost_each_end_is_told_before_the_next_trial_begins(tmp_path: Path) -> None:
    assert [len(reports) for reports in finish(start(state_dir=str(tmp_path)))] == [4]
    other = start(state_dir=str(tmp_path), again=True)
    for index, _ in CONFIGS:
        result = train(other)
        assert [(report.index, report.final) for report in result["reports"]] == [(index, True)]
        assert other.index == index
    other.reset_config(start().config)  # what comes next was not lost
    assert [len(reports) for reports in finish(other)] == [4]


def test_a_folder_that_is_gone_is_no_failure(tmp_path: Path, impatient: None) -> None:
    batch = start(state_dir=str(tmp_path / "gone"), timeout=60.0)
    assert ends(batch) == apart()


def test_a_scheduler_judges_at_the_rungs() -> None:
    (one,) = CONFIGS[:1]
    reached = [report.progress.games for (report,) in finish(start(WHOLE, [one], judged=True)) if report.progress]
    passed = [next(point for point in curve_grid(GRID) if point >= rung) for rung in rungs(WHOLE.games)]
    assert reached == [*passed, WHOLE.games]
    assert len(finish(start(WHOLE, [one]))) == 1


def test_names_of_batches() -> None:
    assert Batch.of(0, EARLY, CONFIGS).name == "round_1_trial_00000_and_3_more"
    assert Batch.of(2, EARLY, CONFIGS[3:]).name == "round_3_trial_00003"
    assert "Hyperparameters" not in repr(Batch.of(0, EARLY, CONFIGS))
