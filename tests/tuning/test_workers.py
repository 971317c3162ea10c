"""Patience with processes that are to come, without Ray: so there are none."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support import records as made
from tests.support.nodes import HOME, Listed
from tictactoe.tuning import workers


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(workers, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(workers, "NONE_SECONDS", 0.2)
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.0)


@pytest.fixture
def nodes() -> Listed:
    return Listed(made.settings())


def test_a_wait_is_said_once_and_has_an_end() -> None:
    said: list[str] = []
    wait = workers.Wait("rain", said.append, 0.1)
    assert not wait.is_over() and said == []
    time.sleep(0.06)
    assert not wait.is_over() and not wait.is_over()
    assert said == ["waiting for rain, 0 s at most"]
    time.sleep(0.06)
    assert wait.is_over() and len(said) == 1


def test_no_process_for_trials(monkeypatch: pytest.MonkeyPatch, nodes: Listed) -> None:
    said: list[str] = []
    patience = workers.Patience(said.append, nodes)
    assert patience.at_an_end() is None
    time.sleep(0.25)
    assert str(patience.at_an_end()).startswith("Ray has started no process for trials in 0 s: its logs do not say why")
    assert len(said) == 1
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")  # whose processes are not ours to see
    assert patience.at_an_end() is None


def test_processes_elsewhere_are_not_ours_to_see(nodes: Listed) -> None:
    patience = workers.Patience(print, nodes)
    nodes.join("other", CPU=1.0)
    time.sleep(0.25)
    assert patience.at_an_end() is None
    nodes.lose("other")
    assert patience.at_an_end() is None  # from now on they could come here
    time.sleep(0.25)
    assert patience.at_an_end()
    nodes.lose(HOME)  # there is no slot, so no process is to come
    assert patience.at_an_end() is None


def test_a_program_that_is_at_work_itself_is_given_time(nodes: Listed) -> None:
    patience = workers.Patience(print, nodes)
    time.sleep(0.25)
    patience._cpu -= 0.25  # as if it had computed meanwhile, however busy the machine is
    assert patience.at_an_end() is None


def test_a_worker_that_starts_slowly_is_given_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "default_worker.py"
    program.write_text("input()")
    for words, slow in (([str(program)], True), (["-c", "input()", f"--python_worker_command={program} x"], False)):
        with subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE) as child:
            time.sleep(0.1)
            assert workers._is_slow(psutil.Process(child.pid)) is slow
            monkeypatch.setattr(workers, "PATIENCE_SECONDS", 60.0)
            assert not workers._is_slow(psutil.Process(child.pid))
            monkeypatch.setattr(workers, "PATIENCE_SECONDS", 0.05)


@pytest.mark.parametrize("started", [True, False])
def test_the_first_trial_has_to_start(monkeypatch: pytest.MonkeyPatch, nodes: Listed, started: bool) -> None:
    monkeypatch.setattr(workers, "NONE_SECONDS", 60.0)
    monkeypatch.setattr(workers, "SLOW_SECONDS", 0.5)
    lost: list[str] = []
    with workers.awaited(lost.append, lambda line: None, nodes) as heard:
        if started:
            heard.trial_started(0, made.record(0).config)
        heard.trial_finished(made.record(0))
        time.sleep(1.3)
    assert lost == ([] if started else ["no trial has started in 0 s; its processes are there, but do not begin"])


def test_the_first_trial_may_wait_for_a_node(monkeypatch: pytest.MonkeyPatch, nodes: Listed) -> None:
    monkeypatch.setattr(workers, "SLOW_SECONDS", 0.5)
    nodes.lose(HOME)
    lost: list[str] = []
    with workers.awaited(lost.append, lambda line: None, nodes):
        time.sleep(1.3)
    assert lost == []


def test_a_trial_that_falls_silent_is_told_of_once_until_it_is_heard_of_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SILENT_SECONDS", 0.1)
    heard, config = workers.Heard(), made.record(0).config
    for index in (0, 1, 2):
        heard.trial_started(index, config)
    heard.trial_finished(made.record(1))
    assert heard.silent() == []
    time.sleep(0.15)
    heard.trial_reported(2, made.record(2), final=False)
    assert heard.silent() == [0] and heard.silent() == []
    time.sleep(0.15)
    assert heard.silent() == [2]
    heard.trial_noted(0, "is tried again")
    heard.trial_noted(2, "is tried again")
    heard.trial_retried(2, "node")  # as long as there is no node for it, it waits
    time.sleep(0.15)
    assert heard.silent() == [0]
