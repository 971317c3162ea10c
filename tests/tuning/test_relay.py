"""The relay, told of made-up trials as Tune tells of real ones: the journal first, then whoever wants to hear."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import records as made
from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment import journal as journals
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Cause, Failure, Progress, Record, part
from tictactoe.experiment.rounds import Round, Standing
from tictactoe.tuning import relay as relays
from tictactoe.tuning.relay import Relay
from tictactoe.tuning.trial import AGAIN, NODE_LOST, Batch, Report, state_file

BUDGET = made.BUDGET
EARLY, LAST = Round(9, 2, 1_000), Round(9, 2, BUDGET)


class Trial:
    """What the relay knows of one of Tune's trials: a batch, of the last round where nothing else is said."""

    def __init__(self, *indices: int, number: int = 0, round: Round = LAST) -> None:
        batch = Batch.of(number, round, [(index, made.config(index)) for index in indices])
        self.trial_id = batch.name
        self.config: dict[str, Any] = {"batch": batch}
        self.last_result: dict[str, Any] = {}

    def lose(self, reason: str) -> None:
        """What the controller says of a lost process."""
        self.config[AGAIN] = reason


@dataclass
class Listener(Observer):
    """Writes down what it hears, with what the journal holds by then."""

    folder: Path
    events: list[tuple[Any, ...]] = field(default_factory=list)
    written: list[list[int]] = field(default_factory=list)
    causes: list[tuple[int, Cause]] = field(default_factory=list)

    def _hear(self, *event: Any) -> None:
        self.events.append(event)
        self.written.append([entry.index for entry in journals.trials(self.folder).read()])

    def search_started(self, before: Standing) -> None:
        self._hear("search")

    def trial_started(self, index: int, config: Hyperparameters) -> None:
        assert config == made.config(index)
        self._hear("started", index)

    def trial_reported(self, index: int, progress: Progress, final: bool) -> None:
        self._hear("reported", index, progress.games, final)

    def trial_finished(self, record: Record) -> None:
        self._hear("finished", record.index)

    def trial_failed(self, failure: Failure) -> None:
        self._hear("failed", failure.index, failure.error)

    def trial_noted(self, index: int, text: str) -> None:
        self._hear("noted", index, text)

    def trial_retried(self, index: int, cause: Cause) -> None:
        self.causes.append((index, cause))


class Search:
    """A relay, what stands around it, and Tune's part."""

    def __init__(self, folder: Path, observers: int = 1, **options: Any) -> None:
        self.folder = folder
        self.journal = journals.trials(folder)
        self.observers = [Listener(folder) for _ in range(observers)]
        self.interrupted = False
        self.given_up = 0
        settings = made.settings(**({"games": BUDGET} | options))
        self.relay = Relay(
            self.journal, 3, time.monotonic(), self.observers, self._give_up, lambda: self.interrupted, folder, settings
        )

    def _give_up(self) -> None:
        self.given_up += 1

    @property
    def events(self) -> list[tuple[Any, ...]]:
        return self.observers[0].events

    @property
    def entries(self) -> list[Record | Failure]:
        return journals.trials(self.folder).read()

    def start(self, *indices: int, **round: Any) -> Trial:
        trial = Trial(*indices, **round)
        self.relay.on_trial_start(0, [trial], trial)
        return trial

    def report(self, trial: Trial, progress: Progress | None, final: bool = False, **more: Any) -> None:
        """A result of a batch of one."""
        (index, _) = trial.config["batch"].trials[0]
        self.result(trial, report(index, progress, final, **more))

    def result(self, trial: Trial, *reports: Report, node: str = "127.0.0.1", pid: int = 77, now: float = 0.0) -> None:
        """A result, as Tune keeps it before it tells of it."""
        trial.last_result = {"reports": list(reports), "now": now, "node_ip": node, "pid": pid}
        self.relay.on_trial_result(0, [trial], trial, trial.last_result)

    def complete(self, trial: Trial) -> None:
        self.relay.on_trial_complete(0, [trial], trial)


