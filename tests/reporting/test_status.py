"""What `main.py status` says of a search in each of its states."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support import records as made
from tests.support.program import ROOT, clean_environment
from tests.test_commands import run
from tictactoe.experiment import status as statuses
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.folder import Folder
from tictactoe.experiment.status import Phase
from tictactoe.experiment.tally import Tally
from tictactoe.reporting import status as module
from tictactoe.reporting.status import look


@contextmanager
def held(folder: Path, since: float = 60.0) -> Iterator[None]:
    """While a search has the folder, which it took so many seconds ago."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.utime(folder / "lock", (time.time() - since,) * 2)
        yield


def put(folder: Path, summary: summaries.Unfinished | None, phase: Phase = "search", age: float | None = None) -> Path:
    """A search with a summary, and a status that is so many seconds old."""
    folder.mkdir(parents=True)
    if summary is not None:
        summaries.write(folder, summary)
    if age is not None:
        tally = Tally(made.settings(num_samples=256), folder)
        tally.slots_changed(2)
        tally.node_changed(made.node_event())
        tally.trial_finished(made.record(7, (400, None), stopped=True))
        tally.trial_retried(8, "node")
        tally.seconds_left = lambda: 125.0
        tally.backlog = lambda: 3
        tally.enter(phase)
        statuses.write(folder, replace(tally.status(), at=time.time() - age))
    return folder


UNFINISHED, FINISHED = made.unfinished(), made.summary([made.record(0), made.record(1, (300, 310))])


@pytest.mark.parametrize(
    ("summary", "phase", "age", "taken", "state", "code"),
    [
        (UNFINISHED, "search", 2, True, "running", 0),
        (UNFINISHED, "results", 2, True, "running", 0),
        (UNFINISHED, "search", 61, True, "silent", 1),
        (UNFINISHED, "search", 100, True, "starting", 0),  # an earlier start's
        (UNFINISHED, "search", None, True, "starting", 0),
        (FINISHED, "held", 2, True, "held", 0),
        (FINISHED, "results", 500, False, "finished", 0),
        (FINISHED, "search", None, False, "finished", 0),
        (UNFINISHED, "search", 500, False, "interrupted", 75),
        (made.unfinished(status="failed"), "search", 500, False, "failed", 1),
        (None, "search", 500, False, "damaged", 1),
    ],
)
def test_each_state(tmp_path: Path, summary: Any, phase: Phase, age: float | None, taken: bool, state: str, code: int) -> None:
    folder = put(tmp_path / "mine", summary, phase, age)
    if taken:
        with held(folder, 70.0):
            view = look(folder)
    else:
        view = look(folder)
    assert (view.name, view.state, view.exit_code) == ("mine", state, code)
    assert view.age_s is None if age is None else view.age_s == pytest.approx(age, abs=5)
    content = json.loads(module.as_json(view))
    assert content.keys() == {"name", "state", "age_s", "status", "result"}
    assert (content["status"] is None) == (age is None)
    assert (content["result"] is None) == (summary is not FINISHED)


def test_a_look_does_not_keep_a_search_from_its_folder(tmp_path: Path) -> None:
    settings = made.settings(num_samples=3, name="mine", results_dir=tmp_path)
    for _ in range(20):
        with Folder(tmp_path / "mine", settings):
            assert look(tmp_path / "mine").state in ("starting", "damaged")
        assert look(tmp_path / "mine").state == "damaged"


def test_what_a_person_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)  # it stands still
    console = Console(width=128, highlight=False, markup=False, soft_wrap=True)
    with held(put(tmp_path / "mine", UNFINISHED, "search", 2)):
        module.show(console, look(tmp_path / "mine"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "search mine: running, round 1 of 3"
    assert lines[1:-2] == [
        "  trials: 335 waiting, 0 running, 1 finished, 0 failed",
        "  run again: 1 (node)",
        "  best: trial_00007, geometric mean at least 6,325 games, PAR-10 at least 50,200, solved 1 of 2",
        "  games: 20,000 in the search, 0 on fresh seeds",
        "  2 slots on 1 node, 0 % of their time learning",
        "  time left: 2:05",
        "  W&B: 3 things still to be written",
    ]
    assert lines[-2].startswith("  results' volume: ") and lines[-1] == "  as of 2 s ago"
    module.show(console, look(put(tmp_path / "over", FINISHED)))
    assert capsys.readouterr().out.splitlines() == [
        "search over: finished",
        "  winner: trial_00001, games to optimal: median 431 on seeds that chose nothing",
        f"  digest {FINISHED.digest}",
    ]


def test_the_command_does_without_ray(tmp_path: Path) -> None:
    """So it answers within a second."""
    put(tmp_path / "mine", UNFINISHED, age=3)
    arguments = ["status", "mine", "--results-dir", str(tmp_path)]
    code = f"import main, sys; code = main.main({arguments}); assert 'ray' not in sys.modules; sys.exit(code)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean_environment(tmp_path), check=False)
    assert ran.returncode == 75


def test_the_command(tmp_path: Path) -> None:
    results = tmp_path / "results"
    code, _, errors = run(tmp_path, "status")
    assert (code, errors.strip()) == (2, f"error: no search in {results}; run one with `python main.py`, or name another "
                                         "--results-dir")  # fmt: skip
    put(results / "older", FINISHED)
    os.utime(results / "older" / "summary.json", (100, 100))
    put(results / "newer", UNFINISHED, age=3)
    code, output, errors = run(tmp_path, "status")
    assert (code, output.splitlines()[0], errors) == (75, "search newer: interrupted, round 1 of 3", "")
    code, output, _ = run(tmp_path, "status", "older", "--json")
    assert code == 0 and json.loads(output)["result"]["digest"] == FINISHED.digest
    code, _, errors = run(tmp_path, "status", "none")
    assert (code, errors.strip()) == (2, f"error: NAME 'none': no such search in {results}; the newest ones: newer, older")
