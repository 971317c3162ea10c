"""What can be done with a search from outside: see how it is, look at what it has left, and play against its winner.

Nothing here starts Ray.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tictactoe.errors import UserError
from tictactoe.experiment import status as statuses
from tictactoe.experiment import summary
from tictactoe.process.interrupt import INTERRUPTED, Interrupt
from tictactoe.settings import Settings

if TYPE_CHECKING:
    from tictactoe.core.learner import QLearner

LISTED = 5
"""Names of finished searches that a message lists."""


def run(settings: Settings, interrupt: Interrupt, console: Console) -> int:
    """Carry out the settings' command; returns the exit code. Raises UserError when there is no such search."""
    if settings.command == "status":
        from tictactoe.reporting import status

        view = status.look(find_any(settings.results_dir, settings.name))
        if settings.json_output:
            print(status.as_json(view))
        else:
            status.show(console, view)
        return view.exit_code
    folder = find(settings.results_dir, settings.name)
    for number in interrupt.signals:
        signal.signal(number, signal.default_int_handler)
    try:
        if interrupt.event.is_set():  # one came before
            raise KeyboardInterrupt
        if settings.command == "report":
            from tictactoe.reporting.report.page import write

            console.print(f"report: {write(folder, winner(folder, console))}")
        else:
            play(folder, settings.play_as, console)
    except KeyboardInterrupt:
        if settings.command == "play":
            console.print()
            return 0
        interrupt.say()
        return INTERRUPTED  # a report that is not whole is not written
    return 0


def play(folder: Path, side: str, console: Console) -> None:
    """Play against the winner's policy until the player leaves. Raises UserError when the policy is no good."""
    from tictactoe.core.policy import Policy
    from tictactoe.reporting.play import Match

    try:
        with console.status("reading the policy", spinner="line"):
            policy = Policy.load(folder / "policy.json")
        console.print(f"search {folder.name}, board {policy.board}")
        Match(console, policy, lambda: winner(folder, console)).play("XO".index(side))
    except ValueError as error:
        raise UserError(str(error)) from None


def find(results_dir: Path, name: str | None) -> Path:
    """The folder of the finished search of this name, or of the one that finished last.

    Instead of a name there may be a path, to the folder or to something in it. Raises UserError, saying what
    is there, when there is none.
    """
    states = {path.parent: summary.state(path.parent) for path in results_dir.glob(f"*/{summary.FILE}")}
    finished = [folder for folder, state in states.items() if state == "finished"]
    finished.sort(key=lambda folder: (folder / summary.FILE).stat().st_mtime, reverse=True)
    if name is None:
        if finished:
            return finished[0]
        old = list(states.values()).count(summary.ANOTHER_VERSION)
        but = f", but {old} of another version of this program" if old else ""
        raise UserError(
            f"no finished search in {results_dir}{but}; run one with `python main.py`, or name another --results-dir"
        )
    folder = _folder(results_dir, name)
    state = None if folder is None else states.get(folder) or summary.state(folder)
    if folder is not None and state == "finished":
        return folder
    problem = _problem(state) if state else f"no such search in {results_dir}"
    names = ", ".join(folder.name for folder in finished[:LISTED]) or "none"
    more = f" and {len(finished) - LISTED} more" if len(finished) > LISTED else ""
    raise UserError(f"NAME {name!r}: {problem}; finished ones: {names}{more}")


def find_any(results_dir: Path, name: str | None) -> Path:
    """The same of a search in any state; without a name the one whose files are the newest."""
    there = {path.parent: path.stat().st_mtime for path in sorted(results_dir.glob(f"*/{summary.FILE}"))}
    there |= {path.parent: path.stat().st_mtime for path in results_dir.glob(f"*/{statuses.FILE}")}
    if name is None:
        if there:
            return max(there, key=lambda folder: there[folder])
        raise UserError(f"no search in {results_dir}; run one with `python main.py`, or name another --results-dir")
    if (folder := _folder(results_dir, name)) is not None:
        return folder
    newest = sorted(there, key=lambda folder: there[folder], reverse=True)
    names = ", ".join(folder.name for folder in newest[:LISTED]) or "none"
    raise UserError(f"NAME {name!r}: no such search in {results_dir}; the newest ones: {names}")


def _folder(results_dir: Path, name: str) -> Path | None:
    """The folder of the search of this name, or in which a path leads; None where there is no search."""
    with suppress(OSError, RuntimeError, ValueError):  # nothing can have such a name
        for path in (results_dir / name, Path(name).expanduser().resolve()):
            for folder in (path, *path.parents) if path.exists() else ():
                if (folder / summary.FILE).is_file():
                    return folder
    return None


def _problem(state: str) -> str:
    """What is the matter with a search in a state other than "finished"."""
    if state == summary.ANOTHER_VERSION:
        return "these results are of another version of this program: run the search again with --fresh"
    return f"this search is not finished but {state}"


def winner(folder: Path, console: Console) -> QLearner:
    """The learner behind the winner's policy, trained again in a thread, so that Ctrl-C is heard meanwhile.

    Raises UserError when the folder lacks what that needs.
    """
    from tictactoe.experiment.results import Results, winner_learner

    with console.status("training the winner again", spinner="line"):
        try:
            return ThreadPoolExecutor(1).submit(lambda: winner_learner(Results.read(folder))).result()
        except (OSError, StopIteration) as error:
            raise UserError(f"{folder}: its winner cannot be trained again ({error!r}); is the folder whole?") from None
