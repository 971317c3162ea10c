"""Said once: that Optuna's lag leaves slots free."""

from __future__ import annotations

from collections.abc import Callable

from tictactoe.experiment.observer import Observer
from tictactoe.experiment.rounds import Standing, lags
from tictactoe.settings import Settings
from tictactoe.text import count


class LagNote(Observer):
    """Says so as soon as more trials could run at a time than `--lag` lets run; an observer of the search."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._over = not lags(settings)
        """Whether there is nothing to say, or nothing any more."""

    def search_started(self, before: Standing) -> None:
        """`--max-concurrent` may ask for more than there can be, whatever slots there are."""
        self.slots_changed(self._settings.max_concurrent or 0)

    def slots_changed(self, slots: int) -> None:
        lag = self._settings.lag
        if not self._over and min(slots, self._settings.num_samples) > lag:
            self._over = True
            self._say(f"note: at most {count(lag, 'trial')} can run at a time: --lag {lag}")
