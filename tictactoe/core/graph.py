"""The game graph of a board: every position that can arise, or one for each orbit of them, and every move.

The learner walks it, and so does the evaluation. Which entry of a table a move belongs to is a number at its edge, so
that plain state-action tables, afterstate tables, and both of them up to the board's symmetries differ in nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tictactoe.core.compiled import inline, kernel
from tictactoe.core.game import Board


class Graph(NamedTuple):
    """Every reachable position of a board, or the smallest one of each orbit of its symmetries, and its moves.

    All nodes with the same number of marks are a level. First come those in which the game goes on, then those in which
    it is over, both ascending by code. The former have an edge for each empty cell, in ascending order, and edges lie in
    the order of their nodes, so that node n of level m has `cells - m` edges from
    `first_edge[m] + (n - first_node[m]) * (cells - m)` on. Edges of one node may lead to the same child in an orbit graph.

    Indices are unsigned: a signed one costs kernels a test for counting from the end of the array, Python's way.
    """

    codes: np.ndarray  # int32 (nodes,): the position
    outcome: np.ndarray  # int8 (nodes,): +1 X has won, -1 O has won, 0 draw or not over
    child: np.ndarray  # uint32 (edges,): the node that the edge leads to
    first_node: np.ndarray  # uint64 (cells + 2,): first node of each level; the last item is the number of nodes
    first_over: np.ndarray  # uint64 (cells + 1,): first node of each level in which the game is over
    first_edge: np.ndarray  # uint64 (cells + 1,): first edge of each level

    @property
    def nodes(self) -> int:
        return len(self.codes)

    @property
    def edges(self) -> int:
        return len(self.child)

    @property
    def cells(self) -> int:
        return len(self.first_over) - 1

    def ongoing(self, marks: int) -> slice:
        """The nodes of a level in which the game goes on."""
        return slice(int(self.first_node[marks]), int(self.first_over[marks]))

    def rows(self, by_edge: np.ndarray, marks: int) -> np.ndarray:
        """The part of an array (edges,) that belongs to `ongoing(marks)`, a view (nodes, cells - marks)."""
        nodes, first, degree = self.ongoing(marks), int(self.first_edge[marks]), self.cells - marks
        size = nodes.stop - nodes.start
        return by_edge[first : first + size * degree].reshape(size, degree)

    def edges_of(self, node: int) -> range:
        """The edges of one node."""
        marks = int(np.searchsorted(self.first_node, node, side="right")) - 1
        degree = self.cells - marks if node < self.first_over[marks] else 0
        first = int(self.first_edge[marks]) + (node - int(self.first_node[marks])) * (self.cells - marks)
        return range(first, first + degree)

    def find(self, codes: np.ndarray, marks: int) -> tuple[np.ndarray, np.ndarray]:
        """Which positions, int32 (n,), of the graph are not over, bool (n,), and the places of these in `ongoing(marks)`."""
        level = self.codes[self.ongoing(marks)]
        places = np.searchsorted(level, codes)
        ongoing = np.append(level, -1)[places] == codes
        return ongoing, places[ongoing]


class MoveGraph(NamedTuple):
    """A game graph whose edges know the table entry of their move."""

    graph: Graph
    entry: np.ndarray  # uint32 (edges,)
    entries: int  # entries of the table


@lru_cache(maxsize=4)
def graph(board: Board, symmetric: bool) -> Graph:
    """The game graph of a board: all reachable positions, or their orbits when `symmetric`."""
    images = 3 ** board.maps(symmetric)
    codes, outcomes, children = [], [], []
    first_node, first_over, first_edge = [0], [], [0]
    level, moved = np.zeros(1, dtype=np.int32), np.zeros(0, dtype=np.intp)  # ascending; place in it after each edge
    for marks in range(board.cells + 1):
        outcome, over = _outcomes(level, board.wins, board.cells)
        order = np.argsort(over, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        codes.append(level[order])
        outcomes.append(outcome[order])
        children.append((first_node[-1] + place[moved]).astype(np.uint32))
        ongoing = level[~over]
        after = _after(ongoing, 1 + marks % 2, images, board.cells - marks)
        first_node.append(first_node[-1] + len(level))
        first_over.append(first_node[-2] + len(ongoing))
        first_edge.append(first_edge[-1] + len(after))
        level = np.unique(after)
        moved = np.searchsorted(level, after)
    return Graph(
        codes=np.concatenate(codes),
        outcome=np.concatenate(outcomes),
        child=np.concatenate(children),
        first_node=np.array(first_node, dtype=np.uint64),
        first_over=np.array(first_over, dtype=np.uint64),
        first_edge=np.array(first_edge[:-1], dtype=np.uint64),
    )


@lru_cache(maxsize=8)
def move_graph(board: Board, table: str, symmetric: bool) -> MoveGraph:
    """The graph of a board and the entries of one kind of table, "afterstate" or "state-action".

    An afterstate is the child itself; nothing leads to entry 0, the empty board. Moves of an orbit's position share
    an entry if a symmetry that leaves the position as it is takes one to the other.
    """
    game = graph(board, symmetric)
    if table == "afterstate":
        return MoveGraph(game, game.child, game.nodes)
    if not symmetric:
        return MoveGraph(game, np.arange(game.edges, dtype=np.uint32), game.edges)
    return MoveGraph(game, *_shared_entries(game, board.symmetries, 3**board.symmetries))


def canonical(codes: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest image of each position, int32 (n,), and the first of `maps` (int32, (maps, cells)) that gives it.

    `Board.canonical` of many positions, int32 (n,), at once.
    """
    return _smallest(codes, 3**maps)


