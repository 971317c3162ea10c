"""Ray Tune's controller, which forgets the trials that have ended, and gives free processes to those that have none."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import SearchGenerator
from ray.tune.utils.callback import _create_default_callbacks

from tests.support import records as made
from tests.support.actors import Tune, index
from tests.support.nodes import HOME, Listed, id_of
from tictactoe.experiment.journal import read_rounds
from tictactoe.experiment.rounds import Round
from tictactoe.tuning.algorithms import LaggedOptuna, RandomSearch, Study
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


def given(tune: Tune) -> list[int]:
    """The trials that processes have or are to have."""
    return [index(process) for process in tune.processes]


def test_a_free_process_takes_the_next_trial_that_has_none(tuned: Callable[..., Tune]) -> None:
    def first_ends_before_second_is_ready(kind: type[TuneController]) -> tuple[list[int], bool]:
        tune = tuned(Listed(made.settings()), 4, kind)
        assert given(tune) == [0, 1]
        tune.answer(0, "__ray_ready__")
        tune.end(0)
        return given(tune)[:2], tune.processes[1].ended

    assert first_ends_before_second_is_ready(Controller) == ([2, 1], False)
    assert first_ends_before_second_is_ready(TuneController) == ([1, 1], True)  # so nobody gets the process that comes


def test_a_node_that_joins_gets_work_before_its_first_process_is_ready(tuned: Callable[..., Tune]) -> None:
    nodes = Listed(made.settings(), cpus=1)
    tune = tuned(nodes, 8)
    tune.answer(0, "__ray_ready__")
    assert given(tune) == [0]
    nodes.join("10.0.0.2", CPU=2)
    tune.settle()
    assert given(tune) == [0, 1, 2]
    assert nodes.is_short  # trials wait
    assert [process.node for process in tune.processes] == [id_of(address) for address in (HOME, "10.0.0.2", "10.0.0.2")]
    for _ in range(3):
        tune.end(0)
        tune.answer(0, "reset", True)
    assert given(tune) == [5, 1, 2]
    tune.answer(1, "__ray_ready__")
    tune.end(1)
    assert given(tune) == [5, 6, 2]


def test_a_node_that_joins_gets_as_much_work_as_optunas_lag_allows(tuned: Callable[..., Tune]) -> None:
    nodes = Listed(made.settings(), cpus=1)
    tune = tuned(nodes, searcher=LaggedOptuna(Study(0, "3x3x3"), Round(9, 1, 100), 3, range(9), []))
    tune.answer(0, "__ray_ready__")
    assert given(tune) == [0]
    nodes.join("10.0.0.2", CPU=8)
    tune.settle()
    assert given(tune) == [0, 1, 2]  # what comes next depends on the first one's result


def test_a_trial_that_a_free_process_takes_wants_no_slot(tuned: Callable[..., Tune]) -> None:
    nodes = Listed(made.settings())
    tune = tuned(nodes, 2)
    for process in (0, 1):
        tune.answer(process, "__ray_ready__")
    nodes.is_short = False
    tune.end(0)
    tune.searcher.waiting.append(2)
    tune.settle()
    assert (given(tune), nodes.is_short) == ([2, 1], False)


def test_the_last_trials_take_free_processes_too(tuned: Callable[..., Tune]) -> None:
    """The searcher has nothing more by then."""
    tune = tuned(Listed(made.settings()), 6)
    tune.searcher.finished = True
    for process in (0, 1):
        tune.answer(process, "__ray_ready__")
    for _ in range(2):
        for process in (0, 1):
            tune.end(process)
            tune.answer(process, "reset", True)
    assert given(tune) == [4, 5]
    for process in (0, 1):
        tune.end(process)
    assert len(tune.processes) == 2
    assert tune.controller.is_finished()


def test_processes_are_kept_while_nothing_is_to_be_run(tuned: Callable[..., Tune]) -> None:
    nodes = Listed(made.settings())
    tune = tuned(nodes, 2)
    for process in (0, 1):
        tune.answer(process, "__ray_ready__")
    tune.end(0)
    tune.searcher.waiting = [2, 3]  # the next round
    tune.end(1)
    for process in (0, 1):
        tune.answer(process, "reset", True)
    assert sorted(given(tune)) == [2, 3]
    assert tune.searcher.suggest("") is None
    tune.searcher.finished = True
    for process in (0, 1):
        tune.end(process)
    tune.controller.cleanup()
    assert len(tune.processes) == 2 and all(process.ended for process in tune.processes)
    assert nodes.free == nodes.slots == 2


@pytest.mark.slow
def test_processes_are_kept_from_round_to_round(
    finish: Callable[..., tuple[int, str, str]], joined: dict[str, str], tmp_path: Path
) -> None:
    """While a round's last trial runs, nobody waits for the other process; to start it again would take seconds."""
    assert finish("--num-samples", "24", "--seeds", "8", "--games", "20000", "--num-cpus", "2", **joined)[0] == 0
    (journal,) = (tmp_path / "results").glob("*/journal.jsonl")
    records, _ = read_rounds(journal.parent)
    workers = [{record.worker for record in records if record.round == number} for number in (0, 1)]
    assert len(workers[0]) == len(workers[1]) == len(workers[0] | workers[1]) == 2
