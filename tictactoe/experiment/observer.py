"""Who wants to hear of a search while it runs: progress, W&B, the race itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import Failure, Progress, Record
from tictactoe.experiment.rounds import Round


class Observer(Protocol):
    """What wants to hear of trials while the search runs. Called from the driver; must not block.

    Who inherits from it need not listen to all.
    """

    def search_started(self, records: Sequence[Record], failures: Sequence[Failure]) -> None:
        """The trials that earlier attempts have finished, and those that have failed and are not run again."""
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
