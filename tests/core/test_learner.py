"""The learner: a pure function of (hyperparameters, seed, games), bit for bit."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.program import ROOT
from tests.support.reference import Reference
from tests.support.strategies import hyperparameters
from tests.tuning.test_determinism import plain_processor
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import move_values
from tictactoe.experiment.record import Task
from tictactoe.experiment.replicates import Replicates

OPTIONS: dict[str, list[Any]] = {
    "bootstrap": ["2-ply", "negamax"],
    "replay": ["forward", "backward"],
    "table": ["state-action", "afterstate"],
    "symmetry": [True, False],
}
COMBINATIONS = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]
BOARDS = [Board(3, 3, 3), Board(2, 3, 2), Board(1, 1, 1), Board(4, 2, 3)]


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_same_bits_as_textbook_python(board: Board, options: dict[str, Any]) -> None:
    h = Hyperparameters(
        alpha_start=0.9, alpha_end=0.3, alpha_decay=40, gamma=0.9, epsilon_start=0.4, epsilon_end=0.0, epsilon_decay=30,
        q_init=0.1, **options,
    )  # fmt: skip
    learner, reference = QLearner(board, h, 7), Reference(board, h, 7)
    for _ in range(60):
        reference.play_one()
    learner.train(60)
    trained = [value for value in learner.table.tolist() if value != h.q_init]
    assert sorted(trained) == sorted(value for value in reference.table.values() if value != h.q_init)
    assert learner.generator.tolist() == reference.state


@given(hyperparameters, st.sampled_from(BOARDS), st.integers(0, 2**63), st.lists(st.integers(0, 60), max_size=6))
def test_chunks_and_restored_states_give_the_same_table(h: Hyperparameters, board: Board, seed: int, chunks: list[int]) -> None:
    whole = QLearner(board, h, seed)
    whole.train(sum(chunks))
    parts = QLearner(board, h, seed)
    for chunk in chunks:
        parts.train(chunk)
        state = parts.state()
        parts = QLearner(board, h, seed + 1)
        parts.restore(state)
    assert parts.games == whole.games == sum(chunks)
    assert np.array_equal(parts.table, whole.table)
    assert np.array_equal(parts.generator, whole.generator)
    assert np.all(np.abs(whole.table) <= max(1.0, abs(h.q_init)))


def test_large_boards_use_the_same_algorithm() -> None:
    board, h = Board(4, 4, 4), Hyperparameters(epsilon_start=0.3, epsilon_end=0.3, replay="backward")
    learner, reference = QLearner(board, h, 3), Reference(board, h, 3)
    for _ in range(20):
        reference.play_one()
    learner.train(20)
    assert len(learner.table) == 1_217_977
    trained = [value for value in learner.table.tolist() if value != h.q_init]
    assert sorted(trained) == sorted(value for value in reference.table.values() if value != h.q_init)


def test_a_state_of_another_table_is_refused() -> None:
    state = QLearner(Board(), Hyperparameters(), 0).state()
    with pytest.raises(ValueError, match="does not fit"):
        QLearner(Board(), Hyperparameters(symmetry=False), 0).restore(state)


@pytest.mark.parametrize(
    ("field", "value"),
    [("alpha_start", 0.0), ("alpha_end", 1.1), ("gamma", -0.1), ("epsilon_start", 2), ("q_init", float("nan")),
     ("alpha_decay", 0.5), ("bootstrap", "3-ply"), ("table", None), ("symmetry", 1), ("q_init", "0"), ("gamma", True)],
)  # fmt: skip
def test_values_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Hyperparameters(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("h", "low", "high"),
    [
        (Hyperparameters(replay="backward", q_init=0.1), 380, 600),
        (Hyperparameters(), 380, 600),
        (Hyperparameters(table="state-action", symmetry=False), 5_000, 11_000),
        (Hyperparameters(bootstrap="negamax", q_init=0.0, alpha_start=0.5, alpha_end=0.5, epsilon_start=0.2, epsilon_end=0.2),
         2_200, 3_600),
    ],
)  # fmt: skip
def test_known_learners_reach_optimal_play_when_they_should(h: Hyperparameters, low: float, high: float) -> None:
    replicates = Replicates(Task("3x3x3", seeds=32, games=50_000, seed=1), h)
    replicates.advance(float("inf"), 50_000)
    progress = replicates.progress()
    assert progress.median is not None
    assert low <= progress.median <= high
    assert progress.solved >= 30


def test_symmetric_tables_learn_symmetric_values() -> None:
    first = QLearner(Board(), replace(Hyperparameters(), table="state-action"), 0)
    first.train(500)
    values = move_values(first, 0)
    for alike in ((0, 2, 6, 8), (1, 3, 5, 7)):
        assert len({values[cell] for cell in alike}) == 1


FINGERPRINT = """
import hashlib, sys
from tictactoe.core.game import Board
from tictactoe.core.learner import QLearner
from tictactoe.experiment.space import sample
found = hashlib.sha256()
for number, h in enumerate(sample(6, 0)):
    for board in (Board(), Board(3, 4, 3)):
        learner = QLearner(board, h, number)
        learner.train(2000)
        found.update(repr(h).encode() + learner.table.tobytes())
print(found.hexdigest())
"""


def test_bits_do_not_depend_on_the_processor(tmp_path: Path) -> None:
    hashes = set()
    for variables in ({}, plain_processor(tmp_path)):
        ran = subprocess.run(
            [sys.executable, "-c", FINGERPRINT], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        hashes.add(ran.stdout)
    assert len(hashes) == 1
    assert len(next(iter(hashes)).strip()) == hashlib.sha256().digest_size * 2
