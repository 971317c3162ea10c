"""States of unfinished trials: files on the head's node, and what comes to them from elsewhere by Ray's tasks, played here."""

from __future__ import annotations

import io
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from tests.support.nodes import id_of
from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import Task
from tictactoe.experiment.replicates import Replicates
from tictactoe.tuning import states as module
from tictactoe.tuning.states import States, fetch, keep

HEAD, ELSEWHERE = id_of("10.0.0.1"), id_of("10.0.0.2")
TASK, CONFIG = Task("3x3x3", seeds=3, games=2_000, seed=5), Hyperparameters()


def learned(games: int = 700) -> Replicates:
    replicates = Replicates(TASK, CONFIG)
    replicates.advance(math.inf, games)
    return replicates


def bits(replicates: Replicates) -> list[bytes]:
    return [learner.table.tobytes() + learner.generator.tobytes() for learner in replicates.learners]


def restored(source: Any) -> Replicates:
    replicates = Replicates(TASK, CONFIG)
    assert replicates.restore(source) is None
    return replicates


class Call:
    """A task that runs when a test says so, or when somebody waits for its end."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work, self.ran = work, False


class Tasks:
    """Stands where the module has `ray`, in a process that is not on the head's node."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.nodes: list[str] = []
        """Where they were to run."""
        self.lost = False
        """Whether the head's node is."""

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: ELSEWHERE)

    def remote(self, function: Callable[..., Any]) -> Any:
        def options(num_cpus: int, scheduling_strategy: Any) -> Any:
            assert num_cpus == 0  # no trial has to wait for it
            self.nodes.append(scheduling_strategy.node_id)
            return SimpleNamespace(remote=lambda *arguments: self._call(lambda: function(*arguments)))

        return SimpleNamespace(options=options)

    def _call(self, work: Callable[[], Any]) -> Call:
        self.calls.append(Call(work))
        return self.calls[-1]

    def wait(self, calls: list[Call], timeout: float) -> tuple[list[Call], list[Call]]:
        return [call for call in calls if call.ran], [call for call in calls if not call.ran]

    def get(self, call: Call, timeout: float | None = None) -> Any:
        if self.lost:
            raise ray.exceptions.NodeDiedError("the head's node has gone")
        call.ran = True
        try:
            return call.work()
        except OSError as error:
            raise ray.exceptions.RayTaskError("keep", traceback.format_exc(), error, pid=1, ip="10.0.0.1") from error


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    stand_in = Tasks()
    monkeypatch.setattr(module, "ray", stand_in)
    return stand_in


def test_on_the_heads_node_they_are_files(tmp_path: Path) -> None:
    states, path, replicates = States(""), tmp_path / "state.npz", learned()
    assert states.here
    assert (states.load(path), states.read(path)) == (None, b"")
    assert states.save(replicates, path, "first") is None
    assert states.load(path) == path and states.read(path) == path.read_bytes()
    assert bits(restored(path)) == bits(replicates)
    with pytest.raises(FileNotFoundError):
        states.save(replicates, tmp_path / "gone" / "state.npz")


def test_a_state_goes_to_the_heads_node_and_comes_back(tasks: Tasks, tmp_path: Path) -> None:
    states, path, replicates = States(HEAD), tmp_path / "state.npz", learned()
    assert not states.here
    assert states.load(path) is None
    assert states.save(replicates, path, "first") is None
    assert not path.exists()  # it is on its way, and nobody waits for it
    tasks.get(tasks.calls[-1])
    source = states.load(path)
    assert isinstance(source, io.BytesIO)
    again = restored(source)
    assert bits(again) == bits(replicates) and repr(again.progress()) == repr(restored(path).progress())
    assert states.read(path) == path.read_bytes()
    assert set(tasks.nodes) == {HEAD}


def test_one_is_on_its_way_at_a_time(tasks: Tasks, tmp_path: Path) -> None:
    states, path = States(HEAD), tmp_path / "state.npz"
    states.save(learned(300), path)
    states.save(learned(500), path)
    assert len(tasks.calls) == 1
    tasks.get(tasks.calls[0])
    later = learned(700)
    states.save(later, path)
    tasks.get(tasks.calls[1])
    assert len(tasks.calls) == 2 and bits(restored(path)) == bits(later)


