"""Fresh replicates that take long: saved, and with a bound. Ray is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import records as made
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment import block
from tictactoe.experiment.record import Task
from tictactoe.experiment.replicates import Replicates
from tictactoe.process.interrupt import Interrupt
from tictactoe.tuning import fresh
from tictactoe.tuning.search import startable
from tictactoe.tuning.trial import HUNG_SECONDS

TASK = Task("3x3x3", 2, 20_000, 0, Stream.FRESH)


def test_a_saved_block_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, state = block.play, tmp_path / "state.npz"
    whole = run(TASK, Hyperparameters(), str(state))[0]
    assert not state.exists()
    monkeypatch.setattr(block, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(block, "CHECKPOINT_SHARE", float("inf"))
    assert run(TASK, Hyperparameters(), str(state))[0] == whole
    saved = Replicates(TASK, Hyperparameters())
    assert saved.restore(state) is None and saved.played > 0  # what an interruption would have left
    assert run(TASK, Hyperparameters(), str(state))[0] == whole
    assert run(TASK, Hyperparameters(), str(tmp_path / "no such folder" / "state.npz"))[0] == whole
    state.write_bytes(b"damaged")
    assert run(TASK, Hyperparameters(), str(state))[0] == whole


def test_a_block_has_the_time_of_a_trial_of_its_size(tmp_path: Path) -> None:
    settings = made.settings(seeds=4, trial_timeout=10.0)
    replicates = fresh.FreshReplicates(settings, [made.record(3)], Interrupt(), tmp_path, print)
    for seeds, seconds in ((range(2), 10.0), (range(4), 10.0), (range(1, 9), 20.0)):
        replicates._require_in_time(0, seeds, seconds + HUNG_SECONDS)
        with pytest.raises(
            RuntimeError, match=r"trial_00003 took longer than --trial-timeout 10 s on fresh seeds; give it more"
        ):
            replicates._require_in_time(0, seeds, seconds + HUNG_SECONDS + 0.1)
    later = tmp_path / fresh.STATES / "fresh_trial_00003_4_4.npz"
    later.parent.mkdir()
    later.touch()
    assert replicates.run([], 0, 4) == []
    assert later.exists()  # of a look that was interrupted; the search comes back to it
    replicates = fresh.FreshReplicates(made.settings(), [made.record(3)], Interrupt(), tmp_path, print)
    replicates._require_in_time(0, range(2), 1e9)


@pytest.mark.parametrize(
    ("search", "missing", "number"),
    [("random", [*range(20)], 20), ("optuna", [*range(20)], 8), ("optuna", [3, 9, 10, 11, 12], 3), ("optuna", [19], 1)],
)
def test_how_many_trials_may_start_at_once(search: str, missing: list[int], number: int) -> None:
    assert startable(made.settings(search=search), missing) == number
