"""Tabular Q-learning by self-play, as a pure function of (hyperparameters, seed, number of games).

Both players share one table. What an entry of the table stands for is data (see `table.Entries`), so that one loop
serves plain state-action tables, afterstate tables, and both of them up to the board's symmetries.

The update is Watkins' Q-learning (Watkins & Dayan, 1992, Machine Learning 8:279-292). With the "2-ply"
bootstrap each player learns as if alone, from its own move to its own next move (independent learners; Tan,
1993, ICML). With the "negamax" bootstrap the value of a move is minus the value of the opponent's best reply
(Littman, 1994, ICML, for games of perfect information). Afterstates: Sutton & Barto, Reinforcement Learning,
2nd edition, section 6.8.

Only additions, multiplications, divisions and comparisons of IEEE doubles decide the result, in a fixed
order, so every machine computes the same bits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

import numba
import numpy as np

from tictactoe.core.game import LANES, Board, is_win
from tictactoe.core.table import entries, entry_of


@dataclass(frozen=True)
class Hyperparameters:
    """What defines a learner. Raises ValueError, naming the field, for values out of range."""

    alpha_start: float = 0.9
    """Learning rate of the first game, in (0, 1]."""
    alpha_end: float = 0.9
    """Learning rate reached after `alpha_decay` games, in (0, 1]."""
    alpha_decay: float = 1.0
    """Games over which the learning rate moves linearly from start to end, at least 1."""
    gamma: float = 1.0
    """Discount factor per own move ("2-ply") or per move ("negamax"), in [0, 1]."""
    epsilon_start: float = 0.0
    """Probability of a uniformly random move in the first game, in [0, 1]."""
    epsilon_end: float = 0.0
    """Exploration probability reached after `epsilon_decay` games, in [0, 1]."""
    epsilon_decay: float = 1.0
    """Games over which exploration moves linearly from start to end, at least 1."""
    q_init: float = 0.05
    """Initial value of every entry, in [-2, 2]; above 0 is optimistic, since a draw is worth 0."""
    bootstrap: Literal["2-ply", "negamax"] = "2-ply"
    """Where a target looks: the mover's own next position, or the opponent's reply with its sign turned."""
    replay: Literal["forward", "backward"] = "forward"
    """Order of a game's updates: as they are played, or from the last move to the first after the game."""
    table: Literal["state-action", "afterstate"] = "afterstate"
    """One entry for each (position, move), or one for each position that a move leads to."""
    symmetry: bool = True
    """Share one entry among moves that a rotation or reflection of the board maps onto each other."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value, hint = getattr(self, field.name), hints[field.name]
            if hint is float:
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                    raise ValueError(f"{field.name} must be a finite number, not {value!r}")
                object.__setattr__(self, field.name, float(value))
            elif hint is bool:
                if not isinstance(value, bool):
                    raise ValueError(f"{field.name} must be true or false, not {value!r}")
            elif value not in get_args(hint):
                raise ValueError(f"{field.name} must be one of {', '.join(get_args(hint))}, not {value!r}")
        for name, low, high in (
            ("alpha_start", 0.0, 1.0),
            ("alpha_end", 0.0, 1.0),
            ("gamma", 0.0, 1.0),
            ("epsilon_start", 0.0, 1.0),
            ("epsilon_end", 0.0, 1.0),
            ("q_init", -2.0, 2.0),
            ("alpha_decay", 1.0, math.inf),
            ("epsilon_decay", 1.0, math.inf),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie in [{low:g}, {high:g}], not {getattr(self, name):g}")
        for name in ("alpha_start", "alpha_end"):
            if getattr(self, name) == 0.0:
                raise ValueError(f"{name} must be above 0")

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON types."""
        return asdict(self)


class _Settings(NamedTuple):
    """Hyperparameters as the kernel reads them."""

    alpha_start: float
    alpha_end: float
    alpha_decay: float
    gamma: float
    epsilon_start: float
    epsilon_end: float
    epsilon_decay: float
    negamax: bool
    backward: bool


