"""Self-play games per second on one core: the compiled loop beside the same loop in C and in plain Python, and OpenSpiel's.

The loops in C and the compiled ones beside them walk the same graph of 3x3x3; each C loop must learn the same bits. The
loop in plain Python and OpenSpiel play and learn 3x3x3 with a state-action table without symmetries. The last rows show
4x4x4, and what checking costs. Repetitions alternate, so that a machine whose speed drifts slows all alike.
"""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import arguments, show, write
from tictactoe.core.evaluation import check, check_grid, curve_grid, train_and_check
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.experiment.replicates import warm_up

SOURCE = Path(__file__).with_name("loop.c")
LOOPS: dict[str, dict[str, Any]] = {
    "forward": {},
    "backward": {"replay": "backward"},
    "forward, epsilon .1": {"epsilon_start": 0.1, "epsilon_end": 0.1},
    "backward, epsilon .1": {"replay": "backward", "epsilon_start": 0.1, "epsilon_end": 0.1},
}
"""What is measured beside C, on symmetric afterstates."""
CHECKED = (
    ("3x3x3", 50_000, 40, "afterstate", True),
    ("3x3x3", 50_000, 40, "state-action", True),
    ("3x3x3", 50_000, 40, "afterstate", False),
    ("3x3x3", 50_000, 40, "state-action", False),
    ("3x3x3", 2_000, 400, "afterstate", True),
    ("4x4x4", 3_000_000, 1, "afterstate", True),
)
"""Where checks are measured beside training: board, budget, learners, table and symmetry."""


class Settings(ctypes.Structure):
    """`struct settings` of loop.c."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("alpha_start", "alpha_end", "alpha_decay", "gamma")),
        *((name, ctypes.c_double) for name in ("epsilon_start", "epsilon_end", "epsilon_decay")),
        ("negamax", ctypes.c_int32),
        ("backward", ctypes.c_int32),
    )


class Moves(ctypes.Structure):
    """`struct moves` of loop.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("outcome", "child", "first_node", "first_over", "first_edge", "entry")),
        ("cells", ctypes.c_uint64),
    )


class CLearner(QLearner):
    """The learner with its loop in C; `library` is loop.c, compiled."""

    def __init__(self, library: ctypes.CDLL, board: Board, hyperparameters: Hyperparameters, seed: int) -> None:
        super().__init__(board, hyperparameters, seed)
        self._train = library.train
        self._c_settings = Settings(*self.settings)
        graph = self.moves.graph
        arrays = graph.outcome, graph.child, graph.first_node, graph.first_over, graph.first_edge, self.moves.entry
        self._c_moves = Moves(*(array.ctypes.data for array in arrays), board.cells)

    def train(self, games: int) -> None:
        self._train(
            ctypes.c_int64(games), ctypes.c_int64(self.games), ctypes.byref(self._c_settings),
            ctypes.c_void_p(self.table.ctypes.data), ctypes.c_void_p(self.generator.ctypes.data), ctypes.byref(self._c_moves),
        )  # fmt: skip
        self.games += games


def c_library() -> ctypes.CDLL | None:
    """loop.c, compiled by gcc, None where there is none."""
    if shutil.which("gcc") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "loop.so")
        subprocess.run(["gcc", "-O3", "-shared", "-fPIC", str(SOURCE), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))


def beside_c(repetitions: int, games: int) -> list[dict[str, Any]]:
    """Games per second of each of `LOOPS`, compiled and in C; nothing where there is no gcc."""
    library = c_library()
    if library is None:
        print("no gcc")
        return []
    rows = []
    for name, options in LOOPS.items():
        hyperparameters = Hyperparameters(**options)
        ours, c = QLearner(Board(), hyperparameters, 0), CLearner(library, Board(), hyperparameters, 0)
        speeds: dict[QLearner, list[float]] = {ours: [], c: []}
        for repetition in range(repetitions + 1):
            for learner, values in speeds.items():
                began = time.process_time()
                learner.train(games)
                if repetition:  # the first one compiles
                    values.append(games / (time.process_time() - began))
        assert np.array_equal(ours.table, c.table) and np.array_equal(ours.generator, c.generator), name
        rows.append(
            {
                "loop": name,
                "games/s, compiled": median(speeds[ours]),
                "games/s, C": median(speeds[c]),
                "compiled/C": median(a / b for a, b in zip(speeds[ours], speeds[c], strict=True)),
            }
        )
    return rows


def compiled(board: str, **options: Any) -> Callable[[int], None]:
    learner = QLearner(Board.parse(board), Hyperparameters(**options), 0)
    learner.train(10)
    return learner.train


