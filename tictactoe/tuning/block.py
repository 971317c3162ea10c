"""Replicates as one task: played to their end, and saved now and then.

A process for such tasks loads this file and what it imports. Ray Tune would take it a second more.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import GamesToOptimal, Task
from tictactoe.experiment.replicates import Replicates, warm_up
from tictactoe.tuning.states import States

CHECKPOINT_SECONDS = 5.0
"""Learners are saved about this often; what is shorter is cheaper to repeat than to save."""
CHECKPOINT_SHARE = 0.01
"""Of a process's time at most so much goes into saving: large tables are saved less often."""
_warm_up_once = cache(warm_up)
"""On a large board this takes a tenth of a second, and a process plays many blocks."""


class LateError(Exception):
    """Replicates take longer than they may."""


def save_pause(seconds: float = 0.0) -> float:
    """Seconds from a save that took so long to the next one; without it, from a start to the first one."""
    return max(CHECKPOINT_SECONDS, seconds / CHECKPOINT_SHARE)


def play(
    task: Task, config: Hyperparameters, home: str, state: str, saved: bool, seconds: float = math.inf
) -> tuple[GamesToOptimal, float]:
    """Games to optimal of a task's replicates, and the learner's CPU seconds.

    Long ones are saved in the file `state` on the node of the id `home`; `saved` tells whether one may be there already.
    Raises LateError where they take more `seconds`; the time in which a new process gets ready does not count.
    """
    _warm_up_once(task.board)
    end = time.monotonic() + seconds
    replicates, states = Replicates(task, config), States(home)
    if saved and (source := states.load(Path(state))) is not None:
        replicates.restore(source)
    pause = save_pause()
    while True:
        replicates.advance(min(time.monotonic() + pause, end), task.games)
        if replicates.finished:
            return tuple(replicates.games_to_optimal), replicates.learner_cpu_s
        began = time.monotonic()
        with suppress(OSError):  # it can still finish, it only cannot be resumed
            states.save(replicates, Path(state))
        if time.monotonic() > end:
            raise LateError(f"took longer than {seconds:g} s")
        pause = save_pause(time.monotonic() - began)
