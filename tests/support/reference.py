"""The learner once more, in plain Python with dictionaries: slow, and written to be compared with.

It knows positions and moves only; where the table is symmetric, each move is followed by the smallest image of what it
leads to, so that moves tie in the same order as in the graph of orbits.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters

MASK = (1 << 64) - 1


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> (64 - by)) & MASK


class Reference:
    """Tabular Q-learning by self-play; `table` maps an entry's description to its value."""

    def __init__(self, board: Board, hyperparameters: Hyperparameters, seed: int) -> None:
        self.board, self.h = board, hyperparameters
        self.state = [int(word) for word in np.random.SeedSequence(seed).generate_state(4, np.uint64)]
        self.table: dict[tuple[int, int], float] = defaultdict(lambda: hyperparameters.q_init)
        self.games = 0

    def bits(self) -> int:
        s = self.state
        result = (_rotate((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
        shifted = s[1] << 17 & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= shifted
        s[3] = _rotate(s[3], 45)
        return result

    def entry(self, code: int, move: int) -> tuple[int, int]:
        """Smallest (position, move), or (afterstate, 0), over the symmetries."""
        group = self.board.symmetries if self.h.symmetry else self.board.symmetries[:1]
        if self.h.table == "afterstate":
            return min((self.image(self.board.play(code, move), symmetry), 0) for symmetry in group)
        return min((self.image(code, symmetry), int(symmetry[move])) for symmetry in group)

    def image(self, code: int, symmetry: np.ndarray) -> int:
        return sum(code // 3**cell % 3 * 3 ** int(symmetry[cell]) for cell in range(self.board.cells))

    def best(self, code: int) -> float:
        return max(self.table[self.entry(code, move)] for move in self.board.legal_moves(code))

    def schedule(self, name: str) -> float:
        start, end, decay = (getattr(self.h, f"{name}_{part}") for part in ("start", "end", "decay"))
        return float(end if self.games >= decay else start + (end - start) * (self.games / decay))

    def update(self, entry: tuple[int, int], target: float) -> None:
        self.table[entry] += self.schedule("alpha") * (target - self.table[entry])

    def play_one(self) -> None:
        ahead, sign = (1, -1.0) if self.h.bootstrap == "negamax" else (2, 1.0)
        below = int(self.schedule("epsilon") * 4294967296.0)
        code, codes = 0, list[int]()
        played: list[tuple[int, int]] = []
        while self.board.outcome(code) is None:
            moves = self.board.legal_moves(code)  # in ascending order
            best = self.best(code)
            tied = [move for move in moves if self.table[self.entry(code, move)] == best]
            if self.h.replay == "forward" and len(played) >= ahead:
                self.update(played[-ahead], sign * self.h.gamma * best)
            move = tied[0]
            if len(tied) > 1 or below:
                bits = self.bits()
                choices = moves if bits >> 32 < below else tied
                move = choices[(bits & 0xFFFFFFFF) * len(choices) >> 32]
            codes.append(code)
            played.append(self.entry(code, move))
            code = self.board.play(code, move)
            if self.h.symmetry:
                code, _ = self.board.canonical(code)
        result = float(abs(self.board.outcome(code) or 0))
        last = len(played) - 1
        order = range(max(0, last + 1 - ahead), last + 1) if self.h.replay == "forward" else range(last, -1, -1)
        for at in order:
            if at + ahead > last:
                target = result if at == last else -result
            else:
                target = sign * self.h.gamma * self.best(codes[at + ahead])
            self.update(played[at], target)
        self.games += 1
