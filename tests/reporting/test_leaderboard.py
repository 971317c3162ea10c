"""What a search prints at its end, from results that were made up."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support import records as made
from tictactoe.errors import UserError
from tictactoe.experiment.record import Record
from tictactoe.experiment.summary import Finalist, Summary
from tictactoe.process.preflight import Preflight
from tictactoe.reporting import leaderboard

RECORDS = [
    made.record(0, (700, 900)),
    made.record(1, (1_234, None)),
    made.record(2, (400, 428)),
    made.record(3, (500, 500)),
    made.record(4, (300, 300), games=1_000, stopped=True),
]


def finalists(*tied: int) -> list[Finalist]:
    """Trial 3 wins on fresh seeds; some of the others cannot be told from it."""
    numbers: dict[int, dict[str, Any]] = {
        3: {"par10": 550.0, "median": 510.0, "interval": (476.0, 600.0)},
        2: {"par10": 828.0, "median": 700.0, "interval": (600.0, 900.0)},
        0: {"par10": 1_600.0, "median": 1_200.0, "interval": (900.0, None)},
        1: {"par10": 100_000.0, "median": None, "interval": (1_000.0, None)},
    }
    return [made.finalist(RECORDS[index], tied=index == 3 or index in tied, **numbers[index]) for index in numbers]


def shown(folder: Path, width: int = 200) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False, markup=False, soft_wrap=True)
    leaderboard.show(console, folder)
    return output.getvalue()


def tables(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """The rows of the trials' and of the finalists' table, as words."""
    lines = text.splitlines()
    heads = [number for number, line in enumerate(lines) if line.split()[:2] == ["trial", "PAR-10"]]
    rows = []
    for head in heads:
        block = []
        for line in lines[head + 1 :]:
            if not line.startswith(" "):
                break
            if line[:5].strip():  # else the rest of a row that takes several lines
                block.append(line.split())
        rows.append(block)
    assert len(rows) == 2
    return rows[0], rows[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mine"


def write(folder: Path, *tied: int, records: list[Record] = RECORDS, **values: Any) -> Summary:
    return made.write_search(folder, records, finalists=finalists(*tied), **values)


def test_trials_are_ranked_by_the_searchs_own_numbers(folder: Path) -> None:
    write(folder)
    text = shown(folder)
    assert "5 trials" in text
    rows, _ = tables(text)
    assert [row[:4] for row in rows] == [
        ["2", "414", "414", "2/2"],
        ["3", "500", "500", "2/2"],
        ["0", "800", "800", "2/2"],
        ["1", "50,617", "never", "1/2"],
        ["4", "300", "300", "stopped"],
    ]
    assert [row[4] for row in rows] == ["0.102", "0.103", "0.1", "0.101", "0.104"]  # what the search has varied
    assert "q init" in text


def test_finalists_are_in_the_races_order_with_their_verdicts(folder: Path) -> None:
    write(folder, 2)
    _, rows = tables(shown(folder))
    assert [row[0] for row in rows] == ["3", "2", "0", "1"]
    assert [row[-2] for row in rows] == ["winner", "tied", "worse", "worse"]
    assert [row[-1] for row in rows] == ["500", "414", "800", "50,617"]
    assert rows[0][1:7] == ["550", "510", "476", "to", "600", "12"]
    assert rows[2][1:7] == ["1,600", "1,200", "900", "to", "never", "12"]
    assert rows[3][1:3] == ["100,000", "never"]


def test_the_winner_its_gap_and_the_searchs_own_best(folder: Path) -> None:
    summary = write(folder)
    lines = shown(folder).splitlines()
    winner = next(number for number, line in enumerate(lines) if line.startswith("winner: "))
    assert re.findall(r"[\d,]+", lines[winner]) == ["00003,", "510", "12", "476", "600,", "95"]
    assert re.findall(r"[\d.]+", lines[winner + 1]) == ["10", "500", "550", "1.10"]
    assert "trial_00002" in lines[winner + 2]
    assert re.findall(r"(?<!_)\b[\d.]+\b", lines[winner + 2])[-3:] == ["414", "828", "2.00"]
    assert lines[winner + 3].strip() == "all other finalists can be told from it at 95 %"
    assert "q_init=0.103" in lines[winner + 4] and "replay=backward" in lines[winner + 4]
    assert lines[-1] == f"digest {summary.digest}"


@pytest.mark.parametrize(("tied", "words"), [((2,), "one other finalist"), ((2, 0), "2 other finalists")])
def test_ties_are_counted(folder: Path, tied: tuple[int, ...], words: str) -> None:
    write(folder, *tied)
    assert f"{words} cannot be told from it" in shown(folder)


def test_the_best_of_both_has_one_gap(folder: Path) -> None:
    made.write_search(folder, RECORDS)
    text = shown(folder)
    assert text.count("in the search, ") == 1
    assert "winner: trial_00002" in text
    assert "(1.00 times)" in text


def test_exact_results_and_costs(folder: Path) -> None:
    write(folder)
    text = shown(folder)
    assert re.findall(r"[\d.]+ ?%", text.partition("as X")[2].partition("as O")[0]) == ["75.0000 %", "25.0000 %", "0.0000 %"]
    assert re.findall(r"[\d.]+ ?%", text.partition("as O")[2])[:3] == ["50.0000 %", "37.5000 %", "12.5000 %"]
    assert "plays optimally: exploitability 0 " in text
    cost = next(line for line in text.splitlines() if line.startswith("cost of the fresh seeds: "))
    assert re.findall(r"[\d.]+", cost) == ["48", "0.5", "10"]
    last = text.splitlines()[-2]
    assert re.findall(r"[\d.]+", last.partition(";")[0]) == ["12.5", "3.4", "80"]
    assert last.endswith(f"results in {folder}")
    assert "attempt" not in last


def test_a_policy_that_is_not_optimal(folder: Path) -> None:
    summary = made.summary(RECORDS)
    made.write_search(folder, RECORDS, policy=replace(summary.policy, optimal=False, exploitability=0.5))
    assert "does not play optimally: exploitability 0.5 " in shown(folder)


def test_several_attempts_say_whose_seconds_are_told(folder: Path) -> None:
    write(folder, cost=replace(made.summary(RECORDS).cost, attempts=3))
    assert "12.5 s for the last of 3 attempts, 3.4 million games" in shown(folder)


def test_without_finalists_the_numbers_are_the_searchs_own(folder: Path) -> None:
    records = [made.record(index, (900 - index, None), stopped=True) for index in range(3)]
    made.write_search(folder, records)
    text = shown(folder)
    assert text.count("PAR-10") == 1
    assert "nothing was run on fresh seeds" in text
    line = next(line for line in text.splitlines() if line.startswith("winner: "))
    assert "trial_00002" in line and "never" in line and "1/2 seeds" in line
    assert "cannot be told" not in text


def test_too_few_seeds_for_an_interval(folder: Path) -> None:
    few = [made.finalist(RECORDS[2], tied=True, seeds=1, interval=(100.0, None), confidence=0.0)]
    made.write_search(folder, RECORDS, finalists=few)
    line = next(line for line in shown(folder).splitlines() if line.startswith("winner: "))
    assert "1 fresh seed;" in line and "sure" not in line


def test_failed_trials_and_a_spent_time_budget_are_told(folder: Path) -> None:
    write(folder)
    text = shown(folder)
    assert "trials failed" not in text and "time budget" not in text
    other = folder.with_name("other")
    made.write_search(other, RECORDS, [made.failure(7), made.failure(8)], truncated=True)
    text = shown(other)
    assert "2 trials failed" in text and str(other / "summary.json") in text
    assert "--retry-failed runs them again\n" in text
    assert "without --time-budget it goes on" in text and "above" not in text
    late = folder.with_name("late")
    settings = replace(made.unfinished().settings, time_budget=12.0)
    made.write_search(late, RECORDS, [made.failure(7), made.failure(8, timeout=2.5)], truncated=True, settings=settings)
    text = shown(late)
    assert "also run again with a --trial-timeout above 2.5" in text
    assert "with a --time-budget above 12, or without --time-budget it goes on" in text


def test_no_more_than_ten_trials(folder: Path) -> None:
    made.write_search(folder, [made.record(index, (400 + index, 400 + index)) for index in range(25)])
    rows, _ = tables(shown(folder))
    assert [row[0] for row in rows] == [str(index) for index in range(10)]
    assert "25 trials" in shown(folder)


@pytest.mark.parametrize("width", [40, 80, 128])
def test_numbers_are_whole_on_a_narrow_screen(folder: Path, width: int) -> None:
    write(folder, 2)
    text = shown(folder, width)
    rows, fresh = tables(text)
    assert [row[1] for row in rows] == ["414", "500", "800", "50,617", "300"]
    assert [row[2] for row in rows] == ["414", "500", "800", "never", "300"]
    words = text.replace("…", "CUT").split()
    for number in ("50,617", "100,000", "1,600", "1,200", "828", "414", "550"):
        assert number in words
    assert "CUT" not in text.replace("…", "CUT")
    assert [row[0] for row in fresh] == ["3", "2", "0", "1"]
    table = text.partition("winner: ")[0].splitlines()
    assert ("q init" in text) == (width >= leaderboard.WIDE)
    if width >= 80:
        assert all(len(line) <= width for line in table if re.match(r"\s*\d+  ", line))


def test_results_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results"):
        shown(tmp_path)


def test_the_start_says_where_to_look() -> None:
    output = io.StringIO()
    preflight = Preflight(2, 8266, token_source="/a/file", token_command="ray get-auth-token")
    console = Console(file=output, width=200, soft_wrap=True)
    leaderboard.show_start(console, "mine", "http://127.0.0.1:8266", preflight, ["port 8265 is taken", "W&B: disabled"])
    lines = output.getvalue().splitlines()
    assert lines[0] == "search mine"
    assert all(part in lines[1] for part in ("http://127.0.0.1:8266", "ray get-auth-token", "/a/file"))
    assert lines[2:] == ["port 8265 is taken", "W&B: disabled"]
