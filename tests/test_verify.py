"""The stand-alone checker against the package's own exact evaluation."""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.test_policy import reachable
from tests.support.program import ROOT
from tests.support.worth import worth
from tictactoe import verify
from tictactoe.core.evaluation import evaluate
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy
from tictactoe.core.solution import game_value

FILE = ROOT / "tictactoe" / "verify.py"


def run(path: Path) -> tuple[int, str, str]:
    """Exit code, output and errors of the program."""
    output, errors = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["verify", str(path)]), redirect_stdout(output), redirect_stderr(errors):
        try:
            verify.main()
        except SystemExit as end:
            return int(end.code or 0), output.getvalue(), errors.getvalue()
    return 0, output.getvalue(), errors.getvalue()


def trained(board: str, games: int, seed: int = 0, **options: object) -> QLearner:
    learner = QLearner(Board.parse(board), Hyperparameters(**options), seed)  # type: ignore[arg-type]
    learner.train(games)
    return learner


def agrees(policy: Policy, exploitability: float, path: Path) -> int:
    """Assert that the checker finds the policy optimal exactly if it is; if it is not, that the game it prints shows it."""
    policy.save(path)
    code, output, errors = run(path)
    assert errors == ""
    if exploitability == 0:
        assert (code, output) == (0, f"optimal: {len(policy.moves)} positions checked\n")
        return code
    assert code == 1
    match = re.fullmatch(r"not optimal as ([XO]): (.*): (.*) \(with best play: (.*)\)\n", output)
    assert match is not None, output
    side, game, result, value = match.groups()
    board, position = policy.board, 0
    for turn, move in enumerate(game.split(", ")):
        mark, cell = move.split()
        assert mark == "XO"[turn % 2]
        assert int(cell) in (policy.moves[board.decode(position)] if mark == side else board.legal_moves(position))
        position = board.play(position, int(cell))
    names = {0: "a draw", 1: "X wins", -1: "O wins"}
    outcome = board.outcome(position)
    assert outcome is not None
    assert (value, result) == (names[game_value(board)], names[outcome])
    assert (outcome < game_value(board)) if side == "X" else (outcome > game_value(board))
    return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verify")


@given(st.sampled_from(["3x3x3", "2x3x3", "2x3x2", "1x5x2", "4x2x3"]), st.integers(0, 2**32), st.integers(1, 6), st.booleans())
@settings(max_examples=60)
def test_random_policies(folder: Path, board: str, seed: int, levels: int, symmetry: bool) -> None:
    learner = trained(board, 0, symmetry=symmetry)
    learner.table[:] = np.random.default_rng(seed).integers(levels, size=len(learner.table))
    policy = Policy.from_learner(learner)
    agrees(policy, worth(policy)[0], folder / "random.json")


@given(st.sampled_from(["3x3x3", "2x4x3", "3x2x2"]), st.integers(0, 2000), st.integers(0, 100), st.floats(0, 0.3))
@settings(max_examples=60)
def test_half_trained_and_disturbed_policies(folder: Path, board: str, games: int, seed: int, noise: float) -> None:
    learner = trained(board, games, seed)
    learner.table += np.random.default_rng(seed).normal(0, noise, len(learner.table))
    policy = Policy.from_learner(learner)
    agrees(policy, worth(policy)[0], folder / "half.json")


@pytest.mark.parametrize(("games", "optimal"), [(1000, False), (100_000, True)])
def test_a_board_that_one_seat_loses_by_force(folder: Path, games: int, optimal: bool) -> None:
    policy = Policy.from_learner(trained("3x4x3", games))
    assert agrees(policy, worth(policy)[0], folder / "forced.json") == (not optimal)


@pytest.fixture(scope="module")
def best() -> Policy:
    return Policy.from_learner(trained("3x3x3", 20_000))


@given(st.data())
@settings(max_examples=60)
def test_mutated_files(folder: Path, best: Policy, data: st.DataObject) -> None:
    """One position's moves are other ones: the file lacks positions, has too many, or is another whole policy."""
    text = data.draw(st.sampled_from(sorted(best.moves)))
    free = [cell for cell, mark in enumerate(text) if mark == "."]
    cells = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
    policy = Policy(best.board, best.moves | {text: cells})
    path = folder / "mutated.json"
    try:
        is_whole = reachable(policy) == set(policy.moves)
    except KeyError:
        is_whole = False
    if is_whole:
        agrees(policy, worth(policy)[0], path)
        return
    policy.save(path)
    code, output, errors = run(path)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert "can arise" in errors or "cannot arise" in errors


