"""report.html: what a search has come to, to look at, to check and to play against. It is one file and needs no network.

Words and markup are in templates/; here is what they are filled with.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tictactoe import files, text
from tictactoe.core.game import Board
from tictactoe.core.learner import QLearner
from tictactoe.core.solution import best_wins
from tictactoe.experiment.objective import geometric_mean
from tictactoe.experiment.results import Results
from tictactoe.experiment.slots import attempts
from tictactoe.experiment.summary import Summary
from tictactoe.reporting import stages
from tictactoe.reporting.report import board, data

if TYPE_CHECKING:
    from jinja2 import Environment

    from tictactoe.reporting.report.drawing import Plot

TEMPLATES = Path(__file__).with_name("templates")


def geometric(mean_log: float) -> str:
    """The objective as a geometric mean, in games."""
    return text.games(geometric_mean(mean_log))


FILTERS: tuple[Callable[..., str], ...] = (
    text.count,
    text.games,
    geometric,
    text.millions,
    text.percent,
    text.seconds,
    text.short,
    text.times,
    text.trial_name,
)
"""How templates write numbers and names."""


@dataclass(frozen=True)
class Chapter:
    """A part of the page with a heading."""

    title: str
    template: str
    """File name."""
    plots: Sequence[Plot] = ()

    @property
    def anchor(self) -> str:
        """Its address within the page."""
        return self.title.lower().replace(" ", "-")


def write(folder: Path, learner: QLearner, results: Results | None = None) -> Path:
    """Write report.html, and its plots as PNG to plots/, into the folder of a finished search. Returns the report's path.

    `learner` is the one behind the folder's policy.json. `results` are what the folder will hold, where summary.json is
    not written yet. Raises UserError when the search is not finished, and OSError when the folder cannot be written to.
    """
    results = results or Results.read(folder)
    chapters = make_chapters(results)
    page = render(results, chapters, learner)
    (folder / "plots").mkdir(exist_ok=True)
    for chapter in chapters:
        for plot in chapter.plots:
            files.write(folder / "plots" / f"{plot.name}.png", plot.png)
    files.write(folder / "report.html", page)
    return folder / "report.html"


def write_or_say(folder: Path, learner: QLearner, results: Results, say: Callable[[str], None]) -> list[Path]:
    """Do as `write` does, or say in one line why that cannot be done: a search with all its results must not fail for a plot.

    Returns what was written. Raises OSError when the folder cannot be written to.
    """
    try:
        return [write(folder, learner, results)]
    except OSError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {text.reason(error)}"
        say(f"the report could not be made ({why}); `main.py report {folder.name}` tries again")
        return []


def make_chapters(results: Results) -> list[Chapter]:
    """The chapters with their plots. A chapter for which the results hold nothing is left out."""
    # matplotlib and Optuna take a second to import, and main.py imports this file before a search
    from tictactoe.reporting.report import configurations, drawing, plots, race, timeline
    from tictactoe.reporting.report.importance import importances

    chapters = [Chapter("The winner", "winner.html"), Chapter("Play against it", "play.html")]
    with drawing.style():
        if results.summary.selection.finalists:
            chapters.append(Chapter("Rounds and race", "stages.html", [race.stages_plot(results)]))
            chapters.append(Chapter("Finalists", "finalists.html", [race.finalists(results)]))
        trials = [plots.games_to_optimal(results)]
        if shares := importances(results):
            trials.append(configurations.importance(shares))
        if len(results.searched) > 1:
            trials.append(configurations.parallel_coordinates(results))
        chapters.append(Chapter("All trials", "plots.html", trials))
        if results.searched:
            chapters.append(Chapter("Each hyperparameter", "hyperparameters.html", configurations.hyperparameters(results)))
        if data.with_curves(results, 1):
            curves = [plots.learning_curve(results, measure) for measure in plots.MEASURES]
            chapters.append(Chapter("Learning curves", "plots.html", curves))
        chapters.append(Chapter("Where the time went", "plots.html", [timeline.timeline(results)]))
    return [*chapters, Chapter("The same again", "again.html")]


def render(results: Results, chapters: Sequence[Chapter], learner: QLearner) -> str:
    """The whole page, as HTML."""
    summary = results.summary
    return (
        _environment()
        .get_template("report.html")
        .render(
            results=results,
            summary=summary,
            chapters=chapters,
            reasons=data.reasons(summary),
            odds=_odds(summary),
            stages=stages.rows(summary),
            finalists=_finalists(summary),
            command=_command(summary),
            one_by_one=all(attempt.at_once == 1 for attempt in attempts(results.records, results.nodes)),
            policy=board.embed(learner),
            style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
            script="".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("policy.js", "board.js")),
        )
    )


def _environment() -> Environment:
    """What reads the templates: it escapes all that it fills in, and a name that nobody has given is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    return environment


def _odds(summary: Summary) -> list[tuple[str, str, str]]:
    """Rows of the table of results against a random opponent: a name, as X, as O."""
    as_x, as_o = (summary.policy.vs_random[seat] for seat in ("X", "O"))
    rows = [
        ("wins", as_x.win, as_o.win),
        ("draws", as_x.draw, as_o.draw),
        ("loses", as_x.loss, as_o.loss),
        ("wins, at best", *best_wins(Board.parse(summary.board))),
    ]
    return [(name, text.percent(x, 4), text.percent(o, 4)) for name, x, o in rows]


def _finalists(summary: Summary) -> list[tuple[str, ...]]:
    """Rows of the table of finalists: the name, geometric means on all kinds of seeds, seeds, when dropped, and the verdict."""
    return [
        (
            text.trial_name(row.index),
            *map(geometric, (row.search_mean_log, row.mean_log, row.at_least, row.means[-1])),
            text.games(row.seeds),
            "" if row.index == summary.best.index else f"look {len(row.means) - 1}",
            "the winner" if row.index == summary.best.index else "tied" if row.tied else "worse",
        )
        for row in summary.selection.finalists
    ]


def _command(summary: Summary) -> str:
    """The command that finds the same, where the same can be found again."""
    settings = summary.settings
    options: dict[str, str | int] = {
        "board": summary.board,
        "num-samples": settings.num_samples,
        "seeds": settings.seeds,
        "games": settings.games,
        "seed": summary.seed,
        "search": settings.search,
        "scheduler": settings.scheduler,
    }
    if settings.search == "optuna" and len(summary.rounds) == 1:
        options["lag"] = settings.lag
    if settings.scheduler == "asha":
        options["max-concurrent"] = 1
    return shlex.join(["python", "main.py", *(word for name, value in options.items() for word in (f"--{name}", str(value)))])