def plain_python() -> Callable[[int], None]:
    """The 2-ply loop of `learner.play` with lists instead of arrays; an edge is its move's entry."""
    learner = QLearner(Board(), Hyperparameters(table="state-action", symmetry=False), 0)
    graph = learner.moves.graph
    table, child, outcome = learner.table.tolist(), graph.child.tolist(), graph.outcome.tolist()
    edges = [graph.edges_of(node) for node in range(graph.nodes)]
    alpha, gamma = 0.9, 1.0

    def train(games: int) -> None:
        for _ in range(games):
            node = 0
            played: list[int] = []
            while edges[node]:
                best, tied = -9.0, []
                for edge in edges[node]:
                    value = table[edge]
                    if value > best:
                        best, tied = value, [edge]
                    elif value == best:
                        tied.append(edge)
                if len(played) >= 2:
                    table[played[-2]] += alpha * (gamma * best - table[played[-2]])
                edge = tied[0] if len(tied) == 1 else random.choice(tied)
                played.append(edge)
                node = child[edge]
            result = abs(outcome[node])
            for at, target in ((-1, result), (-2, -result)):
                table[played[at]] += alpha * (target - table[played[at]])

    return train


def openspiel() -> Callable[[int], None]:
    """OpenSpiel's Python tabular Q-learner (open_spiel.python.algorithms.tabular_qlearner) in self-play."""
    from open_spiel.python import rl_environment
    from open_spiel.python.algorithms import tabular_qlearner

    environment = rl_environment.Environment("tic_tac_toe")
    agents = [tabular_qlearner.QLearner(player_id=p, num_actions=9, step_size=0.9) for p in (0, 1)]

    def train(games: int) -> None:
        for _ in range(games):
            step = environment.reset()
            while not step.last():
                action = agents[step.observations["current_player"]].step(step).action
                step = environment.step([action])
            for agent in agents:
                agent.step(step)

    return train


def checks(board: str, budget: int, learners: int, **options: Any) -> list[dict[str, Any]]:
    """What the checks of a learner that plays its whole budget cost beside its training, by the medians of several learners."""
    warm_up(board)
    grid = check_grid(Board.parse(board), budget)
    full = curve_grid(grid)
    seconds = []
    for seed in range(learners):
        alone, checked = (QLearner(Board.parse(board), Hyperparameters(**options), seed) for _ in range(2))
        training = checking = curve = 0.0
        for before, point in pairwise([0, *full]):
            began = time.perf_counter()
            alone.train(point - before)
            trained = time.perf_counter()
            train_and_check(checked, [games for games in grid if before < games <= point], None)
            ended = time.perf_counter()
            check(checked)
            curve += time.perf_counter() - ended
            checking += ended - trained
            training += trained - began
        seconds.append((training, checking - training, curve))
    training, optimality, curve = np.median(seconds, axis=0)
    return [
        {
            "board": board,
            "table": options["table"] + (", symmetric" if options["symmetry"] else ""),
            "games": budget,
            "checks": name,
            "number": number,
            "ms each": 1e3 * spent / number,
            "checks/training": spent / training,
        }
        for name, number, spent in (
            ("optimality", len(grid), optimality),
            ("full, for a learning curve", len(full), curve),
            ("both", len(grid) + len(full), optimality + curve),
        )
    ]


def main() -> None:
    options = arguments(__doc__, repetitions=5)
    in_c = beside_c(4 * options.repetitions, 200_000)
    tables = [show(f"3x3x3 beside the same loop in C, medians of {4 * options.repetitions}", in_c)] if in_c else []
    programs: dict[str, tuple[Callable[[int], None], int]] = {
        "compiled, state-action": (compiled("3x3x3", table="state-action", symmetry=False), 1_000_000),
        "plain Python, state-action": (plain_python(), 20_000),
        "OpenSpiel tabular_qlearner": (openspiel(), 1_000),
        "compiled, symmetric afterstates": (compiled("3x3x3"), 1_000_000),
        "compiled, backward replay": (compiled("3x3x3", replay="backward"), 1_000_000),
        "compiled, 4x4x4 symmetric afterstates": (compiled("4x4x4"), 200_000),
    }
    speeds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(options.repetitions):
        for name, (train, games) in programs.items():
            began = time.perf_counter()
            train(games)
            speeds[name].append(games / (time.perf_counter() - began))
    first = speeds["compiled, state-action"]
    rows = [
        {
            "learner": name,
            "games/s": median(values),
            "times faster is the first": median(a / b for a, b in zip(first, values, strict=True)),
        }
        for name, values in speeds.items()
    ]
    learners = show(f"Self-play on one core, medians of {options.repetitions}", rows)
    beside = [
        row
        for board, games, seeds, table, symmetry in CHECKED
        for row in checks(board, games, seeds, table=table, symmetry=symmetry)
    ]
    write(options.json, *tables, learners, show("What checks cost beside training", beside))


if __name__ == "__main__":
    main()
