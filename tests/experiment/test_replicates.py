"""Replicates: the same whenever they are interrupted, saved and taken up again."""

from __future__ import annotations

import json
import math
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from tictactoe.core.evaluation import check, check_grid
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment.record import FORMAT, Task
from tictactoe.experiment.replicates import Replicates, median, rungs

TASK = Task("3x3x3", seeds=3, games=2_000, seed=5)
CONFIG = Hyperparameters(replay="backward", q_init=0.1, epsilon_start=0.1, epsilon_end=0.1)


def halfway(attempt: str = "first") -> Replicates:
    """Replicates that have not all come equally far."""
    replicates = Replicates(TASK, CONFIG)
    replicates.advance(math.inf, 700)
    replicates.advance(0.0, TASK.games)  # one chunk: a single replicate goes on to the next full check
    assert len({learner.games for learner in replicates.learners}) == 2
    assert 0 < replicates.points < len(replicates.grid)
    return replicates


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    halfway().save(tmp_path / "state.npz", "first")
    return tmp_path / "state.npz"


def bits(replicates: Replicates) -> list[bytes]:
    return [learner.table.tobytes() + learner.generator.tobytes() for learner in replicates.learners]


def timeless(replicates: Replicates) -> str:
    """All that is said of them but the seconds; as text, since nan is not nan."""
    return repr(replace(replicates.progress(), learner_cpu_s=0.0, earlier_cpu_s=0.0))


def test_saved_ones_go_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = halfway()
    whole.save(tmp_path / "state.npz", "first")
    again = Replicates(TASK, CONFIG)
    assert again.restore(tmp_path / "state.npz", "first") is None
    assert repr(again.progress()) == repr(whole.progress())
    assert bits(again) == bits(whole)
    for replicates in (whole, again):
        replicates.advance(math.inf, TASK.games)
        assert replicates.finished
    assert timeless(again) == timeless(whole)
    assert bits(again) == bits(whole)
    at_once = Replicates(TASK, CONFIG)
    at_once.advance(math.inf, TASK.games)
    assert timeless(at_once) == timeless(whole)
    assert bits(at_once) == bits(whole)
    assert whole.progress().share == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_even_before_the_first_check(tmp_path: Path) -> None:
    new = Replicates(TASK, CONFIG)
    new.save(tmp_path / "state.npz")
    again = Replicates(TASK, CONFIG)
    assert again.restore(tmp_path / "state.npz") is None
    assert repr(again.progress()) == repr(new.progress())
    assert again.progress().games == 0