@inline
def _fill_image(image, code, images):
    """Set `image[m]` to the image of a position under each map; cell i has `images[m, i]` there, a power of 3."""
    maps, cells = images.shape
    image[:] = 0
    rest = code
    for cell in range(cells):
        for m in range(maps):
            image[m] += rest % 3 * images[m, cell]
        rest //= 3


@kernel
def _outcomes(codes, wins, cells):
    """Outcome (int8: +1, -1, 0) of each position, int32 (n,), and whether its game is over (bool).

    `wins` is `Board.wins`.
    """
    outcome = np.zeros(len(codes), dtype=np.int8)
    over = np.zeros(len(codes), dtype=np.bool_)
    for n in range(len(codes)):
        x = o = 0
        rest = codes[n]
        for cell in range(cells):
            digit = rest % 3
            rest //= 3
            x |= (digit == 1) << cell
            o |= (digit == 2) << cell
        if wins[x]:
            outcome[n] = 1
        elif wins[o]:
            outcome[n] = -1
        over[n] = outcome[n] != 0 or (x | o) == (1 << cells) - 1
    return outcome, over


@kernel
def _after(codes, digit, images, degree):
    """The smallest image of each position that one mark leads to, int32 (n * degree,).

    `codes` is int32 (n,), each with `degree` empty cells; `digit` is the mark; `images`, int32 (maps, cells), is 3**maps.
    """
    maps, cells = images.shape
    after = np.empty(len(codes) * degree, dtype=np.int32)
    image = np.empty(maps, dtype=np.int32)
    edge = 0
    for n in range(len(codes)):
        _fill_image(image, codes[n], images)
        rest = codes[n]
        for cell in range(cells):
            if rest % 3 == 0:
                smallest = image[0] + digit * images[0, cell]
                for m in range(1, maps):
                    smallest = min(smallest, image[m] + digit * images[m, cell])
                after[edge] = smallest
                edge += 1
            rest //= 3
    return after


@kernel
def _smallest(codes, images):
    """`canonical` of codes, int32 (n,); `images`, int32 (maps, cells), is 3**maps."""
    smallest = np.empty(len(codes), dtype=np.int32)
    which = np.empty(len(codes), dtype=np.intp)
    image = np.empty(len(images), dtype=np.int32)
    for n in range(len(codes)):
        _fill_image(image, codes[n], images)
        which[n] = np.argmin(image)
        smallest[n] = image[which[n]]
    return smallest, which


@kernel
def _shared_entries(game, maps, images):
    """Entry of each edge of an orbit graph's state-action table, uint32 (edges,), and the number of entries.

    `maps` and `images`, int32 (maps, cells), are the symmetries and 3**symmetries. Entries are numbered by their first
    edge. Moves that share one are represented by their smallest cell, which stands first among a node's edges.
    """
    codes = game.codes
    cells = maps.shape[1]
    entry = np.empty(len(game.child), dtype=np.uint32)
    image = np.empty(len(maps), dtype=np.int32)
    entry_of = np.empty(cells, dtype=np.uint32)  # of this node's moves, by cell
    edge = entries = 0
    for marks in range(cells):
        for node in range(game.first_node[marks], game.first_over[marks]):
            code = codes[node]
            _fill_image(image, code, images)
            rest = code
            for cell in range(cells):
                if rest % 3 == 0:
                    smallest = cell
                    for m in range(len(maps)):
                        if image[m] == code:
                            smallest = min(smallest, maps[m, cell])
                    if smallest == cell:
                        entry_of[cell] = entries
                        entries += 1
                    entry[edge] = entry_of[smallest]
                    edge += 1
                rest //= 3
    return entry, entries
