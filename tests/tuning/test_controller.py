"""Ray Tune's controller, which forgets the trials that have ended."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import SearchGenerator
from ray.tune.utils.callback import _create_default_callbacks

from tests.support import records as made
from tests.support.nodes import Listed
from tictactoe.experiment.journal import read_rounds
from tictactoe.experiment.rounds import Round
from tictactoe.tuning.algorithms import RandomSearch
from tictactoe.tuning.controller import Controller, NoProgress


@pytest.fixture
def controller(tmp_path: Path) -> Any:
    storage = StorageContext(str(tmp_path), "tune")
    nodes = Listed(made.settings())
    return Controller(nodes, search_alg=SearchGenerator(RandomSearch(Round(1, 1, 100), [])), storage=storage)


def test_only_trials_that_have_ended_are_forgotten(controller: Any) -> None:
    trials = [Trial("QLearningTrial", stub=True, trial_id=f"t{number}") for number in range(5)]
    for trial in trials:
        controller.add_trial(trial)
    for trial, status in zip(trials, (Trial.TERMINATED, Trial.ERROR, Trial.RUNNING, Trial.TERMINATED), strict=False):
        controller._set_trial_status(trial, status)
    controller._trial_to_actor[trials[3]] = "an actor that is not given back yet"
    controller.on_step_end()
    assert controller.get_trials() == trials[2:]
    assert set(controller._trials_to_cache) == set(trials[2:])
    assert (controller._stopped_trials, controller._failed_trials) == ({trials[3]}, set())
    del controller._trial_to_actor[trials[3]]
    controller.on_step_end()
    assert controller.get_trials() == [trials[2], trials[4]]
    assert controller.get_live_trials() == {trials[2], trials[4]}


def test_no_callback_of_tunes_own_keeps_trials(capsys: pytest.CaptureFixture[str]) -> None:
    (callback,) = [one for one in _create_default_callbacks([NoProgress()]) if isinstance(one, TrialProgressCallback)]
    trial = Trial("QLearningTrial", stub=True)
    for hears in (callback.on_trial_result, callback.on_trial_complete):
        hears(iteration=1, trials=[trial], trial=trial, result={"done": True})
    callback.on_trial_error(iteration=1, trials=[trial], trial=trial)
    alive = weakref.ref(trial)
    del trial
    gc.collect()
    assert alive() is None
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_processes_are_kept_from_round_to_round(finish: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """While a round's last trial runs, nobody waits for the other process; to start it again would take seconds."""
    assert finish("--num-samples", "24", "--seeds", "8", "--games", "20000", "--num-cpus", "2")[0] == 0
    (journal,) = (tmp_path / "results").glob("*/journal.jsonl")
    records, _ = read_rounds(journal.parent)
    workers = [{record.worker for record in records if record.round == number} for number in (0, 1)]
    assert len(workers[0]) == len(workers[1]) == len(workers[0] | workers[1]) == 2
