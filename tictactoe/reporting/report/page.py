"""report.html: what a search found, to look at, to check and to play against; one file, no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from tictactoe.core.learner import QLearner
from tictactoe.reporting.report.data import Findings

if TYPE_CHECKING:
    from tictactoe.reporting.report.drawing import Plot

PAGE = Path(__file__).with_name("templates")


def write(folder: Path, learner: QLearner, summary: dict[str, Any] | None = None) -> Path:
    """Write report.html, and its plots as PNG to plots/, into a finished search's folder; return the report's path.

    `learner` is the one behind the folder's policy.json; `summary` what summary.json will say where it is not written
    yet. Raises UserError when the search is not finished.
    """
    found = Findings.read(folder, summary)
    chapters, pictures = _chapters(found)
    (folder / "plots").mkdir(exist_ok=True)
    for plot in pictures:
        _write(folder / "plots" / f"{plot.name}.png", plot.png)
    _write(folder / "report.html", _page(found, chapters, learner).encode())
    return folder / "report.html"


def write_or_say(folder: Path, learner: QLearner, summary: dict[str, Any], say: Callable[[str], None]) -> list[Path]:
    """`write`, or say why that cannot be done: a search whose results are whole is not to fail for a plot.

    Returns what was written. Raises OSError when the folder cannot be written to.
    """
    try:
        return [write(folder, learner, summary)]
    except OSError:
        raise
    except Exception as error:
        say(f"the report could not be made ({type(error).__name__}: {error}); `main.py report {folder.name}` tries again")
        return []


def _chapters(found: Findings) -> tuple[dict[str, str], list[Plot]]:
    """HTML by chapter title, and all plots in it. What the results do not hold is left out."""
    from tictactoe.reporting.report import chapters, drawing, plots  # matplotlib and Optuna take a second to import
    from tictactoe.reporting.report.importance import importances

    with drawing.style():
        finalists = [plots.finalists(found)] if found.finalists else []
        trials = [plots.games_to_optimal(found)]
        if shares := importances(found):
            trials.append(plots.importance(shares))
        if len(found.searched) > 1:
            trials.append(plots.parallel_coordinates(found))
        single = [plots.hyperparameter(found, name) for name in found.searched]
        curves = []
        if found.with_curves(1):
            curves = [plots.learning_curve(found, *measure) for measure in chapters.MEASURES]
        timeline = [plots.timeline(found)]
    content = {"The winner": chapters.winner(found), "Play against it": chapters.play()}
    if finalists:
        content["Finalists"] = chapters.finalists(found, finalists[0])
    content["All trials"] = chapters.plots(trials)
    if single:
        content["Each hyperparameter"] = chapters.plots(single, chapters.HYPERPARAMETERS, small=True)
    if curves:
        content["Learning curves"] = chapters.plots(curves)
    content["Where the time went"] = chapters.plots(timeline)
    content["The same again"] = chapters.again(found)
    return content, [*finalists, *trials, *single, *curves, *timeline]


def _page(found: Findings, content: dict[str, str], learner: QLearner) -> str:
    """The whole page."""
    from tictactoe.reporting.report import board, chapters

    anchors = {title: title.lower().replace(" ", "-") for title in content}
    part = "\n".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{title}</h2>{content[title]}</section>'
        for title, anchor in anchors.items()
    )
    return Template((PAGE / "report.html").read_text(encoding="utf-8")).substitute(
        title=chapters.text(f"{found.name}: report"),
        heading=chapters.text(found.name),
        lead=chapters.text(chapters.lead(found)),
        notes="".join(f'<p class="note">{chapters.text(note)}</p>' for note in chapters.notes(found)),
        contents="".join(f'<a href="#{anchor}">{title}</a>' for title, anchor in anchors.items()),
        chapters=part,
        policy=json.dumps(board.embed(learner), separators=(",", ":")),
        style=(PAGE / "report.css").read_text(encoding="utf-8"),
        script="".join((PAGE / name).read_text(encoding="utf-8") for name in ("policy.js", "board.js")),
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
