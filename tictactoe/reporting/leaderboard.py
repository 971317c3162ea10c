"""What a search prints at its start and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tictactoe import situation
from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import names
from tictactoe.experiment.results import Results, more_time
from tictactoe.experiment.summary import Finalist, SelectionSummary, Summary
from tictactoe.text import count, games, millions, percent, plain_name, seconds, short, trial_name

if TYPE_CHECKING:
    from pathlib import Path

    from tictactoe.process.preflight import Preflight

ROWS = 10
WIDE = 110
"""Columns of a screen that has room for configurations; they are in trials.csv as well."""
LAYOUT: dict[str, Any] = {"title_justify": "left", "box": None, "pad_edge": False}


def show_start(console: Console, name: str, dashboard: str, preflight: Preflight, notes: list[str]) -> None:
    """Where to look while the search runs."""
    console.print(f"search {name}")
    console.print(f"Ray dashboard: {situation.here().dashboard(dashboard)}  (sign in with {preflight.token})")
    for note in notes:
        console.print(note)


def show(console: Console, folder: Path) -> None:
    """The best trials of a finished search, the winner, its exact results against random, and what it all cost.

    Raises UserError when the folder holds no finished search.
    """
    results = Results.read(folder)
    summary = results.summary
    _print_whole(console, _trials(results, with_configurations=console.width >= WIDE))
    _show_selection(console, summary)
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


def _print_whole(console: Console, table: Table) -> None:
    """Print a table of texts in which no number is cut: where a screen is too narrow for that, its lines are longer."""
    for column in table.columns:
        words = " ".join(map(str, [column.header, *column.cells])).split()
        column.min_width = max(map(len, words))
    console.print(table)


def _trials(results: Results, with_configurations: bool) -> Table:
    """The best trials, by the search's own numbers."""
    title = f"{count(len(results.records), 'trial')}, best first, on the search's own seeds"
    searched = results.searched if with_configurations else []
    table = Table(title=title, **LAYOUT)
    for name in ("trial", "PAR-10", "median", "solved"):
        table.add_column(name, justify="right", no_wrap=True)  # where there is little room, others wrap
    for name in searched:
        table.add_column(plain_name(name), justify="right")
    for record in results.ranked[:ROWS]:
        solved = "stopped" if record.stopped else f"{record.solved}/{len(record.games_to_optimal)}"
        numbers = (str(record.index), games(record.par10), games(record.median), solved)
        table.add_row(*numbers, *(short(getattr(record.config, name)) for name in searched))
    return table


def _show_selection(console: Console, summary: Summary) -> None:
    """The finalists on fresh seeds, and what that cost."""
    selection = summary.selection
    if not selection.finalists:
        console.print("no trial used its whole budget: nothing was run on fresh seeds, and the numbers are the search's own")
        return
    title = f"{count(len(selection.finalists), 'finalist')}, best first, on seeds the search never saw"
    table = Table(title=title, **LAYOUT)
    for name in ("trial", "PAR-10", "median", "interval", "seeds", "verdict", "PAR-10 in the search"):
        table.add_column(name, justify="right")
    for finalist in selection.finalists:
        verdict = "winner" if finalist.index == summary.best.index else "tied" if finalist.tied else "worse"
        low, high = finalist.interval
        numbers = (games(finalist.par10), games(finalist.median), f"{games(low)} to {games(high)}", str(finalist.seeds))
        table.add_row(str(finalist.index), *numbers, verdict, games(finalist.search_par10))
    _print_whole(console, table)
    replicates = sum(finalist.seeds for finalist in selection.finalists)
    console.print(
        f"cost of the fresh seeds: {count(replicates, 'replicate')}, {seconds(selection.learner_cpu_s)} of the learner's CPU, "
        f"{percent(selection.learner_cpu_s / summary.cost.learner_cpu_s)} of the search's"
    )


def _show_winner(console: Console, summary: Summary) -> None:
    """The winner's fresh numbers beside the search's, its configuration, and what its policy is worth."""
    best, policy = summary.best, summary.policy
    name = f"winner: {trial_name(best.index)}"
    if best.fresh is None:
        solved = f"{best.solved}/{count(best.seeds, 'seed')}"
        console.print(f"{name}, optimal play after {games(best.median)} games (median), {solved} of the search's own")
    else:
        low, high = map(games, best.fresh.interval)
        interval = f"{low} to {high}, {percent(best.fresh.confidence)} sure"
        sure = interval if best.fresh.has_interval else "too few for an interval"
        seeds = count(best.fresh.seeds, "fresh seed")
        console.print(f"{name}, optimal play after {games(best.fresh.median)} games (median of {seeds}; {sure})")
        _show_gaps(console, summary.selection)
    console.print("  " + "  ".join(f"{field}={short(getattr(best.config, field))}" for field in names(Hyperparameters)))
    verdict = "plays optimally" if policy.optimal else "does not play optimally"
    console.print(f"its policy {verdict}: exploitability {policy.exploitability:g} (exact)")
    for seat, odds in policy.vs_random.items():
        win, draw, loss = (percent(share, 4) for share in (odds.win, odds.draw, odds.loss))
        console.print(f"  as {seat} against random: wins {win}, draws {draw}, loses {loss}")


def _show_gaps(console: Console, selection: SelectionSummary) -> None:
    """How much better the search thought its best than they are, and how far the winner is ahead."""
    winner, first = selection.finalists[0], selection.search_best
    console.print(f"  {_gap(winner)}")
    if first is not winner:
        console.print(f"  the search's own best, {trial_name(first.index)}: {_gap(first)}")
    if len(selection.finalists) == 1:
        return
    tied = selection.tied - 1
    others = {0: "all other finalists can", 1: "one other finalist cannot"}.get(tied, f"{tied} other finalists cannot")
    console.print(f"  {others} be told from it at 95 %")


def _gap(finalist: Finalist) -> str:
    search, fresh = finalist.search_par10, finalist.par10
    return f"PAR-10 {games(search)} in the search, {games(fresh)} on fresh seeds ({fresh / search:.2f} times)"


def _show_cost(console: Console, summary: Summary, folder: Path) -> None:
    cost = summary.cost
    span = f" for {cost.last_attempt}" if cost.last_attempt else ""
    console.print(
        f"{seconds(cost.wall_s)}{span}, {millions(cost.games)} games, "
        f"{percent(cost.learner_share)} of the slots' time spent learning; results in {folder}"
    )
