"""What a search prints at its start and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tictactoe import situation
from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.objective import geometric_mean
from tictactoe.experiment.record import Record, names
from tictactoe.experiment.results import Results, more_time
from tictactoe.experiment.summary import Confirmed, Summary
from tictactoe.reporting import stages
from tictactoe.text import count, games, percent, plain_name, seconds, short, trial_name

if TYPE_CHECKING:
    from pathlib import Path

    from tictactoe.process.preflight import Preflight

ROWS = 10
ENOUGH = 10_000
"""Columns in which every table fits."""
LAYOUT: dict[str, Any] = {"title_justify": "left", "box": None, "pad_edge": False}


def show_start(console: Console, name: str, dashboard: str, preflight: Preflight, notes: list[str]) -> None:
    """Where to look while the search runs."""
    console.print(f"search {name}")
    console.print(f"Ray dashboard: {situation.here().dashboard(dashboard)}  (sign in with {preflight.token})")
    for note in notes:
        console.print(note)


def show(console: Console, folder: Path) -> None:
    """The best trials of a finished search, its rounds, the race, the winner's worth, and what it all cost.

    Raises UserError when the folder holds no finished search.
    """
    results = Results.read(folder)
    summary = results.summary
    trials = _whole(_trials(results, results.searched))
    if console.measure(trials, options=console.options.update_width(ENOUGH)).minimum > console.width:
        # configurations are in trials.csv as well
        trials = _whole(_trials(results, []))
    console.print(trials)
    console.print(_whole(_stages(summary)))
    if summary.selection.finalists:
        console.print(_whole(_finalists(results)))
    if summary.num_errors:
        console.print(
            f"{count(summary.num_errors, 'trial')} failed; the reasons are in {folder / 'summary.json'}; "
            f"--retry-failed runs them again{more_time(results.failures)}"
        )
    if summary.truncated:
        budget = summary.settings.time_budget
        larger = f"with a --time-budget above {budget:g}, or " if budget else ""
        console.print(f"the time budget ended the search before all trials were done; {larger}without --time-budget it goes on")
    _show_winner(console, summary)
    _show_cost(console, summary, folder)
    console.print(f"digest {summary.digest}")


def _whole(table: Table) -> Table:
    """A table of texts such that no number is cut: where a screen is too narrow for that, its lines are longer."""
    for column in table.columns:
        words = " ".join(map(str, [column.header, *column.cells])).split()
        column.min_width = max(map(len, words))
    return table


def _trials(results: Results, hyperparameters: list[str]) -> Table:
    """The best trials, by the search's own numbers, and these of their hyperparameters."""
    title = f"{count(len(results.records), 'trial')}, best first, on the search's own seeds, by which they were chosen"
    table = Table(title=title, **LAYOUT)
    for name in ("trial", "geometric mean", "PAR-10", "median", "solved", "reached"):
        table.add_column(name, justify="right", no_wrap=name != "geometric mean")  # where there is little room, others wrap
    for name in hyperparameters:
        table.add_column(plain_name(name), justify="right")
    for record in results.ranked[:ROWS]:
        table.add_row(
            str(record.index),
            _at_least(record, record.geometric_mean),
            _at_least(record, record.par10),
            f"> {games(record.games)}" if record.stopped and record.median is None else games(record.median),
            f"{record.solved}/{len(record.games_to_optimal)}",
            stages.reached(record, results.summary),
            *(short(getattr(record.config, name)) for name in hyperparameters),
        )
    return table


def _at_least(record: Record, value: float) -> str:
    """A score of a trial, marked where it is a lower bound."""
    return f">= {games(value)}" if record.is_bound else games(value)