def boards(cells: int) -> Iterator[Board]:
    for rows in range(1, cells + 1):
        for columns in range(1, cells // rows + 1):
            yield from (Board(rows, columns, k) for k in range(1, max(rows, columns) + 1))


def test_lines_and_values_of_all_small_boards() -> None:
    for board in [*boards(9), Board(3, 4, 3), Board(2, 6, 4)]:
        other = verify.Board(str(board))  # the checker's
        assert {tuple(range(board.cells)[line]) for line in other.lines} == set(board.lines)
        x_wins, o_wins = (verify.can_force_a_win(other, side, other.empty_position) for side in "XO")
        assert x_wins - o_wins == game_value(board), board


def content(**changes: object) -> str:
    return json.dumps({"board": "1x1x1", "moves": {".": [0]}} | changes)


def test_the_smallest_file(folder: Path) -> None:
    (folder / "small.json").write_text(content())
    assert run(folder / "small.json") == (0, "optimal: 1 positions checked\n", "")


@pytest.mark.parametrize(
    ("text", "part"),
    [("", "Expecting value"), ("\xff", "codec"), ("[" * 100_000, "recursion"), ("[]", "should hold"), ("{}", "should hold"),
     ('{"board": "1x1x1"}', "should hold"), (content(more=1), "should hold"), (content(moves=[]), "should hold"),
     (content(board=3), "should hold"), (content(board="1x1"), "not a board"), (content(board="1x1x1x1"), "not a board"),
     (content(board="1x1x2"), "not a board"), (content(board="4x5x4"), "not a board"),
     (content(board="-4x-4x4"), "not a board"),
     (content(board="01x1x1"), "not a board"), (content(board="1x1x\n"), "not a board"), (content(moves={}), "moves are None"),
     (content(moves={".": []}), "moves are []"), (content(moves={".": [1]}), "moves are [1]"),
     (content(moves={".": [-1]}), "moves are [-1]"), (content(moves={".": [False]}), "moves are [False]"),
     (content(moves={".": [0.0]}), "moves are [0.0]"), (content(moves={".": ["0"]}), "moves are ['0']"),
     (content(moves={".": [[0]]}), "moves are [[0]]"), (content(moves={".": "0\n"}), r"moves are '0\n'"),
     (content(moves={".": 0}), "moves are 0"), (content(moves={".": [0], "X": [0]}), "'X' cannot arise"),
     (content(moves={".": [0], "?\n": [0]}), r"'?\n' cannot arise")],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(folder: Path, text: str, part: str) -> None:
    path = folder / "policy.json"
    path.write_text(text, encoding="latin-1")
    code, output, errors = run(path)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"error: {path} is not a policy file: ")
    assert part in errors


def test_no_file_a_folder_and_no_argument(folder: Path) -> None:
    for path in (folder / "none.json", folder):
        code, _, errors = run(path)
        assert (code, errors.count("\n")) == (2, 1)
    process = subprocess.run([sys.executable, "-m", "tictactoe.verify"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "usage" in process.stderr


def test_140_lines_of_standard_library_that_run_anywhere(folder: Path, best: Policy) -> None:
    assert len(FILE.read_text().splitlines()) <= 140
    for node in ast.walk(ast.parse(FILE.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    alone = folder / "alone"
    alone.mkdir()
    shutil.copy(FILE, alone)
    best.save(alone / "policy.json")
    command = [sys.executable, "-I", "-S", "verify.py", "policy.json"]  # neither this folder nor any installed package
    process = subprocess.run(command, cwd=alone, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, f"optimal: {len(best.moves)} positions checked\n", "")


def check_4x4x4(games: int, path: Path) -> int:
    """Exit code for a policy of so many games, which has been found right."""
    learner = trained("4x4x4", games)
    return agrees(Policy.from_learner(learner), evaluate(learner, settled=True).exploitability, path)


@pytest.mark.slow
def test_4x4x4(folder: Path) -> None:
    """One that is not optimal and one that is, each in a process of its own: they take most of a minute."""
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        half_trained = processes.submit(check_4x4x4, 600_000, folder / "half-trained.json")
        fully = processes.submit(check_4x4x4, 3_000_000, folder / "fully.json")
        assert (half_trained.result(), fully.result()) == (1, 0)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "| true", ">&- 2>&-"])
def test_output_that_cannot_be_written_changes_no_exit_code(tmp_path: Path, redirection: str) -> None:
    good, bad = Policy.from_learner(trained("1x1x1", 10)), tmp_path / "none.json"
    good.save(tmp_path / "policy.json")
    for path, code in ((tmp_path / "policy.json", 0), (bad, 2)):
        line = f"set -o pipefail; {sys.executable} {FILE} {path} {redirection}"
        ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert ran.returncode == code
        assert "Exception" not in ran.stderr
