"""Which entry of the Q-table a move belongs to.

Plain state-action tables, afterstate tables, and both of them up to the board's symmetries differ in nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from tictactoe.core.game import LANES, Board, is_win, pack_bits

_DIRECT_KEYS = 1 << 23  # up to here an array over all keys is faster than the ranked bit set, and small


class Entries(NamedTuple):
    """Which table entry a move belongs to.

    For lane s (a symmetry, or the identity) with position code c_s, marking cell a with digit d has the key
    `scale * c_s + weight[d - 1, a, s]`: the afterstate's code, or (code, move) as one number. The entry is
    the rank, among all keys that can arise, of the smallest key over the lanes.
    """

    size: int  # number of entries
    scale: int
    weight: np.ndarray  # int32 (2, cells, LANES)
    step: np.ndarray  # int32 (2, cells, LANES): what the mark adds to each lane's position code
    direct: bool  # read `lookup` with lane 0's key, else rank the smallest key in the bit set
    lookup: np.ndarray  # int32 (keys,) or (0,)
    words: np.ndarray  # uint64: bit set of the smallest keys, or (0,)
    ranks: np.ndarray  # int32: number of set bits before each word, or (0,)


@lru_cache(maxsize=8)
def entries(board: Board, table: str, symmetric: bool) -> Entries:
    """The `Entries` of a board for one kind of table."""
    lanes = board.lanes(symmetric)
    step = np.empty((2, board.cells, LANES), dtype=np.int32)
    for digit in (1, 2):
        step[digit - 1] = digit * 3 ** lanes.T.astype(np.int32)
    scale, weight, keys = 1, step, 3**board.cells
    if table == "state-action":
        scale, keys = board.cells, 3**board.cells * board.cells
        weight = np.broadcast_to(lanes.T, step.shape).astype(np.int32)
    used = np.zeros(keys, dtype=np.bool_)
    _mark_keys(used, board.cells, board.wins, step, weight, scale)
    words = pack_bits(used)
    ranks = np.concatenate([[0], np.cumsum(_popcounts(words))[:-1]]).astype(np.int32)
    size = int(used.sum())
    direct = keys <= _DIRECT_KEYS
    lookup = np.zeros(0, dtype=np.int32)
    if direct:
        lookup = np.zeros(keys, dtype=np.int32)
        _fill_lookup(lookup, board.cells, step, weight, scale, words, ranks)
        words, ranks = words[:0], ranks[:0]
    return Entries(size, scale, weight, step, direct, lookup, words, ranks)


@numba.njit(inline="always")
def _popcount(word):
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True)
def _popcounts(words):
    counts = np.empty(len(words), dtype=np.int64)
    for n in range(len(words)):
        counts[n] = _popcount(words[n])
    return counts


@numba.njit(inline="always")
def _smallest_key(codes, scale, weight, digit, move):
    smallest = scale * codes[0] + weight[digit, move, 0]
    for lane in range(1, LANES):
        smallest = min(smallest, scale * codes[lane] + weight[digit, move, lane])
    return smallest


@numba.njit(inline="always")
def _rank(words, ranks, key):
    word = words[key >> 6]
    below = word & ((np.uint64(1) << np.uint64(key & 63)) - np.uint64(1))
    return ranks[key >> 6] + _popcount(below)


@numba.njit(inline="always")
def entry_of(direct, lookup, words, ranks, scale, weight, codes, digit, move):
    """The entry of marking cell `move` with digit `digit + 1` in the position whose lanes are `codes`.

    Takes the fields of `Entries` one by one: reading an array out of a tuple in a loop costs more than the rest.
    """
    if direct:
        return np.uint64(lookup[np.uint64(scale * codes[0] + weight[digit, move, 0])])
    return np.uint64(_rank(words, ranks, _smallest_key(codes, scale, weight, digit, move)))


@numba.njit(cache=True)
def _mark_keys(used, cells, wins, step, weight, scale):
    """Set `used[key]` for the smallest key of every move of every position that can arise.

    Depth first over the moves; one position of each orbit is expanded.
    """
    codes = np.zeros(LANES, dtype=np.int64)
    moves = np.zeros(cells + 1, dtype=np.int64)
    x = o = 0
    marks = 0
    seen = np.zeros(3**cells, dtype=np.bool_)
    while True:
        move = moves[marks]
        if move == cells:
            if marks == 0:
                return
            moves[marks] = 0
            marks -= 1
            move = moves[marks]
            digit = marks & 1
            for lane in range(LANES):
                codes[lane] -= step[digit, move, lane]
            if digit == 0:
                x ^= 1 << move
            else:
                o ^= 1 << move
            moves[marks] += 1
            continue
        if (x | o) >> move & 1:
            moves[marks] += 1
            continue
        digit = marks & 1
        used[_smallest_key(codes, scale, weight, digit, move)] = True
        if digit == 0:
            x ^= 1 << move
        else:
            o ^= 1 << move
        smallest = codes[0] + step[digit, move, 0]
        for lane in range(1, LANES):
            smallest = min(smallest, codes[lane] + step[digit, move, lane])
        if seen[smallest] or is_win(wins, x if digit == 0 else o) or marks + 1 == cells:
            if digit == 0:
                x ^= 1 << move
            else:
                o ^= 1 << move
            moves[marks] += 1
            continue
        seen[smallest] = True
        for lane in range(LANES):
            codes[lane] += step[digit, move, lane]
        marks += 1
        moves[marks] = 0


@numba.njit(cache=True)
def _fill_lookup(lookup, cells, step, weight, scale, words, ranks):
    """`lookup[key]` = entry, for lane 0's key of each (position, move) whose smallest key is in the bit set."""
    codes = np.empty(LANES, dtype=np.int64)
    for code in range(3**cells):
        codes[:] = 0
        rest, x_marks, o_marks = code, 0, 0
        for cell in range(cells):
            digit = rest % 3
            rest //= 3
            if digit:
                x_marks += digit == 1
                o_marks += digit == 2
                for lane in range(LANES):
                    codes[lane] += step[digit - 1, cell, lane]
        if x_marks - o_marks not in (0, 1):
            continue
        mover = x_marks - o_marks
        rest = code
        for cell in range(cells):
            if rest % 3 == 0:
                key = _smallest_key(codes, scale, weight, mover, cell)
                if (words[key >> 6] >> np.uint64(key & 63)) & np.uint64(1):
                    lookup[scale * code + weight[mover, cell, 0]] = _rank(words, ranks, key)
            rest //= 3
