"""The chapters of a report, as HTML: every number with a sentence that says what it means."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from tictactoe.core.game import Board
from tictactoe.core.solution import best_wins
from tictactoe.reporting.report.data import FEWEST_SEEDS, Findings, games, last_attempt, short, trial_name
from tictactoe.reporting.report.drawing import Plot

MEASURES = (
    (
        "exploitability",
        "Exploitability",
        "At 0 nobody can do better against the policy than the game's value; at 2 it can be beaten from both seats.",
    ),
    ("loss_vs_random", "Loss against random", "The exact probability of losing to random moves, mean of both seats."),
)
"""Column of a learning curve, its title, and what it means."""
HYPERPARAMETERS = (
    "PAR-10 over one hyperparameter at a time, lower is better: a dot is a trial solved on every seed, a cross one that was "
    "not, a hollow triangle one stopped early, and the diamond marks the winner."
)


def lead(found: Findings) -> str:
    """The search in one sentence."""
    settings, best = found.summary["settings"], found.best
    return (
        f"{len(found.records)} configurations of a Q-learner taught themselves {found.summary['board']} by self-play, each on "
        f"{best['seeds']} {'seed' if best['seeds'] == 1 else 'seeds'} with a budget of {settings['games']:,} games."
    )


def notes(found: Findings) -> Iterable[str]:
    """What a reader must know before believing the rest."""
    if found.summary["truncated"]:
        yield "The time budget ended this search before all trials were done."
    if failed := found.summary["num_errors"]:
        yield f"{failed} of {found.summary['num_trials']} trials failed; summary.json says why. They are in none of the plots."


def winner(found: Findings) -> str:
    """The winner's numbers, its configuration, and its exact results beside the best possible."""
    best, policy = found.best, found.summary["policy"]
    settings = "".join(f"<div><dt>{text(key)}</dt><dd>{text(short(value))}</dd></div>" for key, value in best["config"].items())
    verdict = "plays optimally" if policy["optimal"] else "does not play optimally"
    return f"""
<p>{trial_name(best["index"])} won. Its policy {verdict}: exploitability {policy["exploitability"]:g}, exactly.</p>
<div class="tiles">{"".join(_tiles(found))}</div>
<dl>{settings}</dl>
<h3>Against an opponent that moves at random</h3>
<div class="scroll">{_against_random(found)}</div>
<p class="quiet">Exact probabilities, not samples. The best possible is the highest chance of winning without ever risking
an outcome worse than the game's value, computed for this board.</p>"""


def _tiles(found: Findings) -> Iterable[str]:
    best, fresh, cost = found.best, found.fresh, found.summary["cost"]
    if fresh:
        low, high = fresh["interval"]
        interval = f"the median is between {games(low)} and {games(high)}, {found.confidence} sure."
        if fresh["seeds"] < FEWEST_SEEDS:
            interval = "too few to say how sure that is."
        yield _tile(
            games(fresh["median"]), "games to optimal", f"{_half(fresh['median'], fresh['seeds'], 'fresh')}; {interval}"
        )
        yield _tile(
            games(fresh["par10"]),
            "PAR-10 on fresh seeds",
            "Mean games to optimal on seeds the search never saw, a seed that never gets there counting as 10 budgets.",
        )
    else:
        yield _tile(games(best["median"]), "games to optimal", f"{_half(best['median'], best['seeds'], 'searched')}.")
    yield _tile(
        games(best["par10"]),
        "PAR-10 in the search",
        f"What the search minimised, on its own seeds ({best['solved']} of {best['seeds']} solved); "
        f"the best of {len(found.records)} trials looks a little better than it is.",
    )
    selection = found.summary.get("selection") or {}
    if selection.get("gap") is not None:
        yield _tile(
            f"{selection['gap']:.2f} ×",
            "winner's-curse gap",
            f"PAR-10 on fresh seeds over PAR-10 in the search: above 1, the search flattered the winner.{_search_best(found)}",
        )
    if found.finalists:
        tied = sum(bool(row["tied"]) for row in found.finalists)
        others = (
            "No other finalist is" if tied == 1 else f"{tied - 1} other finalists are" if tied > 2 else "One other finalist is"
        )
        yield _tile(
            f"{tied} of {len(found.finalists)}",
            "finalists tied",
            f"{others} indistinguishable from the winner at 95 %, compared seed by seed.",
        )
    yield _tile(
        f"{cost['learner_share']:.0%}",
        "of the slots' time was learning",
        f"The learner used {cost['learner_cpu_s']:,.1f} s of CPU for {cost['games'] / 1e6:,.1f} million games; "
        f"{last_attempt(cost) or 'the whole search'} took {cost['wall_s']:,.1f} s.",
    )


