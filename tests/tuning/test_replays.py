"""Replicates on other seeds: their journal, and what takes long is saved, and has a bound. Ray is left out."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import NodeDiedError, TaskUnschedulableError

from tests.support import records as made
from tests.support.nodes import HOME, Listed, entry
from tests.support.tasks import HANGS, Tasks
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment import journal as journals
from tictactoe.experiment.record import Task
from tictactoe.experiment.replicates import Replicates
from tictactoe.process.interrupt import Interrupt
from tictactoe.tuning import block, replays
from tictactoe.tuning.replays import Replays
from tictactoe.tuning.states import States, keep
from tictactoe.tuning.trial import HUNG_SECONDS
from tictactoe.tuning.workers import SILENT_SECONDS

TASK = Task("3x3x3", 2, 20_000, 0, Stream.FRESH)
OTHER, THIRD = "10.0.0.2", "10.0.0.3"


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    """Blocks of one replicate of 2,000 games, all of them on the head's node as to their states."""
    monkeypatch.setattr(replays, "BLOCK_GAMES", 2_000)
    monkeypatch.setattr(block, "States", lambda home: States(""))
    stand_in = Tasks()
    monkeypatch.setattr(replays, "ray", stand_in)
    return stand_in


def test_a_saved_block_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, state = block.play, tmp_path / "state.npz"
    whole = run(TASK, Hyperparameters(), "", str(state), saved=False)[0]
    assert not state.exists()
    monkeypatch.setattr(block, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(block, "CHECKPOINT_SHARE", float("inf"))
    assert run(TASK, Hyperparameters(), "", str(state), saved=False)[0] == whole
    saved = Replicates(TASK, Hyperparameters())
    assert saved.restore(state) is None and saved.played > 0  # what an interruption would have left
    assert run(TASK, Hyperparameters(), "", str(state), saved=True)[0] == whole
    assert run(TASK, Hyperparameters(), "", str(tmp_path / "no such folder" / "state.npz"), saved=True)[0] == whole
    state.write_bytes(b"damaged")
    assert run(TASK, Hyperparameters(), "", str(state), saved=True)[0] == whole


def replays_of(folder: Path, nodes: Listed | None = None, **options: Any) -> Replays:
    settings = made.settings(**options)
    return Replays(settings, Interrupt(), folder, nodes or Listed(settings), print)


LATE = r"trial_00003 took longer than --trial-timeout {} s on other seeds than the search's; give it more"


def test_a_block_has_the_time_of_a_trial_of_its_size(tmp_path: Path) -> None:
    slow, record = replays_of(tmp_path, seeds=4, trial_timeout=10.0), made.record(3)
    for seeds, seconds in ((range(2), 10.0), (range(4), 10.0), (range(1, 9), 20.0)):
        assert slow._seconds(seeds) == seconds
        for elsewhere, more in ((False, HUNG_SECONDS), (True, SILENT_SECONDS)):
            slow._require_in_time(record, seeds, seconds + more, elsewhere)
            with pytest.raises(RuntimeError, match=LATE.format(10)):
                slow._require_in_time(record, seeds, seconds + more + 0.1, elsewhere)
    replays_of(tmp_path)._require_in_time(record, range(2), 1e9)
    assert SILENT_SECONDS > 65  # so long Ray may need, where it runs already, to notice that a node is lost


def test_a_block_that_takes_too_long_says_so_and_is_saved(tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    with pytest.raises(block.LateError):
        block.play(TASK, Hyperparameters(), "", str(state), False, 0.0)
    saved = Replicates(TASK, Hyperparameters())
    assert saved.restore(state) is None and saved.played > 0
    whole = block.play(TASK, Hyperparameters(), "", str(tmp_path / "another.npz"), False)[0]
    assert block.play(TASK, Hyperparameters(), "", str(state), True, 600.0)[0] == whole


def test_a_process_gets_ready_on_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node that has just joined it loads, and may have to compile."""
    block._warm_up_once(TASK.board)  # for real, so that it is not what the block's time goes into
    monkeypatch.setattr(block, "_warm_up_once", lambda board: time.sleep(2.0))
    assert block.play(replace(TASK, games=100), Hyperparameters(), "", str(tmp_path / "state.npz"), False, 1.0)


def test_a_block_that_takes_too_long_ends_the_search_and_one_that_hangs_too(
    tmp_path: Path, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [made.record(3)]
    with pytest.raises(RuntimeError, match=LATE.format("1e-09")):
        replays_of(tmp_path, games=200_000, trial_timeout=1e-9).run(Stream.FRESH, records, 0, 1)
    tasks.fate = lambda address: HANGS
    monkeypatch.setattr(replays, "HUNG_SECONDS", 0.3)
    monkeypatch.setattr(replays, "SILENT_SECONDS", 1.0)
    seconds = list[float]()
    for address in (HOME, OTHER):
        nodes = Listed(made.settings(), cpus=int(address == HOME))
        if address == OTHER:
            nodes.join(OTHER, CPU=1)
        hanging = replays_of(tmp_path, nodes, games=2_000, trial_timeout=0.1)
        hanging._warm, began = True, time.monotonic()
        with pytest.raises(RuntimeError, match=LATE.format("0.1")):
            hanging.run(Stream.FRESH, records, 0, 1)
        seconds.append(time.monotonic() - began)
    assert tasks.of(block.play)[-2:] == [HOME, OTHER]
    assert seconds[0] > 0.4 and seconds[1] > 1.1


def test_what_has_been_run_is_read_from_the_journal(tmp_path: Path) -> None:
    records = [made.record(index) for index in (3, 5)]
    for index, (record, first, games) in enumerate(
        [(records[0], 0, (400, None)), (records[1], 1, (500,)), (records[1], 0, (450,))]
    ):
        line = made.replay(index, trial=record.index, config=record.config, first=first, games_to_optimal=games)
        journals.replays(tmp_path).append(line)
    other = made.replay(3, stream=Stream.CONFIRMATION, trial=3, config=records[0].config, first=0, games_to_optimal=(None,))
    journals.replays(tmp_path).append(other)
    known = replays_of(tmp_path)
    assert known.run(Stream.FRESH, records, 0, 2) == [(400, None), (450, 500)]  # nothing is missing, so no Ray is needed
    assert known.run(Stream.FRESH, records[:1], 1, 2) == [(None,)]
    assert known.run(Stream.CONFIRMATION, records[:1], 0, 1) == [(None,)]
    assert (known.learner_cpu_s(Stream.FRESH), known.learner_cpu_s(Stream.CONFIRMATION)) == (1.5, 0.5)
    assert replays_of(tmp_path / "another").learner_cpu_s(Stream.FRESH) == 0.0
    later = tmp_path / replays.STATES / "race_trial_00003_4_4.npz"
    later.parent.mkdir()
    later.touch()
    assert known.run(Stream.FRESH, records, 0, 1) == [(400,), (450,)]
    assert later.exists()  # of a look that was interrupted; the search comes back to it


def test_only_missing_seeds_are_run_in_blocks(tmp_path: Path) -> None:
    record = made.record(3)
    for index, (first, seeds) in enumerate([(2, 1), (5, 3)]):
        line = made.replay(index, trial=3, config=record.config, first=first, games_to_optimal=(400,) * seeds)
        journals.replays(tmp_path).append(line)
    most = replays.BLOCK_GAMES // 50_000
    known = replays_of(tmp_path, games=50_000)
    assert list(known._missing(Stream.FRESH, record, 0, 9)) == [range(2), range(3, 5), range(8, 9)]
    assert list(known._missing(Stream.FRESH, record, 6, 8)) == []
    blocks = list(known._missing(Stream.CONFIRMATION, record, 0, 2 * most + 1))
    assert blocks == [range(most), range(most, 2 * most), range(2 * most, 2 * most + 1)]
    assert list(known._missing(Stream.FRESH, made.record(4), 0, 3)) == [range(3)]
    long = replays_of(tmp_path, games=2 * replays.BLOCK_GAMES)
    assert list(long._missing(Stream.CONFIRMATION, record, 0, 2)) == [range(1), range(1, 2)]


def test_a_node_that_leaves_is_left_alone_and_ends_nothing(tmp_path: Path, tasks: Tasks) -> None:
    """Up to its end Ray lists it as alive, and refuses at once what is to begin there."""
    nodes = Listed(made.settings(), cpus=1)
    nodes.join(OTHER, CPU=2)
    tasks.fate = lambda address: TaskUnschedulableError("it drains") if address == OTHER else None
    (games,) = replays_of(tmp_path, nodes, games=2_000).run(Stream.FRESH, [made.record(3, [500], 2_000)], 0, 6) or [()]
    assert len(games) == 6
    assert sorted(tasks.of(block.play)) == [HOME] * 6 + [OTHER] * 2  # as many as it had slots, and none again
    assert (nodes.node(HOME).used, nodes.node(OTHER).used) == (0, 0)


def test_a_lost_node_is_told_with_all_that_ran_there(tmp_path: Path, tasks: Tasks) -> None:
    nodes = Listed(made.settings(), cpus=0)
    nodes.join(OTHER, CPU=2)

    def lost(address: str) -> Exception | None:
        if tasks.of(block.play) == [OTHER]:  # the second block is on its way there, too
            nodes.there[OTHER]["Alive"] = False
            nodes.there[THIRD] = entry(THIRD, CPU=1)
        return NodeDiedError("its power is off") if address == OTHER else None

    tasks.fate = lost
    assert replays_of(tmp_path, nodes, games=2_000).run(Stream.FRESH, [made.record(3, [500], 2_000)], 0, 2) is not None
    assert f"node lost: {OTHER}, 2 trials are run again, 0 slots now" in nodes.said


def test_a_state_that_comes_late_goes_with_the_selection(tmp_path: Path, tasks: Tasks) -> None:
    """A worker sends it in the background; the head may write it after the block has ended, and been journaled."""
    settled = replays_of(tmp_path, games=2_000)
    state = str(tmp_path / replays.STATES / "race_trial_00003_0_1.npz")
    content = io.BytesIO()
    Replicates(TASK, Hyperparameters()).write(content, packed=True)
    assert settled.run(Stream.FRESH, [made.record(3, [500], 2_000)], 0, 1) is not None
    keep(state, 0, content.getvalue())
    settled.clear()
    assert not (tmp_path / replays.STATES).exists()
    with pytest.raises(FileNotFoundError):
        keep(state, 0, content.getvalue())
    replays_of(tmp_path, games=2_000).clear()  # of a search that goes on with the selection done there is none
