"""What a search prints at its start and its end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tictactoe.evaluation import Odds

ROWS = 10


def show_start(console: Console, name: str, dashboard: str, token: str, notes: list[str]) -> None:
    """Where to look while the search runs."""
    console.print(f"search {name}")
    console.print(
        f"Ray dashboard: {dashboard}  (sign in with the token that `ray get-auth-token` prints; from {token})",
        markup=False,
        soft_wrap=True,
    )
    for note in notes:
        console.print(note)


def show(console: Console, folder: Path) -> None:
    """The best trials of a finished search, the winner's configuration, and its exact results against random."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    best, policy, cost = summary["best"], summary["policy"], summary["cost"]
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["par10"]))
    keys = [key for key in best["config"] if len({row[key] for row in rows}) > 1]
    table = Table(title=f"{len(rows)} trials, best first", title_justify="left", box=None, pad_edge=False)
    for name in ("trial", "PAR-10", "median", "solved", *keys):
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows[:ROWS]:
        middle = row["median"] if row["median"] == "inf" else f"{float(row['median']):,.0f}"
        values = (row["trial"], f"{float(row['par10']):,.0f}", middle, f"{row['solved']}/{best['seeds']}")
        table.add_row(*values, *(_short(row[key]) for key in keys))
    console.print(table)
    if summary["num_errors"]:
        console.print(f"{summary['num_errors']} trials failed; the reasons are in {folder / 'summary.json'}")
    if summary["truncated"]:
        console.print("the time budget ended the search before all trials were done")
    middle = "never" if best["median"] is None else f"{best['median']:,.0f} games (median)"
    console.print(f"winner: trial_{best['index']:05d}, optimal play after {middle}, {best['solved']}/{best['seeds']} seeds")
    console.print("  " + "  ".join(f"{key}={_short(value)}" for key, value in best["config"].items()))
    verdict = "plays optimally" if policy["optimal"] else "does not play optimally"
    console.print(f"its policy {verdict}: exploitability {policy['exploitability']:g} (exact)")
    for seat in "XO":
        odds = Odds(**policy["vs_random"][seat])
        console.print(f"  as {seat} against random: wins {odds.win:.4%}, draws {odds.draw:.4%}, loses {odds.loss:.4%}")
    console.print(
        f"{cost['wall_s']:.1f} s, {cost['games'] / 1e6:,.1f}M games, {cost['learner_share']:.0%} of the slots' time spent "
        f"learning; results in {folder}",
        markup=False,
    )
    console.print(f"digest {summary['digest']}")


def _short(value: Any) -> str:
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return str(value) if isinstance(value, bool) else f"{number:.0f}" if number >= 100 else f"{number:.3g}"