def _search_best(found: Findings) -> str:
    """What became of the search's own best, where it did not win."""
    first = min(found.finalists, key=lambda row: (row["search_par10"], row["index"]))
    if first["index"] == found.best["index"]:
        return ""
    return (
        f" Its own best, {trial_name(first['index'])}, went from {games(first['search_par10'])} to {games(first['par10'])}: "
        f"{first['par10'] / first['search_par10']:.2f} ×."
    )


def _half(median: float | None, seeds: int, which: str) -> str:
    """What a median says."""
    if median is None:
        return f"Less than half of the {which} seeds ({seeds}) play optimally, for good, within the budget"
    if seeds == 1:
        return f"The only {which} seed plays optimally, for good, after so many games of self-play"
    return f"Half of the {which} seeds ({seeds}) play optimally, for good, after at most so many games of self-play"


def _tile(number: str, name: str, meaning: str) -> str:
    return f'<div class="tile"><strong>{text(number)}</strong>{text(name)}<p>{text(meaning)}</p></div>'


def _against_random(found: Findings) -> str:
    odds = found.summary["policy"]["vs_random"]
    rows = [
        (name, *(f"{odds[seat][result]:.4%}" for seat in "XO"))
        for name, result in (("wins", "win"), ("draws", "draw"), ("loses", "loss"))
    ]
    rows.append(("wins, at best", *(f"{wins:.4%}" for wins in best_wins(Board.parse(found.summary["board"])))))
    return _table(("", "as X", "as O"), rows)


def finalists(found: Findings, plot: Plot) -> str:
    """All finalists on fresh seeds, with what the search had said of them."""
    rows = [
        (
            trial_name(row["index"]),
            games(row["search_par10"]),
            games(row["par10"]),
            games(row["median"]),
            f"{games(row['interval'][0])} – {games(row['interval'][1])}",
            str(row["seeds"]),
            "the winner" if row["index"] == found.best["index"] else "tied" if row["tied"] else "worse",
        )
        for row in found.finalists
    ]
    header = ("trial", "PAR-10, search", "PAR-10, fresh", "median, fresh", "interval", "seeds", "verdict")
    selection = found.summary["selection"]
    return f"""
<p>The best trials ran again on fresh seeds, in {selection["rounds"]} rounds and {selection["learner_cpu_s"]:,.1f} s of the
learner's CPU time: {text(selection["method"])}.</p>
<div class="plots">{figure(plot)}</div>
<div class="scroll" role="region" aria-label="Table of finalists" tabindex="0">{_table(header, rows)}</div>"""


def play() -> str:
    """The board; page/board.js fills it."""
    return """
<div class="play" id="play">
<div>
<div class="controls">
<button type="button" data-seat="1" aria-pressed="true">Play X</button>
<button type="button" data-seat="2" aria-pressed="false">Play O</button>
<button type="button" id="again">New game</button>
<label><input type="checkbox" id="values"> Show values</label>
</div>
<div class="scroll"><div class="board" role="grid" aria-label="Board"></div></div>
</div>
<div>
<p id="status" role="status" aria-live="polite">The board is being set up.</p>
<p class="quiet">X begins. Click a cell, or move among the cells with the arrow keys and press Enter. The policy is the
winner's, from policy.json, and takes one of its equally good moves at random.</p>
<p class="quiet">A cell's value is what the learner expects of your move, for you: near +1 a win, 0 a draw, −1 a loss
(far ones count for less where gamma is below 1). Values are learned, not exact: self-play visits poor moves rarely.</p>
</div>
</div>"""


def plots(chosen: Sequence[Plot], before: str = "", small: bool = False) -> str:
    """Plots side by side, where there is room; `before` says what they share."""
    opening = f"<p>{text(before)}</p>" if before else ""
    return f'{opening}<div class="plots{" small" if small else ""}">{"".join(map(figure, chosen))}</div>'


def figure(plot: Plot) -> str:
    """A plot with its caption."""
    return f"<figure><h3>{text(plot.title)}</h3>{plot.svg}<figcaption>{text(plot.caption)}</figcaption></figure>"


def again(found: Findings) -> str:
    """The command that finds the same, and how to tell."""
    settings = found.summary["settings"] | {"seed": found.summary["seed"], "board": found.summary["board"]}
    names = ("board", "num_samples", "seeds", "games", "seed", "search", "scheduler")
    options = " ".join(f"--{name.replace('_', '-')} {settings[name]}" for name in names)
    versions = ", ".join(f"{name} {version}" for name, version in found.summary["versions"].items())
    return f"""
<p class="mono">python main.py {text(options)}</p>
<p class="mono">{text(found.summary["digest"])}</p>
<p class="quiet">The digest covers every trial's configuration and games to optimal, the finalists' on fresh seeds and the
winner's policy, and nothing that was timed: who runs the command again and reads the same digest has found the same.
Made with {text(versions)}.</p>"""


def text(content: str) -> str:
    """Text as HTML."""
    return html.escape(content)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{text(first)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