def test_what_was_used_in_another_attempt_counts_as_earlier(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    first = halfway()
    assert first.earlier_cpu_s == 0.0 < first.learner_cpu_s
    first.save(path, "first")

    lost = Replicates(TASK, CONFIG)  # tried again in the same attempt, after its process was lost
    lost.restore(path, "first")
    assert (lost.learner_cpu_s, lost.earlier_cpu_s) == (first.learner_cpu_s, 0.0)

    second = Replicates(TASK, CONFIG)
    second.restore(path, "second")
    assert (second.learner_cpu_s, second.earlier_cpu_s) == (first.learner_cpu_s, first.learner_cpu_s)
    second.advance(math.inf, 1_000)
    second.save(path, "second")

    again = Replicates(TASK, CONFIG)
    again.restore(path, "second")
    assert (again.learner_cpu_s, again.earlier_cpu_s) == (second.learner_cpu_s, first.learner_cpu_s)
    third = Replicates(TASK, CONFIG)
    third.restore(path, "third")
    assert third.earlier_cpu_s == third.learner_cpu_s == second.learner_cpu_s > first.learner_cpu_s


def test_checks_are_full_where_the_curve_has_points_and_miss_nothing_elsewhere() -> None:
    replicates = Replicates(TASK, CONFIG)
    replicates.advance(math.inf, TASK.games)
    learners = [QLearner(Board(), CONFIG, sequence(TASK.seed, TASK.stream, r)) for r in range(TASK.seeds)]
    optimal_at, curve = [], []
    for point in replicates.grid:
        for learner in learners:
            learner.train(point - learner.games)
        checks = [check(learner) for learner in learners]
        optimal_at.append([found.optimal for found in checks])
        curve.append((point, sum(optimal_at[-1]), fmean(found.loss_vs_random for found in checks)))
    assert [(point.games, point.optimal, point.mean_loss) for point in replicates.history] == [*curve[:-1:5], curve[-1]]
    for r, games in enumerate(replicates.games_to_optimal):
        first = max((i + 1 for i, optimal in enumerate(optimal_at) if not optimal[r]), default=0)
        assert games == (replicates.grid[first] if first < len(replicates.grid) else None)
    assert replicates.progress().loss_vs_random == curve[-1][2]


def test_scores_of_a_cap_are_those_of_its_own_last_check() -> None:
    cap = check_grid(Board(), TASK.games)[7]  # no point of the whole task's curve
    replicates = Replicates(replace(TASK, cap=cap), CONFIG)
    replicates.advance(math.inf, cap)
    checks = [check(learner) for learner in replicates.learners]
    assert {learner.games for learner in replicates.learners} == {cap}
    assert replicates.progress().exploitability == fmean(found.exploitability for found in checks)
    assert [point.games for point in replicates.history] == [100, 161, cap]


def test_asha_judges_at_points_of_the_curve() -> None:
    replicates = Replicates(TASK, CONFIG)
    reached = []
    while not replicates.finished:
        replicates.advance(math.inf, replicates.next_rung)
        assert replicates.history[-1].games == replicates.games
        reached.append(replicates.games)
    assert reached == [next(point for point in replicates.full if point >= rung) for rung in (*rungs(2_000), 2_000)]
    assert len(set(reached)) == 3


@pytest.mark.parametrize("point", [0, 5, 10, -1])
def test_a_capped_task_is_the_beginning_of_the_whole_one(tmp_path: Path, point: int) -> None:
    whole = Replicates(TASK, CONFIG)
    cap = whole.grid[point]
    whole.advance(math.inf, cap)
    assert cap in whole.full  # at others the capped one is checked in full alone
    capped = Replicates(replace(TASK, cap=cap), CONFIG)
    capped.advance(0.0, TASK.games)  # one chunk
    assert not capped.finished
    capped.save(tmp_path / "state.npz", "first")
    again = Replicates(replace(TASK, cap=cap), CONFIG)
    assert again.restore(tmp_path / "state.npz", "first") is None
    for replicates in (capped, again):
        replicates.advance(math.inf, TASK.games)
        assert replicates.finished
        assert replicates.games == cap
        assert bits(replicates) == bits(whole)
        assert timeless(replicates) == timeless(whole).replace(f"share={cap / TASK.games}", "share=1.0")
    assert whole.finished == (cap == TASK.games)
    assert (capped.progress().share, whole.progress().share) == (1.0, cap / TASK.games)


def test_a_cap_between_two_checks_is_none() -> None:
    with pytest.raises(ValueError, match="101"):
        Replicates(replace(TASK, cap=101), CONFIG)


def test_scores_are_bounds_on_the_way_and_final_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One replicate may be further than the others."""
    monkeypatch.setattr("tictactoe.experiment.replicates.CHUNK", 100)
    replicates = Replicates(TASK, CONFIG)
    assert replicates.progress().geometric_mean == pytest.approx(100, rel=1e-4)  # the first check
    reached = []
    while not replicates.finished:
        replicates.advance(0.0, TASK.games)
        reached.append(replicates.progress())
    final, budget = reached[-1], TASK.games
    assert final.par10 == pytest.approx(sum(10 * budget if games is None else games for games in final.games_to_optimal) / 3)
    logs = [math.log(10 * budget if games is None else games) for games in final.games_to_optimal]
    assert final.mean_log == pytest.approx(sum(logs) / 3, abs=1e-4)
    assert len({progress.mean_log for progress in reached}) > 3
    for progress in reached:
        assert progress.mean_log <= final.mean_log
        assert progress.par10 <= final.par10
    solved = [progress.solved for progress in reached]
    assert solved != sorted(solved)  # some left optimal play again, which bounds must survive


def refused(path: Path, task: Task = TASK, config: Hyperparameters = CONFIG) -> str:
    """What is said of a state, none of which is taken."""
    replicates = Replicates(task, config)
    before = repr(replicates.progress()), bits(replicates)
    problem = replicates.restore(path, "first")
    assert problem is not None
    assert (repr(replicates.progress()), bits(replicates)) == before
    assert replicates.learner_cpu_s == replicates.earlier_cpu_s == 0.0
    return problem


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_a_cut_state_is_damaged(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    assert refused(saved).startswith("is damaged (")


def test_a_missing_state_is_damaged(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.npz") == "is damaged (FileNotFoundError)"


def test_a_changed_bit_is_noticed_or_does_not_matter(saved: Path) -> None:
    content, sound = saved.read_bytes(), Replicates(TASK, CONFIG)
    sound.restore(saved, "first")
    noticed = 0
    places = [int(at) for at in np.linspace(0, len(content) - 1, 60)]
    for at in places:
        saved.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        replicates = Replicates(TASK, CONFIG)
        if replicates.restore(saved, "first") is None:
            assert bits(replicates) == bits(sound)
            assert repr(replicates.progress()) == repr(sound.progress())
        else:
            assert replicates.played == 0
            noticed += 1
    assert noticed > 50


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a state's arrays and write it again, whole."""
    with np.load(path) as state:
        arrays = {name: state[name] for name in state.files}
    change(arrays)
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("name", ["facts", "generators", "table_0", "table_2"])
def test_a_state_that_lacks_an_array(saved: Path, name: str) -> None:
    rewrite(saved, lambda arrays: arrays.pop(name))
    assert refused(saved) == "is damaged (KeyError)"


FACTS = [
    "task",
    "config",
    "games",
    "checks",
    "games_to_optimal",
    "history",
    "learner_cpu_s",
    "earlier_cpu_s",
    "attempt",
    "format",
]


@pytest.mark.parametrize("name", FACTS)
def test_a_state_that_lacks_a_fact(saved: Path, name: str) -> None:
    def without(arrays: dict[str, Any]) -> None:
        facts = json.loads(str(arrays["facts"]))
        assert sorted(facts) == sorted(FACTS)
        del facts[name]
        arrays["facts"] = np.array(json.dumps(facts))

    rewrite(saved, without)
    assert refused(saved) == "is damaged (KeyError)"


@pytest.mark.parametrize(
    ("name", "value"),
    [("games", [1]), ("games", "x"), ("checks", [[0.0]] * 3), ("history", [{"games": 1}]), ("learner_cpu_s", "long")],
)
def test_a_state_with_wrong_facts(saved: Path, name: str, value: Any) -> None:
    def changed(arrays: dict[str, Any]) -> None:
        arrays["facts"] = np.array(json.dumps(json.loads(str(arrays["facts"])) | {name: value}))

    rewrite(saved, changed)
    assert refused(saved).startswith("is damaged (")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("table_2", lambda table: table[:-1]),
        ("table_0", lambda table: table[np.newaxis]),
        ("generators", lambda generators: generators[:2]),
        ("generators", lambda generators: generators[:, :3]),
    ],
)
def test_a_state_of_other_sizes(saved: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    rewrite(saved, lambda arrays: arrays.update({name: change(arrays[name])}))
    assert refused(saved) == "is damaged (ValueError)"


def test_a_state_with_all_tables_in_one_array_starts_over(saved: Path) -> None:
    """As earlier versions wrote it."""

    def together(arrays: dict[str, Any]) -> None:
        arrays["tables"] = np.stack([arrays.pop(f"table_{r}") for r in range(TASK.seeds)])

    rewrite(saved, together)
    assert refused(saved) == "is damaged (KeyError)"


def test_saving_and_restoring_take_little_memory_beside_the_tables(tmp_path: Path) -> None:
    replicates = Replicates(replace(TASK, seeds=16), CONFIG)
    for r, learner in enumerate(replicates.learners):
        learner.table = np.full(2**19, float(r))  # 4 MiB, as of a larger board
    again = Replicates(replace(TASK, seeds=16), CONFIG)
    for learner in again.learners:
        learner.table = np.zeros(2**19)
    everything = sum(learner.table.nbytes for learner in replicates.learners)
    tracemalloc.start()
    try:
        replicates.save(tmp_path / "state.npz")
        saving = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert again.restore(tmp_path / "state.npz") is None
        restoring = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bits(again) == bits(replicates)
    assert max(saving, restoring) < everything / 4


def test_a_text_file_in_its_place(saved: Path) -> None:
    saved.write_text("nothing of the kind")
    assert refused(saved).startswith("is damaged (")
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("facts.npy", "{}")
    assert refused(saved).startswith("is damaged (")


@pytest.mark.parametrize(
    "task",
    [
        replace(TASK, seed=6),
        replace(TASK, games=2_001),
        replace(TASK, seeds=2),
        replace(TASK, first=3),
        replace(TASK, stream=Stream.FRESH),
        replace(TASK, board="2x3x2"),
        replace(TASK, cap=100),
    ],
    ids=["seed", "games", "seeds", "first", "stream", "board", "cap"],
)
def test_a_state_of_another_task(saved: Path, task: Task) -> None:
    assert refused(saved, task=task) == "belongs to another trial"


def test_a_state_of_another_configuration_or_format(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(saved, config=replace(CONFIG, gamma=0.9)) == "belongs to another trial"
    monkeypatch.setattr("tictactoe.experiment.replicates.FORMAT", FORMAT + 1)
    assert refused(saved) == "belongs to another trial"


def test_a_state_that_cannot_be_written_leaves_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*arguments: Any, **arrays: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        halfway().save(saved, "first")
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_scores() -> None:
    assert median([3]) == 3.0
    assert median([5, 3, 4]) == 4.0
    assert median([1, 2, 3, 4]) == 2.5
    assert median([1, 2, None]) == 2.0
    assert median([1, None]) is None
    assert median([None, None, 1]) is None
    assert rungs(50_000) == [5_556, 16_668]