def test_a_state_that_the_head_cannot_write_is_told_with_the_next(tasks: Tasks, tmp_path: Path) -> None:
    states, path = States(HEAD), tmp_path / "no such folder" / "state.npz"
    assert states.save(learned(300), path) is None
    tasks.calls[0].ran = True
    problem = states.save(learned(500), path)
    assert problem is not None and problem.startswith("could not be saved: ") and "No such file" in problem
    path.parent.mkdir()
    assert len(tasks.calls) == 2
    tasks.get(tasks.calls[1])
    assert states.save(learned(700), path) is None and path.exists()


def test_nothing_comes_from_a_head_that_does_not_answer(tasks: Tasks, tmp_path: Path) -> None:
    states, path = States(HEAD), tmp_path / "state.npz"
    path.write_bytes(b"something")
    assert states.read(path) == b"something"
    tasks.lost = True
    assert (states.read(path), states.load(path)) == (b"", None)


def test_what_is_too_large_is_not_saved_and_that_is_said_once(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, replicates = io.BytesIO(), learned()
    replicates.write(content, packed=True)
    states, path, size = States(HEAD), tmp_path / "state.npz", len(content.getvalue())
    monkeypatch.setattr(module, "MOST_MIB", (size - 1_000) / 2**20)
    said = states.save(replicates, path)
    assert said is not None and "is not saved: if its process or node is lost, or the search stops, it starts over" in said
    packed = list[Replicates]()
    with monkeypatch.context() as patch:
        patch.setattr(Replicates, "write", lambda replicates, *arguments, **options: packed.append(replicates))
        assert states.save(replicates, path) is None
    assert (packed, tasks.calls) == ([], [])
    monkeypatch.setattr(module, "MOST_MIB", (size + 1_000) / 2**20)
    assert states.save(replicates, tmp_path / "another.npz") is None and len(tasks.calls) == 1


def test_the_one_with_more_games_is_kept(tmp_path: Path) -> None:
    """Tasks may come late, and in any order: of a process that was lost, too."""
    path, packed = tmp_path / "state.npz", {}
    for games in (300, 700):
        replicates, content = learned(games), io.BytesIO()
        replicates.write(content, packed=True)
        packed[games] = replicates.played, content.getvalue()
    assert packed[300][0] < packed[700][0]
    for games, kept in ((300, 300), (700, 700), (300, 700), (700, 700)):
        keep(str(path), *packed[games])
        assert path.read_bytes() == packed[kept][1]
    played, content_of_700 = packed[700]
    keep(str(path), played, b"others with as many games")
    assert path.read_bytes() == content_of_700
    path.write_bytes(content_of_700[: len(content_of_700) // 2])  # damaged
    keep(str(path), *packed[300])
    assert path.read_bytes() == packed[300][1] == fetch(str(path))
    assert fetch(str(tmp_path / "none")) == fetch(str(tmp_path)) == b""


def test_packed_it_is_the_same_and_smaller(tmp_path: Path) -> None:
    replicates, plain, packed = learned(), io.BytesIO(), io.BytesIO()
    replicates.write(plain, "first")
    replicates.write(packed, "first", packed=True)
    assert len(packed.getvalue()) < len(plain.getvalue()) / 2
    replicates.save(tmp_path / "state.npz", "first")
    sources = [io.BytesIO(plain.getvalue()), io.BytesIO(packed.getvalue()), tmp_path / "state.npz"]
    all_of_them = [restored(source) for source in sources]
    assert len({repr(one.progress()) for one in all_of_them}) == 1
    for one in [replicates, *all_of_them]:
        one.advance(math.inf, TASK.games)
    assert len({tuple(bits(one)) for one in [replicates, *all_of_them]}) == 1


def test_a_damaged_state_from_elsewhere_is_told() -> None:
    content = io.BytesIO()
    learned().write(content, packed=True)
    half = io.BytesIO(content.getvalue()[: len(content.getvalue()) // 2])
    problem = Replicates(TASK, CONFIG).restore(half)
    assert problem is not None and "damaged" in problem
