"""Playing against a policy: the values shown, and the real program over a pipe and on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from tests.support.program import ROOT, clean_environment, search
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy, move_values
from tictactoe.experiment.results import Results, winner_learner
from tictactoe.reporting.play import SINGLE_KEYS, draw, values_for_opponent

PROMPT = r"Your move\?[^\n]*|Another game[^\n]*\(y or n\)"


def trained(board: str, games: int, **options: object) -> QLearner:
    learner = QLearner(Board.parse(board), Hyperparameters(**options), 0)  # type: ignore[arg-type]
    learner.train(games)
    return learner


@pytest.mark.parametrize(
    "options", [{}, {"symmetry": False}, {"table": "state-action"}, {"table": "state-action", "symmetry": False}]
)
@pytest.mark.parametrize("board", ["3x3x3", "2x3x2"])
def test_the_policy_takes_the_moves_of_the_greatest_value(board: str, options: dict[str, Any]) -> None:
    learner = trained(board, 500, **options)
    for position, moves in Policy.from_learner(learner).moves.items():
        values = move_values(learner, learner.board.encode(position))
        assert moves == [move for move, value in values.items() if value == max(values.values())]


def test_large_boards_have_values_too() -> None:
    learner = trained("4x4x4", 0)
    learner.table[:] = 0.25
    assert set(move_values(learner, 0).values()) == {0.25}
    assert values_for_opponent(learner, 0) == dict.fromkeys(range(16), -0.25)


def test_values_for_the_opponent() -> None:
    """Win: 1. The policy wins next: -1. Of an optimal policy nothing but that and a draw can be expected at the start."""
    learner = trained("3x3x3", 50_000)
    board = learner.board
    assert values_for_opponent(learner, board.encode("XX.OO....")) == pytest.approx({2: 1, 5: 0, 6: -1, 7: -1, 8: -1}, abs=0.2)
    assert values_for_opponent(learner, board.encode("XOXXOOO.X")) == {7: 0}
    assert values_for_opponent(learner, 0) == pytest.approx(dict.fromkeys(range(9), 0), abs=0.2)


def drawn(*arguments: object, width: int = 60) -> str:
    console = Console(width=width, color_system=None, soft_wrap=True)
    with console.capture() as capture:
        console.print(draw(*arguments))  # type: ignore[arg-type]
    return capture.get()


def test_a_board_is_readable() -> None:
    board = Board.parse("2x3x2")
    assert drawn(board, board.encode("X.O..."), 0) == (
        "┌───┬───┬───┐\n│ X │ 2 │ O │\n├───┼───┼───┤\n│ 4 │ 5 │ 6 │\n└───┴───┴───┘\n"
    )
    text = drawn(board, board.encode("X.O..."), 0, {1: 1.0, 3: -0.004, 4: -0.5, 5: 0.125})
    assert re.findall(r"[+-]?\d\.\d\d", text) == ["+1.00", "0.00", "-0.50", "+0.12"]
    narrow = drawn(board, board.encode("X.O..."), 0, {1: 1.0, 3: -0.004, 4: -0.5, 5: 0.125}, width=10)
    assert narrow.split() == text.split()
    large = drawn(Board.parse("4x4x4"), 0, width=10).splitlines()
    assert large[-2] == "│ 13 │ 14 │ 15 │ 16 │"
    assert len({len(line) for line in large}) == 1


class Session:
    """The real program with somebody at its other end."""

    def __init__(self, results: Path, terminal: bool, *arguments: str) -> None:
        home = results.parent
        self.outer, inner = pty.openpty() if terminal else (-1, subprocess.PIPE)
        self.terminal = terminal
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "play", *arguments],
            cwd=home,
            env=clean_environment(home, TERM="xterm", COLUMNS="100"),
            stdin=inner,
            stdout=inner,
            stderr=inner if terminal else subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if terminal else None,  # makes Ctrl-C a signal
        )
        if terminal:
            os.close(inner)
        self.reading = self.outer if terminal else self.process.stdout.fileno()  # type: ignore[union-attr]
        self.writing = self.outer if terminal else self.process.stdin.fileno()  # type: ignore[union-attr]
        self.heard = ""

    def send(self, text: str) -> None:
        os.write(self.writing, text.encode())

    def answer(self, text: str, single_keys: bool = True) -> None:
        """Say something, with Enter where it takes one."""
        self.send(text if self.terminal and single_keys else text + "\n")

    def until(self, pattern: str, seconds: float = 60) -> str:
        """What is text up to and with the first match of a pattern."""
        end = time.monotonic() + seconds
        while (match := re.search(pattern, self.heard)) is None:
            ready, _, _ = select.select([self.reading], [], [], max(0, end - time.monotonic()))
            chunk = b""
            if ready:
                try:
                    chunk = os.read(self.reading, 65536)
                except OSError:  # a terminal whose program has ended
                    chunk = b""
            assert chunk, f"{pattern!r} did not come: {self.heard}"
            self.heard += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", chunk.decode(errors="replace")).replace("\r\n", "\n")
        text, self.heard = self.heard[: match.end()], self.heard[match.end() :]
        return text

    def end(self) -> int:
        return self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.terminal:
            os.close(self.outer)


@pytest.fixture
def session() -> Iterator[Callable[..., Session]]:
    started: list[Session] = []

    def start(results: Path, terminal: bool, *arguments: str) -> Session:
        started.append(Session(results, terminal, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


def play_a_game(session: Session, board: Board, seat: int, player: random.Random) -> int:
    """Play at random to the end of a game, and check what is told of it; its outcome for the player."""
    position = 0
    text = session.until(PROMPT)
    assert f"You are {'XO'[seat]}, the policy is {'OX'[seat]}; {board.k} in a row win." in text
    while True:
        for cell in re.findall(rf"^{'OX'[seat]} takes (\d+)\.$", text, flags=re.MULTILINE):
            assert int(cell) - 1 in board.legal_moves(position)
            position = board.play(position, int(cell) - 1)
        shown = re.findall(r"│([^\n]*)│", text)[-board.rows :]
        cells = [cell.strip() for row in shown for cell in row.split("│")]
        expected = [str(cell + 1) if mark == "." else mark for cell, mark in enumerate(board.decode(position))]
        if (outcome := board.outcome(position)) is not None:
            assert cells == expected
            result = outcome if seat == 0 else -outcome
            assert {1: "You win.", 0: "A draw.", -1: f"{'OX'[seat]} wins."}[result] in text
            assert f"Another game, with you as {'OX'[seat]}?" in text
            return result
        assert cells == expected
        move = player.choice(board.legal_moves(position))
        position = board.play(position, move)
        session.answer(str(move + 1), board.cells <= SINGLE_KEYS)
        text = session.until(PROMPT)


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("seat", [0, 1], ids=["as X", "as O"])
def test_games_from_both_seats(session: Callable[..., Session], searched: Path, terminal: bool, seat: int) -> None:
    run = session(searched, terminal, "small", "--as", "XO"[seat])
    player = random.Random(seat)
    for number in range(4):
        assert play_a_game(run, Board(), (seat + number) % 2, player) <= 0  # the winner plays optimally
        run.answer("y")
    run.until(PROMPT)
    run.answer("q")
    assert run.end() == 0


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_wrong_input_and_values(session: Callable[..., Session], searched: Path, terminal: bool) -> None:
    run = session(searched, terminal)
    run.until(PROMPT)
    for wrong in ("x", "0", "\x1b[A"):
        run.send(wrong if terminal else wrong + "\n")
        assert f"{wrong!r}: type one of 1 2 3 4 5 6 7 8 9 v q" in run.until(PROMPT)
    run.answer("5")
    text = run.until(PROMPT)
    taken = int(re.findall(r"O takes (\d)\.", text)[0])
    run.answer("5")
    assert "'5': type one of" in run.until(PROMPT)
    run.answer("v")
    text = run.until(PROMPT)
    values = [float(value) for value in re.findall(r"[+-]?\d\.\d\d", text)]
    position = Board().play(Board().play(0, 4), taken - 1)
    expected = values_for_opponent(winner_learner(Results.read(searched / "small")), position)
    assert values == pytest.approx(list(expected.values()), abs=0.0051)
    assert not psutil.Process(run.process.pid).children(recursive=True)  # no Ray
    run.answer("v")
    assert not re.findall(r"\d\.\d\d", run.until(PROMPT))
    run.answer("q")
    assert run.end() == 0


@pytest.mark.parametrize("way", ["q", "\x03", "\x04", "SIGTERM", "SIGHUP"], ids=["q", "Ctrl-C", "Ctrl-D", "SIGTERM", "SIGHUP"])
def test_leaving_restores_the_terminal(session: Callable[..., Session], searched: Path, way: str) -> None:
    run = session(searched, True)
    before = termios.tcgetattr(run.outer)
    run.until(PROMPT)
    playing = termios.tcgetattr(run.outer)
    assert playing != before
    run.process.send_signal(signal.SIGSTOP)  # as Ctrl-Z, after which the shell has the terminal as it likes it
    termios.tcsetattr(run.outer, termios.TCSANOW, before)
    run.process.send_signal(signal.SIGCONT)
    end = time.monotonic() + 20
    while termios.tcgetattr(run.outer) != playing:
        assert time.monotonic() < end
        time.sleep(0.01)
    run.send("5")
    run.until(PROMPT)
    if way.startswith("SIG"):
        run.process.send_signal(signal.Signals[way])
    else:
        run.send(way)
    assert run.end() == 0
    assert termios.tcgetattr(run.outer) == before
    with pytest.raises(AssertionError, match="did not come") as rest:
        run.until("never")
    assert "Traceback" not in str(rest.value)


def test_the_end_of_a_pipe_and_no_at_the_end_of_a_game(session: Callable[..., Session], searched: Path) -> None:
    run = session(searched, False)
    play_a_game(run, Board(), 0, random.Random(0))
    run.answer("n")
    assert run.end() == 0
    run = session(searched, False)
    run.until(PROMPT)
    run.process.stdin.close()  # type: ignore[union-attr]
    assert run.end() == 0


def test_a_terminal_that_is_gone_is_the_end_of_input(session: Callable[..., Session], searched: Path) -> None:
    run = session(searched, True)
    run.until(PROMPT)
    os.close(run.outer)
    run.terminal = False
    assert run.end() == 0


@pytest.mark.slow
def test_4x4x4(session: Callable[..., Session], joined: dict[str, str], tmp_path: Path) -> None:
    search(tmp_path, "--board", "4x4x4", "--num-samples", "1", "--seeds", "1", "--games", "410000", **joined)
    runs = [session(tmp_path / "results", terminal, "--as", "O") for terminal in (False, True)]  # side by side
    for seat in (1, 0):
        for run in runs:
            play_a_game(run, Board.parse("4x4x4"), seat, random.Random(1 - seat))
            run.send("y\n")
    for run in runs:
        run.until(PROMPT)
        run.send("v\n")
    for run in runs:
        run.until(PROMPT, 120)
        run.send("v\n")
        run.until(PROMPT)
        run.send("\x03" if run.terminal else "q\n")
        assert run.end() == 0
