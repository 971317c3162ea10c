"""Tabular Q-learning by self-play, as a pure function of (hyperparameters, seed, number of games).

Both players share one table and walk one graph, whose edges know their table entries (see `graph.MoveGraph`).

The update is Watkins' Q-learning (Watkins & Dayan, 1992, Machine Learning 8:279-292). With the "2-ply"
bootstrap each player learns as if alone, from its own move to its own next move (independent learners; Tan,
1993, ICML). With the "negamax" bootstrap the value of a move is minus the value of the opponent's best reply
(Littman, 1994, ICML, for games of perfect information). Afterstates: Sutton & Barto, Reinforcement Learning,
2nd edition, section 6.8.

Only additions, multiplications, divisions and comparisons of IEEE doubles decide the result, in a fixed
order, so every machine computes the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tictactoe.core.compiled import inline, kernel
from tictactoe.core.game import Board
from tictactoe.core.graph import move_graph
from tictactoe.core.hyperparameters import Hyperparameters as Hyperparameters


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
        self.moves = move_graph(board, h.table, h.symmetry)
        self.table = np.full(self.moves.entries, h.q_init)
        """float64 (entries,): value of each entry to the player who makes the move."""
        self.games = 0
        """Games played so far."""
        self.generator = seed.generate_state(4, np.uint64)
        """State of the xoshiro256++ generator, uint64 (4,)."""
        self.settings = _Settings(
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
        """The hyperparameters, for the kernel."""

    def train(self, games: int) -> None:
        """Play `games` more games of self-play, learning from each."""
        play(games, self.games, self.settings, self.table, self.generator, self.moves)
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


@inline
def _random_bits(s0, s1, s2, s3):
    """Next 64 bits of xoshiro256++ (Blackman & Vigna, 2021, ACM TOMS 47:36), and its next state."""
    total = s0 + s3
    bits = ((total << np.uint64(23)) | (total >> np.uint64(41))) + s0
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    return bits, s0, s1, s2, s3


@inline
def _scheduled(start, end, decay, game):
    if game >= decay:
        return end
    return start + (end - start) * (game / decay)


@kernel
def play(games, first_game, settings, table, generator, moves):
    """Play and learn from `games` games, the first of which has the number `first_game`.

    Changes `table`, float64 (entries,), and `generator`, uint64 (4,). `settings` is a `QLearner`'s, `moves` the board's
    `MoveGraph`.
    """
    # Out of the tuples first: reading an array out of one in a loop costs more than the rest.
    child, outcome, entry = moves.graph.child, moves.graph.outcome, moves.entry
    first_node, first_over, first_edge = moves.graph.first_node, moves.graph.first_over, moves.graph.first_edge
    backward, gamma = settings.backward, settings.gamma
    sign, ahead = (-1.0, np.uint64(1)) if settings.negamax else (1.0, np.uint64(2))
    zero, one, half, low_half = np.uint64(0), np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)
    cells = np.uint64(len(first_over) - 1)
    value = np.empty(cells)  # of each move in this position
    tied = np.empty(cells, dtype=np.uint32)  # edges of the best moves
    played = np.empty(cells, dtype=np.uint32)  # entry of the move at each ply
    begin_at = np.empty(cells, dtype=np.uint32)  # first edge of the position at each ply
    best_at = np.empty(cells)  # value of the best move at each ply
    # Edges of node n at a ply begin at n * degree + offset[ply], modulo 2**64: in the loop one array less than the two
    # this is from, and so no more than there are registers for.
    offset = np.empty(cells, dtype=np.uint64)
    for marks in range(cells):
        offset[marks] = first_edge[marks] - first_node[marks] * (cells - marks)
    s0, s1, s2, s3 = generator[0], generator[1], generator[2], generator[3]

    for game in range(first_game, first_game + games):
        alpha = _scheduled(settings.alpha_start, settings.alpha_end, settings.alpha_decay, game)
        epsilon = _scheduled(settings.epsilon_start, settings.epsilon_end, settings.epsilon_decay, game)
        explore_below = np.uint64(epsilon * 4294967296.0)
        node = zero
        ply = zero
        while node < first_over[ply]:
            degree = cells - ply
            begin = node * degree + offset[ply]
            # Two passes without branches: which move is best can hardly be predicted.
            best = -np.inf
            for i in range(degree):
                this = table[entry[begin + i]]
                value[i] = this
                best = this if this > best else best
            ties = zero
            for i in range(degree):
                tied[ties] = begin + i
                ties += np.uint64(value[i] == best)
            begin_at[ply] = begin
            best_at[ply] = best
            if not backward and ply >= ahead:
                last = played[ply - ahead]
                table[last] += alpha * (sign * gamma * best - table[last])
            edge = np.uint64(tied[0])
            if ties > one or explore_below > zero:
                bits, s0, s1, s2, s3 = _random_bits(s0, s1, s2, s3)
                if bits >> half < explore_below:
                    edge = begin + ((bits & low_half) * degree >> half)
                else:
                    edge = np.uint64(tied[(bits & low_half) * ties >> half])
            played[ply] = entry[edge]
            node = np.uint64(child[edge])
            ply += one
        result = 1.0 if outcome[node] != 0 else 0.0  # for who moved last

        if not backward:
            for ending in range(ply - min(ply, ahead), ply):
                target = result if ending + one == ply else -result
                table[played[ending]] += alpha * (target - table[played[ending]])
            continue
        # The best value at a later ply has changed only if its own move's entry did.
        for back in range(ply):
            at = ply - one - back
            if at + ahead < ply:
                target = sign * gamma * best_at[at + ahead]
            elif at + one < ply:
                target = -result
            else:
                target = result
            old = table[played[at]]
            new = old + alpha * (target - old)
            table[played[at]] = new
            if new >= best_at[at]:
                best_at[at] = new
            elif old == best_at[at]:
                best = -np.inf
                for again in range(begin_at[at], begin_at[at] + (cells - at)):
                    best = max(best, table[entry[again]])
                best_at[at] = best
    generator[0], generator[1], generator[2], generator[3] = s0, s1, s2, s3
