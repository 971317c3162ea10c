"""What a search prints at its start and its end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tictactoe.core.evaluation import Odds
from tictactoe.reporting.report.data import FEWEST_SEEDS, last_attempt

if TYPE_CHECKING:
    from tictactoe.process.preflight import Preflight

ROWS = 10
WIDE = 110
"""Columns of a screen that has room for configurations; they are in trials.csv as well."""
LAYOUT: dict[str, Any] = {"title_justify": "left", "box": None, "pad_edge": False}


def show_start(console: Console, name: str, dashboard: str, found: Preflight, notes: list[str]) -> None:
    """Where to look while the search runs."""
    console.print(f"search {name}")
    console.print(
        f"Ray dashboard: {dashboard}  (sign in with the token that `{found.token_command}` prints; from {found.token_source})"
    )
    for note in notes:
        console.print(note)


def show(console: Console, folder: Path) -> None:
    """The best trials of a finished search, the winner's configuration, and its exact results against random."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    best, policy, cost = summary["best"], summary["policy"], summary["cost"]
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["stopped"] == "True", float(row["par10"])))
    differing = [key for key in best["config"] if len({row[key] for row in rows}) > 1]
    keys = differing if console.width >= WIDE else []
    table = Table(title=f"{len(rows)} trials, best first, on the search's own seeds", **LAYOUT)
    for name in ("trial", "PAR-10", "median", "solved"):
        table.add_column(name, justify="right", no_wrap=True)  # where there is little room, others wrap
    for name in keys:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows[:ROWS]:
        middle = row["median"] if row["median"] == "inf" else f"{float(row['median']):,.0f}"
        solved = "stopped" if row["stopped"] == "True" else f"{row['solved']}/{best['seeds']}"
        values = (row["trial"], f"{float(row['par10']):,.0f}", middle, solved)
        table.add_row(*values, *(_short(row[key]) for key in keys))
    console.print(table)
    _show_finalists(console, summary)
    if summary["num_errors"]:
        console.print(f"{_count(summary['num_errors'], 'trial')} failed; the reasons are in {folder / 'summary.json'}")
    if summary["truncated"]:
        console.print("the time budget ended the search before all trials were done; without --time-budget it goes on")
    _show_winner(console, summary)
    console.print("  " + "  ".join(f"{key}={_short(value)}" for key, value in best["config"].items()))
    verdict = "plays optimally" if policy["optimal"] else "does not play optimally"
    console.print(f"its policy {verdict}: exploitability {policy['exploitability']:g} (exact)")
    for seat in "XO":
        odds = Odds(**policy["vs_random"][seat])
        console.print(f"  as {seat} against random: wins {odds.win:.4%}, draws {odds.draw:.4%}, loses {odds.loss:.4%}")
    attempt = last_attempt(cost)
    console.print(
        f"{cost['wall_s']:.1f} s{f' for {attempt}' if attempt else ''}, {cost['games'] / 1e6:,.1f}M games, "
        f"{cost['learner_share']:.0%} of the slots' time spent learning; results in {folder}"
    )
    console.print(f"digest {summary['digest']}")


def _show_finalists(console: Console, summary: dict[str, Any]) -> None:
    """The finalists on fresh seeds, and what that cost."""
    selection = summary["selection"]
    finalists = selection["finalists"]
    if not finalists:
        console.print("no trial used its whole budget: nothing was run on fresh seeds, and the numbers are the search's own")
        return
    table = Table(title=f"{len(finalists)} finalists, best first, on seeds the search never saw", **LAYOUT)
    for name in ("trial", "PAR-10", "median", "interval", "seeds", "verdict", "PAR-10 in the search"):
        table.add_column(name, justify="right")
    for row in finalists:
        verdict = "winner" if row is finalists[0] else "tied" if row["tied"] else "worse"
        interval = f"{_games(row['interval'][0])} to {_games(row['interval'][1])}"
        numbers = (_games(row["par10"]), _games(row["median"]), interval, str(row["seeds"]))
        table.add_row(str(row["index"]), *numbers, verdict, _games(row["search_par10"]))
    console.print(table)
    replicates, seconds = sum(row["seeds"] for row in finalists), selection["learner_cpu_s"]
    console.print(
        f"cost of the fresh seeds: {_count(replicates, 'replicate')}, {seconds:.1f} s of the learner's CPU time, "
        f"{seconds / summary['cost']['learner_cpu_s']:.0%} of the search's"
    )


def _show_winner(console: Console, summary: dict[str, Any]) -> None:
    """The winner's fresh numbers beside the search's, and how far it is ahead."""
    best, selection = summary["best"], summary["selection"]
    name, fresh = f"winner: trial_{best['index']:05d}", best["fresh"]
    if fresh is None:
        solved = f"{best['solved']}/{best['seeds']} seeds"
        console.print(f"{name}, optimal play after {_games(best['median'])} games (median), {solved} of the search's own")
        return
    low, high = map(_games, fresh["interval"])
    sure = f"{low} to {high}, {fresh['confidence']:.0%} sure" if fresh["seeds"] >= FEWEST_SEEDS else "too few for an interval"
    seeds = _count(fresh["seeds"], "fresh seed")
    console.print(f"{name}, optimal play after {_games(fresh['median'])} games (median of {seeds}; {sure})")
    winner = selection["finalists"][0]
    first = min(selection["finalists"], key=lambda row: (row["search_par10"], row["index"]))
    console.print(f"  {_gap(winner)}")
    if first is not winner:
        console.print(f"  the search's own best, trial_{first['index']:05d}: {_gap(first)}")
    tied = sum(row["tied"] for row in selection["finalists"]) - 1
    others = {0: "no other finalist", 1: "one other finalist"}.get(tied, f"{tied} other finalists")
    console.print(f"  {others} cannot be told from it at 95 %")


def _gap(finalist: dict[str, Any]) -> str:
    there, here = finalist["search_par10"], finalist["par10"]
    return f"PAR-10 {_games(there)} in the search, {_games(here)} on fresh seeds ({here / there:.2f} times)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _games(number: float | None) -> str:
    """A number of games; None, as in JSON, is infinite."""
    return "never" if number is None else f"{number:,.0f}"


def _short(value: Any) -> str:
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return str(value) if isinstance(value, bool) else f"{number:.0f}" if number >= 100 else f"{number:.3g}"
