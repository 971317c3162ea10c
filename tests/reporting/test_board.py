"""The policy in the page of a report, read back as the page's policy.js reads it."""

from __future__ import annotations

import base64
import gzip
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tictactoe.core.game import Board
from tictactoe.core.graph import graph
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy, move_values
from tictactoe.reporting.report.board import embed

LIMIT = 15_000_000
"""Bytes of a report."""


def trained(board: Board, games: int, **options: Any) -> QLearner:
    learner = QLearner(board, Hyperparameters(**options), 0)
    learner.train(games)
    return learner


def unpack(embedded: dict[str, Any]) -> dict[int, tuple[int, float]]:
    """Moves (as a bit mask) and value of each position code."""
    lists = json.loads(gzip.decompress(base64.b64decode(embedded["data"])))
    assert all(step > 0 for step in lists["codes"][1:])
    decisions = zip(lists["moves"], lists["values"], strict=True)
    return dict(zip(accumulate(lists["codes"]), decisions, strict=True))


def smallest(embedded: dict[str, Any], position: str) -> tuple[int, list[int]]:
    """Code of a position's smallest image over the embedded symmetries, and the first of them that leads to it."""
    marks = [(cell, ".XO".index(mark)) for cell, mark in enumerate(position) if mark != "."]
    codes = [sum(mark * 3 ** image[cell] for cell, mark in marks) for image in embedded["symmetries"]]
    return min(codes), embedded["symmetries"][codes.index(min(codes))]


def check_against(policy: Policy, embedded: dict[str, Any]) -> None:
    """Both have the same positions, or orbits of them, and the same moves."""
    decisions, met = unpack(embedded), set()
    for position, cells in policy.moves.items():
        code, image = smallest(embedded, position)
        met.add(code)
        assert [cell for cell in range(policy.board.cells) if decisions[code][0] >> image[cell] & 1] == cells
    assert met == set(decisions)


@pytest.mark.parametrize(
    ("size", "games", "options"),
    [
        ((3, 3, 3), 0, {}),
        ((3, 3, 3), 400, {}),
        ((3, 3, 3), 20_000, {"q_init": 2.0}),
        ((3, 3, 3), 400, {"symmetry": False}),
        ((3, 3, 3), 400, {"table": "state-action"}),
        ((3, 3, 3), 400, {"table": "state-action", "symmetry": False}),
        ((1, 1, 1), 10, {}),
        ((2, 5, 2), 300, {}),
        ((3, 4, 3), 20_000, {}),
        ((3, 4, 3), 20_000, {"table": "state-action", "symmetry": False}),
    ],
)
def test_the_embedded_policy_is_the_policy_file(size: tuple[int, int, int], games: int, options: dict[str, Any]) -> None:
    learner = trained(Board(*size), games, **options)
    check_against(Policy.from_learner(learner), json.loads(json.dumps(embed(learner))))


@pytest.mark.parametrize("options", [{}, {"symmetry": False}, {"table": "state-action"}, {"q_init": -1.5}])
def test_embedded_values_are_those_of_the_best_moves(options: dict[str, Any]) -> None:
    learner = trained(Board(), 300, **options)
    embedded = embed(learner)
    for code, (_, value) in unpack(embedded).items():
        assert value == np.round(max(move_values(learner, code).values()), 2)


def test_a_real_search(searched: Path) -> None:
    folder = searched / "small"
    page = (folder / "report.html").read_text(encoding="utf-8")
    embedded = json.loads(page.partition('id="policy">')[2].partition("</script>")[0])
    check_against(Policy.load(folder / "policy.json"), embedded)


@pytest.mark.slow
@pytest.mark.parametrize("symmetry", [True, False])
def test_a_policy_of_4x4x4_stays_small(symmetry: bool) -> None:
    learner = trained(Board(4, 4, 4), 100_000, symmetry=symmetry)
    embedded = embed(learner)
    assert len(json.dumps(embedded)) < LIMIT - 2_000_000  # what the plots of a large search may take
    positions = len(Policy.from_learner(learner).moves)
    assert positions > 100_000
    codes = set(unpack(embedded))
    if symmetry:
        assert len(codes) < positions / 4
        assert codes <= set(graph(learner.board, True).codes.tolist())
    else:
        assert len(codes) == positions
