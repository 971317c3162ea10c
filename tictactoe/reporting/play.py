"""Games against a policy, on a terminal or over a pipe."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
from rich.box import SQUARE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tictactoe.core.game import Board
from tictactoe.core.learner import QLearner
from tictactoe.core.policy import Policy, move_values
from tictactoe.errors import UserError
from tictactoe.process.streams import output_is_lost

SINGLE_KEYS = 9
"""On boards of up to this many cells one key is a whole answer."""
HANDLER_SECONDS = 0.2
"""Until Python handles a signal that has come to another thread than the one that waits for a key."""
STYLES = {"X": "bold cyan", "O": "bold yellow", ".": "dim"}
_END = "\x04"  # what a terminal sends for Ctrl-D


class Match:
    """Games of a person against a policy, the sides changed from one to the next.

    `load` gives the learner behind the policy, or raises UserError; it is called when values are first asked for.
    """

    def __init__(self, console: Console, policy: Policy, load: Callable[[], QLearner]) -> None:
        self._console = console
        self._policy = policy
        self._load = load
        self._learner: QLearner | None = None
        self._showing = False
        self._generator = np.random.default_rng()

    def play(self, seat: int) -> None:
        """Play until the player quits or the input ends; `seat` is the player's in the first game, 0 for X.

        Raises ValueError when the policy has no move for a position.
        """
        with suppress(EOFError), answers(self._policy.board.cells <= SINGLE_KEYS) as self._read:
            while True:
                self._game(seat)
                seat = 1 - seat
                if self._ask(f"Another game, with you as {'XO'[seat]}? (y or n)", ["y", "n"]) == "n":
                    return

    def _game(self, seat: int) -> None:
        board = self._policy.board
        position, last = 0, None
        self._console.print(f"\nYou are {'XO'[seat]}, the policy is {'OX'[seat]}; {board.k} in a row win.")
        while (outcome := board.outcome(position)) is None:
            if board.to_move(position) == seat:
                last = self._move(position, last)
            else:
                last = self._reply(board.decode(position))
                self._console.print(f"{'OX'[seat]} takes {last + 1}.")
            position = board.play(position, last)
        self._console.print(draw(board, position, last))
        result = outcome if seat == 0 else -outcome
        self._console.print({1: "You win.", 0: "A draw.", -1: f"{'OX'[seat]} wins."}[result])

    def _reply(self, position: str) -> int:
        try:
            return self._policy.choose(position, self._generator)
        except KeyError:
            raise ValueError(f"the policy has no move in position {position}; is policy.json whole?") from None

    def _move(self, position: int, last: int | None) -> int:
        legal = {str(cell + 1): cell for cell in self._policy.board.legal_moves(position)}
        while True:
            values = values_for_opponent(self._learner, position) if self._learner and self._showing else {}
            self._console.print(draw(self._policy.board, position, last, values))
            if values:
                self._console.print("What the winner expects each move to end in for you: 1 a win, 0 a draw, -1 a loss.")
            answer = self._ask("Your move? (a number; v shows or hides values, q quits)", [*legal, "v"])
            if answer != "v":
                return legal[answer]
            self._showing = not self._showing
            if self._showing and self._learner is None:
                try:
                    self._learner = self._load()
                except UserError as error:
                    self._console.print(f"no values: {error}")
                    self._showing = False

    def _ask(self, question: str, wanted: list[str]) -> str:
        """The first answer that is one of those wanted. Raises EOFError when the player quits, or cannot see the question."""
        while True:
            self._console.print(question, end=" " if sys.stdin and sys.stdin.isatty() else "\n")
            if output_is_lost():
                raise EOFError
            typed = self._read().strip()
            if typed == _END:
                self._console.print()
            if typed.lower() in ("q", _END):
                raise EOFError
            if typed.lower() in wanted:
                return typed.lower()
            self._console.print(f"{typed!r}: type one of {' '.join(wanted)} q")


@contextmanager
def answers(single_keys: bool) -> Iterator[Callable[[], str]]:
    """A function that reads the player's next answer: a key on a terminal if `single_keys`, else a line."""
    if sys.stdin is None:
        yield lambda: _END
    elif not (single_keys and sys.stdin.isatty()):
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        yield lambda: sys.stdin.readline() or _END
    else:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        keys = _keys(descriptor)

        def single() -> None:
            with suppress(termios.error):  # the terminal is gone
                tty.setcbreak(descriptor, termios.TCSADRAIN)

        single()
        signal.signal(signal.SIGCONT, lambda *_: single())  # after Ctrl-Z and `fg`
        try:
            yield lambda: next(keys, _END)
        finally:
            signal.signal(signal.SIGCONT, signal.SIG_DFL)
            with suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _keys(descriptor: int) -> Iterator[str]:
    """Keys as they are pressed, echoed; what a special key sends is one."""
    while typed := _typed(descriptor):
        for key in [typed] if typed.startswith("\x1b") else typed:
            if key != _END:
                print(key if key.isprintable() else "", flush=True)
            yield key


def _typed(descriptor: int) -> str:
    """What was typed, nothing at the end of the input."""
    with suppress(OSError):  # the terminal is gone
        while not select.select([descriptor], [], [], HANDLER_SECONDS)[0]:
            pass
        return os.read(descriptor, 64).decode(errors="replace")
    return ""


def draw(board: Board, position: int, last: int | None = None, values: dict[int, float] | None = None) -> Table:
    """The board: marks, and in free cells their numbers, from 1, with the values of moves below."""
    text = board.decode(position)
    won = {cell for line in board.lines if {text[cell] for cell in line} in ({"X"}, {"O"}) for cell in line}
    table = Table(box=SQUARE, show_header=False, show_lines=True)
    for _ in range(board.columns):
        table.add_column(justify="center", min_width=len("+1.00") if values else len(str(board.cells)))
    cells = []
    for cell, mark in enumerate(text):
        style = "bold green" if cell in won else STYLES[mark] + (" underline" if cell == last else "")
        cells.append(Text().append(str(cell + 1) if mark == "." else mark, style))
        if values:
            cells[-1].append(f"\n{_signed(values[cell])}" if cell in values else "\n")
    for row in range(board.rows):
        table.add_row(*cells[row * board.columns : (row + 1) * board.columns])
    return table


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def values_for_opponent(learner: QLearner, position: int) -> dict[int, float]:
    """What the learner expects of each move of its opponent, for the opponent: minus its own best value after it."""
    values = {}
    for move in learner.board.legal_moves(position):
        after = learner.board.play(position, move)
        outcome = learner.board.outcome(after)
        values[move] = float(abs(outcome)) if outcome is not None else -max(move_values(learner, after).values())
    return values