class QLearner:
    """One table, trained game by game.

    `train(a); train(b)` equals `train(a + b)` bit for bit. `seed` is an int or a `numpy.random.SeedSequence`.
    """

    def __init__(self, board: Board, hyperparameters: Hyperparameters, seed: int | np.random.SeedSequence) -> None:
        if not isinstance(seed, np.random.SeedSequence):
            seed = np.random.SeedSequence(seed)
        h = hyperparameters
        self.board = board
        self.hyperparameters = h
        self.entries = entries(board, h.table, h.symmetry)
        self.table = np.full(self.entries.size, h.q_init)
        """float64 (entries,): value of each entry to the player who makes the move."""
        self.games = 0
        """Games played so far."""
        self.generator = seed.generate_state(4, np.uint64)
        """State of the xoshiro256++ generator, uint64 (4,)."""
        self._settings = _Settings(
            h.alpha_start,
            h.alpha_end,
            h.alpha_decay,
            h.gamma,
            h.epsilon_start,
            h.epsilon_end,
            h.epsilon_decay,
            h.bootstrap == "negamax",
            h.replay == "backward",
        )

    def train(self, games: int) -> None:
        """Play `games` more games of self-play, learning from each."""
        _train(games, self.games, self._settings, self.table, self.generator, self.board.cells, self.board.wins, self.entries)
        self.games += games

    def state(self) -> dict[str, Any]:
        """Everything that `train` changes, as arrays and ints; `restore` takes it back."""
        return {"table": self.table.copy(), "generator": self.generator.copy(), "games": self.games}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`. Raises ValueError when it belongs to a table of another size."""
        if np.shape(state["table"]) != self.table.shape:
            raise ValueError(f"a state of {np.shape(state['table'])} entries does not fit a table of {self.table.shape}")
        self.table[:] = state["table"]
        self.generator[:] = state["generator"]
        self.games = int(state["games"])


@numba.njit(inline="always")
def _random_bits(state):
    """Next 64 bits of xoshiro256++ (Blackman & Vigna, 2021, ACM TOMS 47:36)."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    total = s0 + s3
    result = ((total << np.uint64(23)) | (total >> np.uint64(41))) + s0
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3
    return result


@numba.njit(inline="always")
def _scheduled(start, end, decay, game):
    if game >= decay:
        return end
    return start + (end - start) * (game / decay)


@numba.njit(inline="always")
def _best_value(table, direct, lookup, words, ranks, scale, weight, codes, digit, empty, count):
    best = -np.inf
    for i in range(count):
        best = max(best, table[entry_of(direct, lookup, words, ranks, scale, weight, codes, digit, empty[i])])
    return best


@numba.njit(cache=True, nogil=True)
def _train(games, first_game, settings, table, generator, cells, wins, entries):
    direct, lookup, words, ranks = entries.direct, entries.lookup, entries.words, entries.ranks
    scale, weight, step = entries.scale, entries.weight, entries.step
    lanes = 1 if direct else LANES
    sign = -1.0 if settings.negamax else 1.0
    ahead = 1 if settings.negamax else 2
    codes = np.zeros(LANES, dtype=np.int64)
    # Indices are unsigned: a signed one costs a test for counting from the end of the array, Python's way.
    empty = np.empty(cells, dtype=np.uint64)  # the empty cells, in its first `cells - ply` places
    place = np.empty(cells, dtype=np.int64)  # where in `empty` the move of each ply stood
    tied = np.empty(cells, dtype=np.int64)
    played = np.empty(cells, dtype=np.uint64)  # entry of the move of each ply
    best_of = np.empty(cells + 2)  # value of the best move at each ply
    sides = np.empty(2, dtype=np.int64)
    low32 = np.uint64(0xFFFFFFFF)

    for game in range(first_game, first_game + games):
        alpha = _scheduled(settings.alpha_start, settings.alpha_end, settings.alpha_decay, game)
        epsilon = _scheduled(settings.epsilon_start, settings.epsilon_end, settings.epsilon_decay, game)
        explore_below = np.uint64(epsilon * 4294967296.0)
        codes[:] = 0
        sides[:] = 0
        for cell in range(cells):
            empty[cell] = np.uint64(cell)
        ply = 0
        result = 0.0
        while True:
            digit = np.uint64(ply & 1)
            count = cells - ply
            best = -np.inf
            ties = 0
            for i in range(count):
                value = table[entry_of(direct, lookup, words, ranks, scale, weight, codes, digit, empty[i])]
                if value > best:
                    best = value
                    ties = 0
                if value == best:
                    tied[ties] = i
                    ties += 1
            best_of[ply] = best
            if not settings.backward and ply >= ahead:
                entry = played[ply - ahead]
                table[entry] += alpha * (sign * settings.gamma * best - table[entry])
            chosen = tied[0]
            if ties > 1 or explore_below > np.uint64(0):
                bits = _random_bits(generator)
                low = bits & low32
                if (bits >> np.uint64(32)) < explore_below:
                    chosen = np.int64((low * np.uint64(count)) >> np.uint64(32))
                else:
                    chosen = tied[np.int64((low * np.uint64(ties)) >> np.uint64(32))]
            move = empty[chosen]
            played[ply] = entry_of(direct, lookup, words, ranks, scale, weight, codes, digit, move)
            place[ply] = chosen
            empty[chosen] = empty[count - 1]
            empty[count - 1] = move
            for lane in range(lanes):
                codes[lane] += step[digit, move, lane]
            sides[digit] |= np.int64(1) << np.int64(move)
            ply += 1
            if is_win(wins, sides[digit]):
                result = 1.0
                break
            if ply == cells:
                break

        if not settings.backward:
            for last in range(max(0, ply - ahead), ply):
                entry = played[last]
                target = result if last == ply - 1 else -result
                table[entry] += alpha * (target - table[entry])
            continue
        # Backward: before move `at` is updated, `codes` and `empty` are taken back to the position it was
        # played in. The best value of a later position changed only if its own move's entry did.
        for at in range(ply - 1, -1, -1):
            digit = np.uint64(at & 1)
            count = cells - at
            move = empty[count - 1]
            empty[count - 1] = empty[place[at]]
            empty[place[at]] = move
            for lane in range(lanes):
                codes[lane] -= step[digit, move, lane]
            entry = played[at]
            old = table[entry]
            if at + ahead >= ply:
                target = result if at == ply - 1 else -result
            else:
                target = sign * settings.gamma * best_of[at + ahead]
            new = old + alpha * (target - old)
            table[entry] = new
            if new >= best_of[at]:
                best_of[at] = new
            elif old == best_of[at]:
                best_of[at] = _best_value(table, direct, lookup, words, ranks, scale, weight, codes, digit, empty, count)
