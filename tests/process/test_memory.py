"""The estimate of a search's memory: its arithmetic is that of the real arrays."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution

from tests.support.cgroup import inside, little_memory
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.experiment import space
from tictactoe.process.cgroup import MIB
from tictactoe.process.memory import PROGRAM_MIB, TRIAL_MIB, Need, most_seeds, need, size

BOARDS = ("3x3x3", "3x4x3", "3x4x4", "2x5x3", "1x7x2", "2x2x1", "1x1x1")


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put other entries into the search space of large boards."""

    def change(**entries: Any) -> None:
        for name, entry in entries.items():
            monkeypatch.setitem(space.LARGE, name, entry)

    return change


@pytest.mark.parametrize("text", BOARDS)
@pytest.mark.parametrize("table", ["afterstate", "state-action"])
def test_sizes_without_symmetry_are_those_of_the_arrays(text: str, table: Any) -> None:
    board = Board.parse(text)
    learner = QLearner(board, Hyperparameters(table=table, symmetry=False), 0)
    game, expected = learner.moves.graph, size(board, False)
    assert expected == (game.nodes, game.edges)
    assert expected.graph == game.codes.nbytes + game.outcome.nbytes + game.child.nbytes
    assert expected.table(table) == learner.table.nbytes
    own = 0 if learner.moves.entry is game.child else learner.moves.entry.nbytes
    assert expected.entries(table) == own


@pytest.mark.parametrize("table", ["afterstate", "state-action"])
def test_sizes_up_to_symmetry_are_nearly_those_of_the_arrays(table: Any) -> None:
    board = Board.parse("3x4x4")
    learner = QLearner(board, Hyperparameters(table=table), 0)
    game, expected = learner.moves.graph, size(board, True)
    assert expected.graph == pytest.approx(game.codes.nbytes + game.outcome.nbytes + game.child.nbytes, rel=0.02)
    assert expected.table(table) == pytest.approx(learner.table.nbytes, rel=0.02)


def test_known_sizes_of_large_boards() -> None:
    assert size(Board.parse("4x4x4"), False).positions == 9_722_011
    assert size(Board.parse("4x4x4"), True).positions == pytest.approx(1_217_977, rel=0.01)


def test_a_search_needs_more_for_more_seeds_and_larger_tables(searched: Callable[..., None]) -> None:
    board = Board.parse("4x4x4")
    seeds_1, seeds_8 = need(board, 1), need(board, 8)
    assert seeds_8.trial > seeds_1.trial and seeds_8.program == seeds_1.program
    assert need(board, 32).trial - need(board, 8).trial == pytest.approx(24 * size(board, True).table("afterstate") / MIB)
    searched(table="state-action")
    larger = need(board, 8)
    assert (
        larger.trial - seeds_8.trial
        >= 7 * (size(board, True).table("state-action") - size(board, True).table("afterstate")) / MIB
    )
    searched(table=CategoricalDistribution(["afterstate", "state-action"]))
    assert need(board, 8) == larger  # the worst that the space holds
    searched(symmetry=CategoricalDistribution([True, False]))
    assert need(board, 8).trial > 3 * larger.trial
    assert need(board, 8).end > larger.end
    assert need(Board(), 32).trial == pytest.approx(TRIAL_MIB, abs=10)
    assert need(Board(), 32).program == pytest.approx(PROGRAM_MIB, abs=1)


def test_a_small_boards_search_holds_every_kind_of_table_and_a_large_ones_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = Board.parse("3x4x3"), Board.parse("4x4x4")
    before = need(small, 8), need(large, 8)
    monkeypatch.setitem(space.SPACE, "table", "afterstate")
    monkeypatch.setitem(space.SPACE, "symmetry", True)
    after = need(small, 8), need(large, 8)
    assert after[0].trial < before[0].trial - 8 * (size(small, False).table("state-action") / 2) / MIB
    assert after[1] == before[1]


def test_how_many_trials_fit() -> None:
    some = Need(program=700, trial=150, end=900)
    assert [some.of(trials) for trials in (1, 2, 10)] == [900, 1_000, 2_200]
    assert [some.trials(mib) for mib in (0, 849, 899, 900, 999, 1_000, 2_200)] == [0, 0, 0, 1, 1, 2, 10]
    board = Board.parse("4x4x4")
    for seeds in (1, 5, 40):
        assert most_seeds(board, 1_000, need(board, seeds).of(1)) >= seeds
        assert most_seeds(board, seeds, 10**6) == seeds
    assert most_seeds(board, 1_000, 500) == 0


@pytest.mark.slow
def test_many_cpus_and_little_memory(program: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """As in the README's container on a large machine."""
    with little_memory(1_280) as group:
        options = ("--num-cpus", "64", "--num-samples", "12", "--seeds", "8", "--games", "5000")
        process = program(*options, under=inside(group), WANDB_MODE="disabled")
        output, errors = process.communicate(timeout=200)
        assert (process.returncode, errors) == (0, "")
        assert "memory for 3 trials at a time instead of 12: limit 1,280 MiB" in output
        (journal,) = tmp_path.glob("results/*/journal.jsonl")
        records = [json.loads(line) for line in journal.read_text().splitlines()]
        assert len(records) == 12
        assert 1 < len({record["worker"] for record in records}) <= 3
        assert "oom_kill 0" in "".join(
            path.read_text() for path in group.glob("memory.*") if path.name.endswith(("events", "oom_control"))
        )
