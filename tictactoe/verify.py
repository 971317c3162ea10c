"""Check that a policy.json plays optimally: `python -m tictactoe.verify results/NAME/policy.json`.

Plays every game the policy can be drawn into, as X and as O, whichever of its moves it takes and whatever is replied,
and compares the worst end with the board's value, solved here too. Shares no code with what wrote the file. Exit code
0: optimal; 1: not, and a game that shows it; 2: not a whole policy file. A position is a text of ".", "X" and "O", row by
row, cells counted from 0. Sides, turns and winners are 1 for X, who begins, -1 for O, 0 for nobody."""

import argparse
import json
from functools import cache
from pathlib import Path


class Board:
    def __init__(self, name: str) -> None:
        rows, columns, k = (int(part) if part.isdecimal() else 0 for part in f"{name}xx".split("x")[:3])
        if name != f"{rows}x{columns}x{k}" or not 1 <= rows * columns <= 16 or not 1 <= k <= max(rows, columns):
            raise ValueError(f"{name!r} is not a board of up to 16 cells")
        self.empty, self.k, self.lines = "." * rows * columns, k, list[slice]()
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            step = down * columns + right
            for first, last in ((cell, cell + (k - 1) * step) for cell in range(rows * columns - (k - 1) * step)):
                if last // columns == first // columns + (k - 1) * down:  # else it runs over the edge
                    self.lines.append(slice(first, last + 1, step or 1))

    def look(self, text: str) -> tuple[int, int, dict[int, str]]:
        """Who has won, whose turn it is, and the position after each move: none when the game is over."""
        lines = [text[line] for line in self.lines]
        won = ("X" * self.k in lines) - ("O" * self.k in lines)
        turn = 1 if text.count("X") == text.count("O") else -1
        return won, turn, {i: text[:i] + ".XO"[turn] + text[i + 1 :] for i, old in enumerate(text) if old == "." and not won}


@cache
def can_force_a_line(board: Board, side: int, text: str) -> bool:
    won, turn, after = board.look(text)
    if won or all(".XO"[-side] in text[line] for line in board.lines):
        return won == side
    return (any if turn == side else all)(can_force_a_line(board, side, then) for then in after.values())


def worst_game(board: Board, side: int, policy: dict, met: set[str], text: str, *game: int) -> tuple[int, int, tuple[int, ...]]:
    """The worst game from here for a side that plays the policy, by its result for the side, then its length."""
    won, turn, after = board.look(text)
    if not after:
        return side * won, len(game), game
    met.add(text)
    cells = policy.pop(text, None) if turn == side else list(after)
    if type(cells) is not list or not cells or not all(type(cell) is int and cell in after for cell in cells):
        raise ValueError(f"{text} can arise, and its moves are {cells!r}")
    games = (worst_game(board, side, policy, met, after[cell], *game, cell) for cell in cells if after[cell] not in met)
    return min(games, default=(2, 0, ()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    path = parser.parse_args().policy
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if type(content) is not dict or {k: type(v) for k, v in content.items()} != {"board": str, "moves": dict}:
            raise ValueError('it should hold "board", a text, and "moves", an object')
        board, policy = Board(content["board"]), dict(content["moves"])
        ends = {side: worst_game(board, side, policy, set(), board.empty) for side in (1, -1)}
        if policy:
            raise ValueError(f"{min(policy)!r} cannot arise")
    except (OSError, ValueError, RecursionError) as error:
        parser.exit(2, f"error: {path} is not a policy file: {error}\n")
    value = can_force_a_line(board, 1, board.empty) - can_force_a_line(board, -1, board.empty)
    for side, (worst, _, game) in ends.items():
        if worst < side * value:
            moves = ", ".join(f"{'XO'[turn % 2]} {cell}" for turn, cell in enumerate(game))
            names = ("a draw", "X wins", "O wins")
            print(f"not optimal as {'.XO'[side]}: {moves}: {names[side * worst]} (with best play: {names[value]})")
            raise SystemExit(1)
    print(f"optimal: {len(content['moves'])} positions checked")


if __name__ == "__main__":
    main()
