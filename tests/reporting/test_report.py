"""What a report reads out of results, and when it is written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import made_up
from tests.support.program import ROOT
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.errors import UserError
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.journal import checksum
from tictactoe.experiment.record import FORMAT
from tictactoe.experiment.results import Results
from tictactoe.reporting.report import data
from tictactoe.reporting.report import page as report
from tictactoe.reporting.report.data import Reason


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A search of one trial, for its summary."""
    folder = tmp_path_factory.mktemp("small")
    made_up.results(folder, trials=1, seeds=1, games=200)
    return Results.read(folder)


def test_the_winner_and_those_after_it_have_curves(small: Results) -> None:
    records = [made_up.record(0, mean_log=7.0), made_up.record(1, mean_log=6.0, history=()), made_up.record(2, mean_log=5.0)]
    results = replace(small, records=records)
    assert [record.index for record in data.with_curves(results, 4)] == [0, 2]  # 0 has won
    assert [record.index for record in data.with_curves(results, 2)] == [0, 2]
    assert [record.index for record in data.with_curves(results, 1)] == [0]


def test_frequent_reasons_come_first(small: Results) -> None:
    errors = {3: "a", 5: "b", 4: "b", **{index: f"reason {index}" for index in range(6, 16)}}
    listed = data.reasons(replace(small.summary, errors=errors))
    assert listed[:2] == [Reason("b", [4, 5]), Reason("a", [3])]
    assert len(listed) == data.LISTED_REASONS


def test_a_report_that_cannot_be_made_is_told_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, said = made_up.results(tmp_path, trials=1, seeds=1, games=200), list[str]()
    results = Results.read(tmp_path)
    (tmp_path / summaries.FILE).unlink()  # it is written after the report
    assert report.write_or_say(tmp_path, learner, results, said.append) == [tmp_path / "report.html"]
    (tmp_path / "report.html").unlink()
    monkeypatch.setattr(report, "render", lambda *arguments: 1 / 0)
    assert report.write_or_say(tmp_path, learner, results, said.append) == []
    assert len(said) == 1 and "ZeroDivisionError" in said[0] and f"main.py report {tmp_path.name}" in said[0]
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    learner = made_up.results(tmp_path, trials=1, seeds=1, games=200)
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(OSError):
        report.write_or_say(tmp_path, learner, Results.read(tmp_path), pytest.fail)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("state", ["empty", "interrupted", "of another version", "damaged"])
def test_results_that_are_not_those_of_a_finished_search_are_refused(tmp_path: Path, state: str) -> None:
    path = tmp_path / summaries.FILE
    if state != "empty":
        made_up.results(tmp_path, trials=1, seeds=1, games=200)
    if state == "interrupted":
        made_up.interrupt(tmp_path)
    elif state == "of another version":
        summary = json.loads(path.read_text()) | {"format": FORMAT + 1}
        del summary["crc32"]
        path.write_text(json.dumps(summary | {"crc32": checksum(summary)}))
    elif state == "damaged":
        path.write_text(path.read_text()[:-20])
    words = {"empty": "no results", "of another version": "another version"}.get(state, f"not finished but {state}")
    with pytest.raises(UserError, match=f"{tmp_path.name}.*{words}"):
        report.write(tmp_path, QLearner(Board(), Hyperparameters(), 0))
    assert not (tmp_path / "report.html").exists()


def test_what_a_report_needs_is_imported_only_when_one_is_made() -> None:
    late = {"jinja2", "matplotlib"}
    code = f"import sys, tictactoe.reporting.report.page; print(sorted({late} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
