"""Ray Tune's part of a search, played in this process: real learners, batches by turns, processes that are lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ray.tune.search import Searcher

from tests.support.nodes import Listed
from tictactoe.experiment.record import Task
from tictactoe.experiment.results import Outcome
from tictactoe.experiment.rounds import Standing
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning import controller, search
from tictactoe.tuning.relay import Relay
from tictactoe.tuning.trial import AGAIN, Execution, QLearningTrial


class Running:
    """One of Tune's trials, and the process that runs it."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.trial_id, self.config = name, config
        self.last_result: dict[str, Any] = {}
        self.process = QLearningTrial(config)

    def get_pickled_error(self) -> Exception | None:
        return RuntimeError("The actor died.")


class OneProcess:
    """In the place of `tune.Tuner`, with as many trials that end as it is given before its time is up."""

    def __init__(self, slots: int, chance: Random, ends: float, losses: float) -> None:
        self.slots, self.chance, self.ends, self.losses = slots, chance, ends, losses

    def tuner(
        self, settings: Settings, folder: Path, execution: Execution, searcher: Searcher, before: Standing, relay: Relay
    ) -> OneProcess:
        """As `search._tuner`."""
        task = Task(settings.board, settings.seeds, settings.games, settings.seed)
        self._space = {"task": asdict(task), "execution": asdict(replace(execution, home=""))}
        self._searcher, self._relay = searcher, relay
        return self

    def fit(self) -> None:
        """As `tune.Tuner.fit`."""
        running, names = list[Running](), (f"batch {number}" for number in count())
        while True:
            while len(running) < self.slots:
                name = next(names)
                following: Any = self._searcher.suggest(name)
                if following is None or following == Searcher.FINISHED:
                    break
                running.append(Running(name, self._space | following))
                self._relay.on_trial_start(0, running, running[-1])
            if not running or self.ends <= 0:
                return
            self._go_on(running, self.chance.choice(running))

    def _go_on(self, running: list[Running], batch: Running) -> None:
        result = dict(batch.process.train())  # type: ignore[no-untyped-call]
        if self.chance.random() < self.losses:  # nobody hears of it
            batch.config[AGAIN] = True
            batch.process = QLearningTrial(batch.config)
            self._relay.on_trial_recover(0, running, batch)
            self._relay.on_trial_start(0, running, batch)
            return
        self.ends -= sum(report.final for report in result["reports"])
        batch.last_result = result
        self._relay.on_trial_result(0, running, batch, result)
        if result["done"]:
            running.remove(batch)
            self._searcher.on_trial_complete(batch.trial_id, result)
            self._relay.on_trial_complete(0, running, batch)


def run(
    settings: Settings,
    folder: Path,
    slots: int = 1,
    chance: Random | None = None,
    ends: float = float("inf"),
    losses: float = 0.0,
    observers: Sequence[Any] = (),
) -> Outcome | None:
    """`search.run`, with Ray left out."""
    tune = OneProcess(slots, chance or Random(0), ends, losses)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_tuner", tune.tuner)
        patch.setattr(controller, "use", lambda _: None)
        return search.run(settings, folder, Interrupt(), observers, Listed(settings, cpus=slots))
