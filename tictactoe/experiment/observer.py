"""Who wants to hear of a search while it runs: progress, W&B, metrics, the race itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import Cause, Failure, NodeEvent, Progress, Record, Replay
from tictactoe.experiment.rounds import Round, Standing


class Observer(Protocol):
    """What wants to hear of trials while the search runs. Called from the driver; must not block.

    Who inherits from it need not listen to all.
    """

    def search_started(self, before: Standing) -> None:
        """How far earlier attempts have come. Failures that are run again are not among those it knows."""
        return

    def node_changed(self, event: NodeEvent) -> None:
        """A node has joined or was lost; at first those that are there before the first trial."""
        return

    def slots_changed(self, slots: int) -> None:
        """How many trials can run at a time from now on; told once before the first trial starts."""
        return

    def round_started(self, number: int, round: Round, of: int) -> None:
        """A round of a race begins, or goes on: the `number`th, counted from 0, of so many."""
        return

    def round_finished(self, number: int, records: Sequence[Record]) -> None:
        """All of a round of a race has ended; its records, best first."""
        return

    def trial_started(self, index: int, config: Hyperparameters) -> None:
        """It runs from now on; told again where it is run again."""
        return

    def trial_reported(self, index: int, progress: Progress, final: bool) -> None:
        return

    def trial_finished(self, record: Record) -> None:
        return

    def trial_failed(self, failure: Failure) -> None:
        return

    def trial_noted(self, index: int, text: str) -> None:
        """Something that the user should know of a trial."""
        return

    def trial_retried(self, index: int, cause: Cause) -> None:
        """A trial, or some of its fresh replicates, is to be run again, since what ran it was lost. Until then it waits."""
        return

    def replicates_finished(self, replay: Replay) -> None:
        """Some fresh replicates of a trial have ended."""
        return
