"""The states of unfinished trials: on the disk of the head's node, to which processes on other nodes send theirs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import ray
from ray.util.metrics import Counter
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tictactoe import files
from tictactoe.text import reason

if TYPE_CHECKING:
    from tictactoe.experiment.replicates import Replicates

MOST_MIB = 8
"""What is larger, when it is packed, is not sent: the head has room in its memory for some of them at a time."""
METRIC = "tictactoe_state_sent_bytes", "Packed states of unfinished trials that this node has sent to the head"
"""Name and meaning of what each node counts."""
FETCH_SECONDS = 60.0
"""How long the head may take to hand out a state. A trial that gets none starts over."""


def on(node: str) -> NodeAffinitySchedulingStrategy:
    """Where Ray is to run something: on the node of this id, and nowhere else."""
    return NodeAffinitySchedulingStrategy(node, soft=False)


class States:
    """Saves and loads the states of one process's trials; `home` is the id of the head's node, empty for this one.

    On the head's node they are files. From elsewhere they go there in the background, one at a time: while one is on its way,
    the next is left out.
    """

    def __init__(self, home: str) -> None:
        self._home = home
        self.here = not home or ray.get_runtime_context().get_node_id() == home
        self._sent: ray.ObjectRef[None] | None = None
        self._too_large: Path | None = None
        """The state that was found to be so: of the trial that runs, or of an earlier one. It only grows."""
        self._bytes = None if self.here else Counter(*METRIC)

    def save(self, replicates: Replicates, path: Path, attempt: str = "") -> str | None:
        """Save what they have learned; returns what is worth telling of it. Raises OSError where the disk is here, and full."""
        if self.here:
            replicates.save(path, attempt)
            return None
        problem = None
        if self._sent is not None:
            if not ray.wait([self._sent], timeout=0)[0]:
                return None
            try:
                ray.get(self._sent)
            except ray.exceptions.RayError as error:  # a full disk, most likely
                problem = f"could not be saved: {reason(error, slice(-1, None))}"
            self._sent = None
        if path == self._too_large:
            return problem
        content = _Bounded()
        try:
            replicates.write(content, attempt, packed=True)
        except _TooLargeError:
            self._too_large = path
            lost = "if its process or node is lost, or the search stops, it starts over, or goes on from a smaller one"
            return f"its state of more than {MOST_MIB} MiB is not saved: {lost}"
        task = ray.remote(keep).options(num_cpus=0, scheduling_strategy=on(self._home))
        self._sent = task.remote(str(path), replicates.played, content.getvalue())
        if self._bytes:
            self._bytes.inc(content.tell())
        return problem

    def load(self, path: Path) -> Path | BinaryIO | None:
        """A saved state, as `Replicates.restore` takes it; None where there is none."""
        if self.here:
            return path if path.exists() else None
        content = self.read(path)
        return io.BytesIO(content) if content else None

    def read(self, path: Path) -> bytes:
        """The content of a file on the head's node; nothing where it cannot be had."""
        if self.here:
            return fetch(str(path))
        try:
            task = ray.remote(fetch).options(num_cpus=0, scheduling_strategy=on(self._home))
            return ray.get(task.remote(str(path)), timeout=FETCH_SECONDS)
        except ray.exceptions.RayError:
            return b""


class _TooLargeError(Exception):
    """More than may be sent."""


class _Bounded(io.BytesIO):
    """A file in memory that refuses to become too large."""

    def write(self, data: object, /) -> int:
        written = super().write(data)  # type: ignore[arg-type]
        if self.tell() > MOST_MIB * 2**20:
            raise _TooLargeError
        return written


def keep(path: str, games: int, content: bytes) -> None:
    """Write a state that has come from another node, unless one with as many games is there. Runs on the head's node."""
    if games_in(Path(path)) < games:
        files.write(Path(path), content)


def fetch(path: str) -> bytes:
    """The content of a file; nothing where it cannot be read. Runs on the head's node."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def games_in(path: Path) -> int:
    """How many games a saved state has behind it; -1 where there is none that can be read."""
    try:
        with np.load(path) as saved:
            return sum(json.loads(str(saved["facts"]))["games"])
    except Exception:  # a damaged file can raise nearly anything
        return -1
