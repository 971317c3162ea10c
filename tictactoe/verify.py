"""Check that a policy.json plays optimally: `python -m tictactoe.verify results/NAME/policy.json`.

The value of a game is its result when both sides play their best: X wins, O wins, or a draw. A policy is optimal if its
result is never worse than that: as X and as O, against any opponent, and whichever of its tied moves it takes. So:
1. Play every game that the policy can get into as X, then every one as O. On its turn try each move that the file lists
   for the position; on the opponent's turn try each legal move. Keep the worst game of each side.
2. Find the value: ask whether X can force a win, and whether O can. If neither can, it is a draw.
3. The policy is optimal if neither of the two worst games is worse for it than the value.

Exit code 0: optimal. 1: not optimal, and a game that shows it. 2: not a whole policy file. (A whole one lists all positions
that can arise with the policy to move, and no others.) Needs only Python; shares no code with what wrote the file.

The board "3x4x2" has 3 rows and 4 columns, and 2 marks in a row win. X begins. A position is a text of ".", "X" and "O",
row by row. A move is the number of a cell, counted from 0."""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

Game = tuple[int, int, tuple[int, ...], str | None]  # score, length, moves, and winner; the smallest is the worst
OTHER_SIDE = {"X": "O", "O": "X"}
RESULT_NAMES = {"X": "X wins", "O": "O wins", None: "a draw"}  # by winner


class Board:
    """The lines of a board. Each line is a slice: `position[line]` is the text of its marks."""

    def __init__(self, name: str) -> None:
        match = re.fullmatch("([1-9][0-9]?)x([1-9][0-9]?)x([1-9][0-9]?)", name)
        rows, columns, k = map(int, match.groups()) if match else (0, 0, 0)
        if not match or rows * columns > 16 or k > max(rows, columns):
            raise ValueError(f"{name!r} is not a board of up to 16 cells")
        self.empty_position, self.k = "." * (rows * columns), k
        self.lines: list[slice] = []
        for row in range(rows):
            for column in range(columns):
                for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    first, step = row * columns + column, down * columns + right
                    if row + (k - 1) * down < rows and 0 <= column + (k - 1) * right < columns:  # it ends on the board
                        self.lines.append(slice(first, first + (k - 1) * step + 1, step or 1))  # a slice takes no step of 0

    def winner(self, position: str) -> str | None:
        """The side that has filled a line, or None."""
        lines = [position[line] for line in self.lines]
        return "X" if "X" * self.k in lines else "O" if "O" * self.k in lines else None


def side_to_move(position: str) -> str:
    return "X" if position.count("X") == position.count("O") else "O"


def legal_moves(position: str) -> list[int]:
    """The empty cells. To be asked only as long as nobody has won."""
    return [cell for cell, mark in enumerate(position) if mark == "."]


def successor(position: str, cell: int) -> str:
    """The position after the side to move has put its mark on the cell."""
    return position[:cell] + side_to_move(position) + position[cell + 1 :]


def policy_moves(policy: dict[str, object], position: str, legal: list[int]) -> list[int]:
    """The moves that the file lists for the position. There must be at least one, and all must be legal."""
    cells = policy.get(position)
    if not isinstance(cells, list) or not cells or not all(type(cell) is int and cell in legal for cell in cells):
        raise ValueError(f"{position} can arise, and its moves are {cells!r}")
    return cells


def score(side: str, winner: str | None) -> int:
    """What a result is worth to a side: 1 for a win, 0 for a draw, -1 for a loss."""
    return 0 if winner is None else 1 if winner == side else -1


def play_all_games(board: Board, policy: dict[str, object], side: str, checked: set[str]) -> Iterator[Game]:
    """Every game that the policy can get into as this side. Adds the positions in which it is to move to `checked`.

    What can follow depends on the position alone. So if several games lead to one position, only the first one goes on.
    """
    games: dict[str, tuple[int, ...]] = {board.empty_position: ()}  # each position after n moves, and a game to it
    while games:  # n = 0, 1, 2, ...
        longer_games: dict[str, tuple[int, ...]] = {}
        for position, moves in games.items():
            if (winner := board.winner(position)) or "." not in position:
                yield score(side, winner), len(moves), moves, winner
                continue
            cells = legal_moves(position)
            if side_to_move(position) == side:
                cells = policy_moves(policy, position, cells)
                checked.add(position)
            for cell in cells:
                longer_games.setdefault(successor(position, cell), (*moves, cell))
        games = longer_games


@cache
def can_force_a_win(board: Board, side: str, position: str) -> bool:
    """Whether this side can win from this position, whatever the other side replies."""
    if winner := board.winner(position):
        return winner == side
    if all(OTHER_SIDE[side] in position[line] for line in board.lines):
        return False  # it can fill no line any more; on a full board without a winner this is always so
    wins = (can_force_a_win(board, side, successor(position, cell)) for cell in legal_moves(position))
    return any(wins) if side_to_move(position) == side else all(wins)  # one good move is enough; every reply has to lose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    path, checked = parser.parse_args().policy, set[str]()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if type(content) is not dict or {key: type(entry) for key, entry in content.items()} != {"board": str, "moves": dict}:
            raise ValueError('it should hold "board", a text, and "moves", an object')
        board, policy = Board(content["board"]), content["moves"]
        worst_games = {side: min(play_all_games(board, policy, side, checked)) for side in "XO"}
        if unchecked := policy.keys() - checked:
            raise ValueError(f"{min(unchecked)!r} cannot arise")
    except (OSError, ValueError, RecursionError) as error:
        parser.exit(2, f"error: {path} is not a policy file: {error}\n")
    value = next((side for side in "XO" if can_force_a_win(board, side, board.empty_position)), None)
    worse = [side for side in "XO" if worst_games[side][0] < score(side, value)]
    line = f"optimal: {len(checked)} positions checked"
    if worse:
        _, _, moves, winner = worst_games[worse[0]]
        game = ", ".join(f"{'XO'[turn % 2]} {cell}" for turn, cell in enumerate(moves))
        line = f"not optimal as {worse[0]}: {game}: {RESULT_NAMES[winner]} (with best play: {RESULT_NAMES[value]})"
    try:
        print(line, flush=True)
    except OSError:  # nobody can read it; the exit code says the same. Else Python would try again at its end.
        sys.stdout = None
    raise SystemExit(len(worse) > 0)


if __name__ == "__main__":
    main()