def _stages(summary: Summary) -> Table:
    """Who took part in each stage, and where the games went."""
    played = sum(stage.played for stage in stages.stages(summary))
    table = Table(title=f"{count(played, 'game')}, by stage", **LAYOUT)
    for name in ("stage", "trials", "seeds of each", "games of each", "games", "share"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for row in stages.rows(summary):
        table.add_row(*row)
    return table


def _finalists(results: Results) -> Table:
    """The race: its finalists on seeds of their own, when each was dropped, and whether it can be told from the winner."""
    summary, records = results.summary, {record.index: record for record in results.records}
    selection = summary.selection
    title = f"race of {len(selection.finalists)} finalists, by geometric means; tied: cannot be told from the winner"
    table = Table(title=title, **LAYOUT)
    for name in ("trial", "fresh seeds", "on them", "on all seeds", "in the search", "dropped", "verdict"):
        table.add_column(name, justify="right")
    for finalist in selection.finalists:
        won = finalist.index == summary.best.index
        record, means = records[finalist.index], (finalist.mean_log, finalist.means[-1])
        table.add_row(
            str(finalist.index),
            f"{finalist.seeds:,}",
            *(games(geometric_mean(mean)) for mean in means),
            _at_least(record, record.geometric_mean),
            "" if won else f"look {len(finalist.means) - 1}",
            "winner" if won else "tied" if finalist.tied else "worse",
        )
    return table


def _show_winner(console: Console, summary: Summary) -> None:
    """The winner's worth on seeds that chose nothing, what it was chosen by, its configuration, and its policy's worth."""
    best, policy = summary.best, summary.policy
    console.print(f"winner: {trial_name(best.index)}, on {count(best.confirmed.seeds, 'seed')} that chose nothing")
    for line in _worth(best.confirmed):
        console.print(f"  {line}")
    raced = f", {games(geometric_mean(best.fresh.mean_log))} on fresh seeds in the race" if best.fresh else ""
    console.print(
        f"  chosen by: geometric mean {games(geometric_mean(best.mean_log))} in the search{raced}; "
        f"confirmed over search: {summary.selection.gap:.2f} times"
    )
    if summary.selection.finalists:
        tied = summary.selection.tied - 1
        others = {0: "all other finalists can", 1: "one other finalist cannot"}.get(tied, f"{tied} other finalists cannot")
        console.print(f"  {others} be told from it at 95 %")
    console.print("  " + "  ".join(f"{field}={short(getattr(best.config, field))}" for field in names(Hyperparameters)))
    verdict = "plays optimally" if policy.optimal else "does not play optimally"
    console.print(f"its best policy {verdict}: exploitability {policy.exploitability:g} (exact)")
    for seat, odds in policy.vs_random.items():
        win, draw, loss = (percent(share, 4) for share in (odds.win, odds.draw, odds.loss))
        console.print(f"  as {seat} against random: wins {win}, draws {draw}, loses {loss}")


def _worth(confirmed: Confirmed) -> list[str]:
    """What the confirmation says, and beside each number what it cannot know."""
    low, high = map(games, confirmed.interval)
    sure = f"{low} to {high}, 95 % sure" if confirmed.has_interval else "too few seeds for an interval"
    least, most = (games(geometric_mean(end)) for end in confirmed.mean_log_interval)
    seeds, share = count(confirmed.seeds, "seed"), percent(confirmed.solved_at_least, 1)
    return [
        f"games to optimal: median {games(confirmed.median)} ({sure})",
        f"games to optimal: geometric mean {games(geometric_mean(confirmed.mean_log))} ({least} to {most}, 95 % sure)",
        f"{confirmed.solved:,} of {confirmed.seeds:,} solved: at least {share} of seeds, 95 % sure",
        f"PAR-10 {games(confirmed.par10)}, and up to {games(confirmed.par10_at_most)} if as many fail as {seeds} may hide",
    ]


def _show_cost(console: Console, summary: Summary, folder: Path) -> None:
    cost, selection = summary.cost, summary.selection
    span = f" for {cost.last_attempt}" if cost.last_attempt else ""
    cpu = cost.learner_cpu_s + selection.learner_cpu_s + summary.best.confirmed.learner_cpu_s
    console.print(
        f"{seconds(cost.wall_s)}{span}; {seconds(cpu)} of CPU learning, "
        f"which filled {percent(cost.learner_share)} of the slots' time in the search; results in {folder}"
    )