def report(index: int, progress: Progress | None, final: bool = False, **more: Any) -> Report:
    plain: dict[str, Any] = {"error": None, "timeout": None, "note": None, "began": 0.0, "made": 0.0}
    return Report(index, progress, final, **(plain | more))


HALF = made.progress(games=5_000, share=0.5, played=10_000)
WHOLE = made.progress()


@pytest.fixture(autouse=True)
def memory_kills(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many processes the kernel has ended for want of memory."""
    monkeypatch.setattr(relays, "memory_kills", lambda: 4)
    return lambda number: monkeypatch.setattr(relays, "memory_kills", lambda: number)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path)


def test_a_trial_that_reports_and_finishes(search: Search) -> None:
    state = state_file(search.folder, 5, 0)
    state.touch()
    trial = search.start(5)
    search.report(trial, HALF)
    assert state.exists()
    search.report(trial, WHOLE, final=True)
    search.complete(trial)
    assert search.events == [
        ("started", 5),
        ("reported", 5, 5_000, False),
        ("reported", 5, 10_000, True),
        ("finished", 5),
    ]
    assert search.observers[0].written == [[], [], [5], [5]]  # on the disk before anybody hears of it
    (record,) = search.entries
    assert isinstance(record, Record)
    assert part(record, Progress) == WHOLE
    assert (record.index, record.attempt, record.config, record.stopped) == (5, 3, made.config(5), False)
    assert (record.node, record.worker) == ("127.0.0.1", 77)
    assert 0 <= record.started_s <= record.ended_s < 5
    assert not state.exists()
    assert search.relay.unwritable is None


def test_all_observers_hear_all(tmp_path: Path) -> None:
    search = Search(tmp_path, observers=2)
    search.report(search.start(0), WHOLE, final=True)
    assert search.observers[0].events == search.observers[1].events != []


def test_a_note_comes_before_the_report_that_brings_it(search: Search) -> None:
    search.report(search.start(1), HALF, note="goes on after 5,000 games")
    assert search.events[1:] == [("noted", 1, "goes on after 5,000 games"), ("reported", 1, 5_000, False)]


def test_a_scheduler_stops_a_trial(search: Search) -> None:
    state = state_file(search.folder, 2, 0)
    state.touch()
    trial = search.start(2)
    search.report(trial, HALF)
    search.complete(trial)
    (record,) = search.entries
    assert isinstance(record, Record)
    assert (record.stopped, record.games) == (True, 5_000)
    assert search.events[-1] == ("finished", 2)
    assert not state.exists()


def test_a_trial_that_has_shown_nothing_yet_is_no_record(search: Search) -> None:
    trial = search.start(0)
    search.complete(trial)
    search.report(trial, made.progress(games=0, share=0.01, played=50))
    search.complete(trial)
    assert search.entries == []
    assert [event[0] for event in search.events] == ["started", "reported"]


def test_a_trial_fails_by_an_error_of_its_own(search: Search) -> None:
    trial = search.start(4)
    search.report(trial, HALF)
    search.report(trial, None, final=True, error="ValueError: broken")
    search.complete(trial)
    assert search.entries == [made.failure(4, attempt=3)]
    assert search.events[-1] == ("failed", 4, "ValueError: broken")
    assert search.observers[0].written[-1] == [4]
    assert [event[0] for event in search.events].count("reported") == 1


def test_a_trial_that_took_too_long_fails_for_want_of_time(search: Search) -> None:
    search.report(search.start(4), None, final=True, error="TimeoutError: too long", timeout=2.5)
    assert search.entries == [made.failure(4, attempt=3, error="TimeoutError: too long", timeout=2.5)]


def test_a_lost_process_is_recovered(search: Search) -> None:
    trial = search.start(0)
    search.report(trial, HALF)
    trial.lose("The actor died.")
    search.relay.on_trial_recover(0, [trial], trial)
    search.relay.on_trial_start(0, [trial], trial)
    search.report(trial, WHOLE, final=True)
    assert search.events[2:] == [
        ("noted", 0, "is tried again: The actor died."),
        ("started", 0),
        ("reported", 0, 10_000, True),
        ("finished", 0),
    ]
    assert len(search.entries) == 1


def test_a_process_that_is_lost_once_too_often(search: Search) -> None:
    trial = search.start(0)
    search.relay.on_trial_error(0, [trial], trial)
    search.relay.on_trial_error(0, [trial], trial)
    assert search.events[1:] == [("failed", 0, "its process died")]
    assert search.entries == [made.failure(0, attempt=3, error="its process died")]


@pytest.mark.parametrize(
    ("seconds", "reason", "hung"),
    [(59.0, "The actor died.", False), (61.0, "The actor died.", True), (61.0, NODE_LOST, False)],
)
def test_a_process_that_is_lost_after_its_trials_time_has_hung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, reason: str, hung: bool
) -> None:
    """Its watchdog has ended it, most likely, and on another node its own mark is of no use."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    search = Search(tmp_path, trial_timeout=60.0)
    batch = search.start(0, 1, number=1, round=EARLY)
    now[0] += 30
    search.result(batch, report(0, WHOLE, final=True), report(1, HALF))  # from now on trial 1 has its time
    now[0] += seconds
    batch.lose(reason)
    search.relay.on_trial_recover(0, [batch], batch)
    assert search.events[-1] == ("noted", 1, f"is tried again: {reason}")
    marks = {path.name: path.read_text() for path in tmp_path.glob("*.hung")}
    assert marks == ({"trial_00001_1.hung": reason} if hung else {})
    assert search.observers[0].causes == [(1, "node" if reason == NODE_LOST else "timeout" if hung else "process")]


def test_a_process_that_is_lost_as_it_starts_has_not_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    search, new = Search(tmp_path, trial_timeout=60.0), Trial(5)
    search.relay.on_trial_recover(0, [new], new)  # it was never told that it has started
    batch = search.start(0)
    for _ in range(2):  # the second time before it has started again
        now[0] += 40
        search.relay.on_trial_recover(0, [batch], batch)
    assert not [*tmp_path.glob("*.hung")]
    notes = [event[1:] for event in search.events if event[0] == "noted"]
    assert notes == [(index, "is tried again: its process died") for index in (5, 0, 0)]
    assert search.observers[0].causes == [(5, "process"), (0, "process"), (0, "process")]


def test_the_loss_of_a_node_is_no_want_of_memory(search: Search, memory_kills: Callable[[int], None]) -> None:
    first, second = search.start(0), search.start(1)
    memory_kills(5)
    first.lose(NODE_LOST)
    search.relay.on_trial_recover(0, [first], first)
    search.relay.on_trial_recover(0, [second], second)
    assert search.events[2:] == [
        ("noted", 0, "is tried again: its node was lost"),
        ("noted", 1, "is tried again: its process was ended for want of memory"),
    ]
    assert search.observers[0].causes == [(0, "node"), (1, "memory")]


def test_want_of_memory_is_named_once_for_each_kill(search: Search, memory_kills: Callable[[int], None]) -> None:
    first, second = search.start(0), search.start(1)
    for trial in (first, second):
        trial.lose("The actor died.")
    memory_kills(5)
    search.relay.on_trial_recover(0, [first], first)
    search.relay.on_trial_recover(0, [second], second)
    memory_kills(6)
    search.relay.on_trial_error(0, [first], first)
    want = "its process was ended for want of memory"
    assert search.events[2:] == [
        ("noted", 0, f"is tried again: {want}"),
        ("noted", 1, "is tried again: The actor died."),
        ("failed", 0, want),
    ]


def test_a_kill_for_want_of_memory_long_ago_explains_no_loss(
    search: Search, memory_kills: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, other = search.start(0), search.start(1)
    memory_kills(5)
    search.report(other, HALF)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + relays.KILL_SECONDS + 1)
    trial.lose("The actor died.")
    search.relay.on_trial_recover(0, [trial], trial)
    assert search.events[-1] == ("noted", 0, "is tried again: The actor died.")


def test_a_journal_that_cannot_be_written_ends_the_search(search: Search) -> None:
    search.journal.path.mkdir()
    state = state_file(search.folder, 0, 0)
    state.touch()
    search.observers[0]._hear = lambda *event: search.events.append(event)  # type: ignore[method-assign]
    first, second = search.start(0), search.start(1)
    search.report(first, WHOLE, final=True)
    search.report(second, None, final=True, error="ValueError: broken")
    assert isinstance(search.relay.unwritable, IsADirectoryError)
    assert search.given_up == 1
    assert state.exists()  # the trial is still to be finished
    assert [event[0] for event in search.events] == ["started", "started", "reported"]

    search.journal.path.rmdir()  # there is room again: what Tune says next makes no stopped trial of a finished one
    search.complete(first)
    assert search.entries == []
    assert state.exists()


def test_what_fails_in_an_interrupted_search_is_not_the_trials_fault(search: Search) -> None:
    first, second = search.start(0), search.start(1)
    search.interrupted = True
    search.report(first, None, final=True, error="KeyboardInterrupt")
    search.relay.on_trial_error(0, [second], second)
    assert search.entries == []
    assert not search.journal.path.exists()
    assert [event[0] for event in search.events] == ["started", "started"]


def test_a_state_that_cannot_be_removed_is_no_failure(search: Search) -> None:
    state_file(search.folder, 0, 0).mkdir()
    search.report(search.start(0), WHOLE, final=True)
    assert len(search.entries) == 1
    assert search.events[-1] == ("finished", 0)


def test_tune_may_pickle_it(search: Search) -> None:
    assert vars(pickle.loads(pickle.dumps(search.relay))) == {}


def test_a_batch_tells_of_several_trials_at_a_time(search: Search) -> None:
    states = [state_file(search.folder, index, 1) for index in (3, 4, 6)]
    for state in (*states, state_file(search.folder, 3, 0)):
        state.touch()
    batch = search.start(3, 4, 6, number=1, round=EARLY)
    broken = report(4, None, final=True, error="ValueError: broken")
    search.result(batch, report(3, WHOLE, final=True, note="goes on after 100 games"), broken, report(6, HALF))
    assert search.events == [
        ("started", 3),
        ("noted", 3, "goes on after 100 games"),
        ("reported", 3, 10_000, True),
        ("finished", 3),
        ("started", 4),
        ("failed", 4, "ValueError: broken"),
        ("started", 6),
        ("reported", 6, 5_000, False),
    ]
    search.result(batch, report(6, WHOLE, final=True))
    search.complete(batch)
    assert search.events[8:] == [("reported", 6, 10_000, True), ("finished", 6)]
    first, failed, last = search.entries
    assert failed == made.failure(4, attempt=3, round=1)
    for record, index in ((first, 3), (last, 6)):
        assert isinstance(record, Record)
        assert (record.index, record.round, record.config) == (index, 1, made.config(index))
        assert record.stopped  # its round's cap is below the budget
    assert [state.exists() for state in states] == [False, True, False]
    assert state_file(search.folder, 3, 0).exists()


def test_a_trial_comes_again_in_a_later_round(search: Search) -> None:
    search.result(search.start(2, 3, number=0, round=EARLY), report(2, HALF, final=True), report(3, HALF, final=True))
    search.result(search.start(2, number=1), report(2, WHOLE, final=True))
    search.result(search.start(3, number=1), report(3, None, final=True, error="ValueError: broken"))
    assert [event[:2] for event in search.events if event[0] != "reported"] == [
        ("started", 2),
        ("finished", 2),
        ("started", 3),
        ("finished", 3),
        ("started", 2),
        ("finished", 2),
        ("started", 3),
        ("failed", 3),
    ]
    assert [(entry.index, entry.round) for entry in search.entries] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert [entry.stopped for entry in search.entries if isinstance(entry, Record)] == [True, False, True]


def test_a_batch_that_is_run_again_tells_only_of_what_had_not_ended(search: Search) -> None:
    batch = search.start(0, 1, 2)
    search.result(batch, report(0, WHOLE, final=True), report(1, HALF))
    before = len(search.events)
    search.relay.on_trial_recover(0, [batch], batch)
    search.relay.on_trial_start(0, [batch], batch)
    search.result(batch, report(0, WHOLE, final=True, note="goes on"), report(1, WHOLE, final=True), report(2, HALF))
    assert search.events[before:] == [
        ("noted", 1, "is tried again: its process died"),
        ("started", 1),
        ("reported", 1, 10_000, True),
        ("finished", 1),
        ("started", 2),
        ("reported", 2, 5_000, False),
    ]
    assert [entry.index for entry in search.entries] == [0, 1]


def test_a_process_that_is_lost_once_too_often_fails_the_trial_that_ran(search: Search) -> None:
    batch = search.start(0, 1, 2)
    search.result(batch, report(0, WHOLE, final=True), report(1, HALF))
    search.relay.on_trial_error(0, [batch], batch)
    assert search.events[-1] == ("failed", 1, "its process died")
    assert [(type(entry), entry.index) for entry in search.entries] == [(Record, 0), (Failure, 1)]
    rest = search.start(2)  # as a batch of its own
    search.result(rest, report(2, WHOLE, final=True))
    assert [entry.index for entry in search.entries] == [0, 1, 2]


@hypothesis.settings(max_examples=40)
@given(st.data())
def test_trials_of_one_process_never_overlap(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """However long results are on their way: a process goes on when its result has been heard. Two nodes may share an id."""
    processes = [("10.0.0.1", 7), ("10.0.0.1", 8), ("10.0.0.2", 7)]
    search, clock = Search(tmp_path_factory.mktemp("search"), observers=0), 1_000.0
    seconds = st.integers(0, 20).map(lambda quarters: quarters / 4)
    offsets = {process: data.draw(st.floats(-1e6, 1e6)) for process in processes}  # of their clocks from ours
    index = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.relay, "_start", clock)
        patch.setattr(time, "monotonic", lambda: clock)
        for size in data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=5)):
            process = node, pid = data.draw(st.sampled_from(processes))
            batch = search.start(*range(index, index + size))
            began, reports = clock, list[Report]()
            for _ in range(size):
                clock += data.draw(seconds)
                times = {"began": began + offsets[process], "made": clock + offsets[process]}
                reports.append(report(index, WHOLE, final=True, **times))
                began, index = clock, index + 1
                if index == batch.config["batch"].trials[-1][0] + 1 or data.draw(st.booleans()):
                    now = clock + offsets[process]
                    clock += data.draw(seconds)  # on its way
                    search.result(batch, *reports, node=node, pid=pid, now=now)
                    reports = []
    records = [entry for entry in search.entries if isinstance(entry, Record)]
    assert len(records) == index
    for process in processes:
        own = sorted((one for one in records if (one.node, one.worker) == process), key=lambda one: one.index)
        assert all(one.started_s <= one.ended_s <= clock - 1_000.0 + 1e-6 for one in own)
        assert all(one.ended_s <= following.started_s for one, following in pairwise(own))


def test_processes_of_two_nodes_may_share_an_id(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.relay, "_start", 100.0)
    monkeypatch.setattr(time, "monotonic", lambda: 110.0)
    for index, node in enumerate(("10.0.0.1", "10.0.0.2")):
        late = report(index, WHOLE, final=True, began=2.0, made=8.0 - index)
        search.result(search.start(index), late, node=node, now=10.0)
    times = [(e.node, e.worker, e.started_s, e.ended_s) for e in search.entries if isinstance(e, Record)]
    assert times == [("10.0.0.1", 77, 2.0, 8.0), ("10.0.0.2", 77, 2.0, 7.0)]
