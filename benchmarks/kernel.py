"""Self-play games per second on one core: the compiled loop, the same loop in plain Python, and OpenSpiel's learner.

All three play and learn 3x3x3 with a state-action table without symmetries; the last rows show other tables
of the compiled loop, and what checking costs. Repetitions alternate, so that a machine whose speed drifts
slows all alike.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.common import arguments, show, write
from tictactoe.core.evaluation import check, check_grid
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner


def compiled(board: str, **options: Any) -> Callable[[int], None]:
    learner = QLearner(Board.parse(board), Hyperparameters(**options), 0)
    learner.train(10)
    return learner.train


def plain_python() -> Callable[[int], None]:
    """The 2-ply loop of `learner._train` with lists instead of arrays."""
    learner = QLearner(Board(), Hyperparameters(table="state-action", symmetry=False), 0)
    table, lookup = learner.table.tolist(), learner.entries.lookup.tolist()
    lines = [sum(1 << cell for cell in line) for line in Board().lines]
    alpha, gamma, cells = 0.9, 1.0, 9
    powers = [3**cell for cell in range(cells)]

    def train(games: int) -> None:
        for _ in range(games):
            code, sides, played, empty = 0, [0, 0], [], list(range(cells))
            result = 0.0
            while True:
                mover = len(played) & 1
                best, tied = -9.0, []
                for move in empty:
                    value = table[lookup[cells * code + move]]
                    if value > best:
                        best, tied = value, [move]
                    elif value == best:
                        tied.append(move)
                if len(played) >= 2:
                    table[played[-2]] += alpha * (gamma * best - table[played[-2]])
                move = tied[0] if len(tied) == 1 else random.choice(tied)
                played.append(lookup[cells * code + move])
                empty.remove(move)
                code += (1 + mover) * powers[move]
                sides[mover] |= 1 << move
                if any(sides[mover] & line == line for line in lines):
                    result = 1.0
                    break
                if not empty:
                    break
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


def milliseconds(board: str, games: int) -> float:
    """Median time of a check during training."""
    learner = QLearner(Board.parse(board), Hyperparameters(), 0)
    learner.train(games)
    check(learner)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        check(learner)
        times.append(time.perf_counter() - began)
    return median(times) * 1000


def main() -> None:
    options = arguments(__doc__, repetitions=5)
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
    checks = []
    for board, name, budget in (
        ("3x3x3", "compiled, symmetric afterstates", 50_000),
        ("4x4x4", "compiled, 4x4x4 symmetric afterstates", 3_000_000),
    ):
        cost, number = milliseconds(board, budget), len(check_grid(Board.parse(board), budget))
        seconds = budget / median(speeds[name])
        checks.append(
            {
                "board": board,
                "games": budget,
                "ms/check": cost,
                "checks": number,
                "checks/training": number * cost / 1000 / seconds,
            }
        )
    write(options.json, learners, show("What checking costs beside training", checks))


if __name__ == "__main__":
    main()
