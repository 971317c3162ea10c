"""What a search prints at its end, from results that were made up."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support import made_up
from tests.support import records as made
from tictactoe.core.learner import Hyperparameters
from tictactoe.errors import UserError
from tictactoe.experiment.record import Record
from tictactoe.experiment.results import Results
from tictactoe.experiment.summary import Finalist, Summary
from tictactoe.process.preflight import Preflight
from tictactoe.reporting import leaderboard

RECORDS = [
    made.record(0, (700, 900)),
    made.record(1, (1_234, None)),
    made.record(2, (400, 428)),
    made.record(3, (500, 500)),
    made.record(4, (300, None), games=1_000, stopped=True),
]


def finalists(*tied: int) -> list[Finalist]:
    """Trial 3 wins the race; some of the others cannot be told from it."""
    numbers: dict[int, tuple[float, tuple[float, ...], int]] = {
        3: (510.0, (500.0, 505.0, 508.0), 48),
        2: (700.0, (414.0, 450.0, 650.0), 48),
        0: (1_200.0, (794.0, 1_100.0), 16),
        1: (90_000.0, (11_108.0, 80_000.0), 16),
    }
    return [
        made.finalist(
            RECORDS[index],
            tied=index == 3 or index in tied,
            mean_log=math.log(mean),
            means=tuple(map(math.log, means)),
            seeds=seeds,
        )
        for index, (mean, means, seeds) in numbers.items()
    ]


def shown(folder: Path, width: int = 200) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False, markup=False, soft_wrap=True)
    leaderboard.show(console, folder)
    return output.getvalue()


def table(text: str, *head: str) -> list[list[str]]:
    """The rows of the table whose head begins with these words, as words."""
    lines = iter(text.splitlines())
    assert any(line.split()[: len(head)] == list(head) for line in lines)
    rows = []
    for line in lines:
        if not re.match(r" *(\d+|round \d|look \d|search|confirmation)  ", line):
            if line.startswith("   "):
                continue  # the rest of a row that takes several lines
            break
        rows.append([word for word in re.split("  +", line.strip()) if word])
    return rows


def races(text: str) -> list[list[str]]:
    return table(text, "trial", "fresh")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mine"


def write(folder: Path, *tied: int, records: Sequence[Record] = RECORDS, **values: Any) -> Summary:
    return made.write_search(folder, records, finalists=finalists(*tied), **values)


def test_trials_are_ranked_by_the_searchs_own_numbers_and_say_how_far_they_got(folder: Path) -> None:
    write(folder)
    text = shown(folder)
    assert text.startswith("5 trials, best first, on the search's own seeds, by which they were chosen\n")
    rows = table(text, "trial", "geometric")
    assert [row[:6] for row in rows] == [
        ["2", "414", "414", "414", "2/2", "whole"],
        ["3", "500", "500", "500", "2/2", "whole"],
        ["0", "794", "800", "800", "2/2", "whole"],
        ["1", "11,108", "50,617", "never", "1/2", "whole"],
        ["4", ">= 1,732", ">= 5,150", "> 1,000", "1/2", "stopped"],
    ]
    assert [row[6] for row in rows] == ["0.102", "0.103", "0.1", "0.101", "0.104"]  # what the search has varied
    assert "q init" in text


def test_every_stage_with_its_games(folder: Path) -> None:
    write(folder)
    text = shown(folder)
    assert "3,380,000 games, by stage" in text
    assert table(text, "stage", "trials") == [
        ["search", "5", "2", "10,000", "100,000", "3.0 %"],
        ["look 1", "4", "16", "10,000", "640,000", "18.9 %"],
        ["look 2", "2", "32", "10,000", "640,000", "18.9 %"],
        ["confirmation", "1", "200", "10,000", "2,000,000", "59.2 %"],
    ]


def test_a_race_of_rounds_looks_and_confirmation(folder: Path) -> None:
    made_up.landscape(folder, trials=128)
    summary = Results.read(folder).summary
    text = shown(folder, 80)
    rows = table(text, "stage", "trials")
    names = ["round 1", "round 2", "look 1", "look 2", "look 3", "confirmation"]
    assert [row[0] for row in rows] == names
    assert [[cell.replace(",", "") for cell in row[1:5]] for row in rows[:2]] == [
        [str(number) for number in (one.trials, one.seeds, one.games, one.played)] for one in summary.rounds
    ]
    assert [int(row[1]) * int(row[2]) * int(row[3].replace(",", "")) for row in rows] == [
        int(row[4].replace(",", "")) for row in rows
    ]
    assert sum(int(row[4].replace(",", "")) for row in rows[2:5]) == summary.selection.games
    assert [row[5] for row in table(text, "trial", "geometric")] == ["round 2 of 2"] * 10
    dropped = [row[5] for row in races(text)[1:]]
    assert sorted(dropped) == ["look 1"] * 4 + ["look 2"] * 2 + ["look 3"]


def test_finalists_are_in_the_races_order_with_their_verdicts(folder: Path) -> None:
    write(folder, 2)
    assert races(shown(folder)) == [
        ["3", "48", "510", "508", "500", "winner"],
        ["2", "48", "700", "650", "414", "look 2", "tied"],
        ["0", "16", "1,200", "1,100", "794", "look 1", "worse"],
        ["1", "16", "90,000", "80,000", "11,108", "look 1", "worse"],
    ]


def test_the_headline_is_the_confirmation_and_what_it_cannot_know(folder: Path) -> None:
    summary = write(folder)
    lines = [line.strip() for line in shown(folder).splitlines()]
    at = lines.index("winner: trial_00003, on 200 seeds that chose nothing")
    assert lines[at + 1 : at + 7] == [
        "games to optimal: median 431 (381 to 476, 95 % sure)",
        "games to optimal: geometric mean 450 (430 to 520, 95 % sure)",
        "200 of 200 solved: at least 98.5 % of seeds, 95 % sure",
        "PAR-10 468, and up to 7,894 if as many fail as 200 seeds may hide",
        "chosen by: geometric mean 500 in the search, 510 on fresh seeds in the race; confirmed over search: 0.90 times",
        "all other finalists can be told from it at 95 %",
    ]
    assert "q_init=0.103" in lines[at + 7] and "replay=backward" in lines[at + 7]
    assert lines[-1] == f"digest {summary.digest}"


@pytest.mark.parametrize(("tied", "words"), [((2,), "one other finalist"), ((2, 0), "2 other finalists")])
def test_ties_are_counted(folder: Path, tied: tuple[int, ...], words: str) -> None:
    write(folder, *tied)
    assert f"{words} cannot be told from it" in shown(folder)


def test_a_winner_that_is_never_solved_and_too_few_seeds(folder: Path) -> None:
    summary = made.summary(RECORDS)
    never = made.confirmed(
        seeds=1, solved=0, solved_at_least=0.0, median=None, interval=(0.0, None), par10=1e5, par10_at_most=1e5, games=10_000
    )
    made.write_search(folder, RECORDS, best=replace(summary.best, confirmed=never))
    text = shown(folder)
    assert "on 1 seed that chose nothing" in text
    assert "median never (too few seeds for an interval)" in text
    assert "0 of 1 solved: at least 0.0 % of seeds" in text


def test_a_single_trial_raced_with_nobody(folder: Path) -> None:
    made.write_search(folder, RECORDS[:1])
    text = shown(folder)
    assert "finalist" not in text and "fresh seeds" not in text and "look" not in text
    assert [row[0] for row in table(text, "stage", "trials")] == ["search", "confirmation"]
    assert "chosen by: geometric mean 794 in the search; confirmed over search: 0.57 times" in text


def test_exact_results_and_costs(folder: Path) -> None:
    write(folder)
    text = shown(folder)
    assert re.findall(r"[\d.]+ ?%", text.partition("as X")[2].partition("as O")[0]) == ["75.0000 %", "25.0000 %", "0.0000 %"]
    assert re.findall(r"[\d.]+ ?%", text.partition("as O")[2])[:3] == ["50.0000 %", "37.5000 %", "12.5000 %"]
    assert "plays optimally: exploitability 0 " in text
    last = text.splitlines()[-2]
    assert re.findall(r"[\d.]+", last.rpartition(";")[0]) == ["12.5", "5.8", "80"]
    assert last.endswith(f"results in {folder}")
    assert "attempt" not in last


def test_a_policy_that_is_not_optimal(folder: Path) -> None:
    summary = made.summary(RECORDS)
    made.write_search(folder, RECORDS, policy=replace(summary.policy, optimal=False, exploitability=0.5))
    assert "does not play optimally: exploitability 0.5 " in shown(folder)


def test_several_attempts_say_whose_seconds_are_told(folder: Path) -> None:
    write(folder, cost=replace(made.summary(RECORDS).cost, attempts=3))
    assert "12.5 s for the last of 3 attempts; 5.8 s of CPU" in shown(folder)


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
    text = shown(folder)
    assert [row[0] for row in table(text, "trial", "geometric")] == [str(index) for index in range(10)]
    assert "25 trials" in text


@pytest.mark.parametrize("width", [40, 80, 128])
def test_numbers_are_whole_on_a_narrow_screen(folder: Path, width: int) -> None:
    write(folder, 2)
    text = shown(folder, width)
    assert "…" not in text
    words = text.split()
    for number in ("11,108", "50,617", "90,000", "80,000", "1,200", "1,100", "2,000,000", "10,000", "414", "5,150"):
        assert number in words
    if width >= 80:
        tables = text.partition("winner: ")[0].splitlines()
        assert all(len(line) <= width for line in tables)


def test_configurations_are_shown_where_they_fit(folder: Path) -> None:
    different = Hyperparameters(
        alpha_start=0.5, alpha_end=0.25, alpha_decay=30_000.0, gamma=0.91234, epsilon_start=0.00123, epsilon_end=0.000123,
        epsilon_decay=12_345.0, q_init=0.123, bootstrap="2-ply", replay="forward", table="state-action", symmetry=False,
    )  # fmt: skip
    made.write_search(folder, [*RECORDS[:2], replace(RECORDS[2], config=different)])
    wide, narrow = shown(folder, 200), shown(folder, 128)
    assert "state-action" in wide.partition("winner: ")[0]
    assert "state-action" not in narrow.partition("winner: ")[0] and "table=state-action" in narrow
    assert all(len(line) <= 128 for line in narrow.partition("winner: ")[0].splitlines())


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
