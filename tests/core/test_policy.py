"""Policies: what is listed, and that it survives the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.worth import worth
from tictactoe.core.evaluation import check, evaluate
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy


def trained(board: Board, games: int, **options: object) -> QLearner:
    learner = QLearner(board, Hyperparameters(**options), 0)  # type: ignore[arg-type]
    learner.train(games)
    return learner


def reachable(policy: Policy) -> set[str]:
    """The positions with the policy to move that arise from either seat, by playing."""
    board, found = policy.board, set()
    for seat in (0, 1):
        waiting, seen = [0], {0}
        while waiting:
            code = waiting.pop()
            moves = board.legal_moves(code)
            if moves and board.to_move(code) == seat:
                found.add(board.decode(code))
                moves = policy.moves[board.decode(code)]
            for move in moves:
                if (after := board.play(code, move)) not in seen:
                    seen.add(after)
                    waiting.append(after)
    return found


@pytest.mark.parametrize(
    "options", [{}, {"symmetry": False}, {"table": "state-action"}, {"table": "state-action", "symmetry": False}]
)
@pytest.mark.parametrize("games", [0, 300, 20_000])
def test_a_policy_lists_what_can_arise_and_is_worth_what_its_table_is(options: dict[str, Any], games: int) -> None:
    learner = trained(Board(), games, **options)
    policy = Policy.from_learner(learner)
    assert set(policy.moves) == reachable(policy)
    found = check(learner)
    assert worth(policy) == pytest.approx((found.exploitability, found.loss_vs_random), abs=1e-12)
    assert worth(policy)[0] == found.exploitability


def test_on_large_boards_ties_are_settled_and_worth_what_is_reported() -> None:
    learner = trained(Board(3, 4, 3), 20_000)
    policy = Policy.from_learner(learner)
    assert {len(cells) for cells in policy.moves.values()} == {1}
    found = evaluate(learner, settled=True)
    assert worth(policy) == pytest.approx((found.exploitability, found.loss_vs_random), abs=1e-12)
    assert worth(policy)[0] == found.exploitability
    assert evaluate(learner).exploitability >= found.exploitability


def test_files(tmp_path: Path) -> None:
    policy = Policy.from_learner(trained(Board(), 300))
    path = tmp_path / "policy.json"
    policy.save(path)
    assert Policy.load(path) == policy
    assert [child.name for child in tmp_path.iterdir()] == ["policy.json"]
    generator = np.random.default_rng(0)
    assert {policy.choose("." * 9, generator) for _ in range(200)} == set(policy.moves["." * 9])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"board":"3x3x3"}', '{"board":"9x9x9","moves":{}}', '{"board":"3x3x3","moves":{"X":[0]}}',
     '{"board":"3x3x3","moves":{"X........":[0]}}', '{"board":"3x3x3","moves":{"X........":[]}}',
     '{"board":"3x3x3","moves":{"X........":["1"]}}', '{"board":"3x3x3","moves":[]}'],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"policy\.json"):
        Policy.load(path)
