"""Hyperparameter search over self-play Q-learning: settings -> preflight -> Ray -> trials -> finalists -> results -> hold.

`main.py status` says what a search is doing, `main.py report` and `main.py play` look at what a finished one has left.
`main.py worker` joins a search on another machine.
Exit codes: 0 finished, 1 failed, 2 bad input or failed preflight, 75 interrupted and saved.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if sys.flags.safe_path:  # `python -P` and `python -I` leave this file's folder out
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from tictactoe import situation
from tictactoe.errors import UserError
from tictactoe.process import environment, streams
from tictactoe.process.interrupt import INTERRUPTED, Interrupt

if TYPE_CHECKING:
    from rich.console import Console

    from tictactoe.experiment.folder import Folder
    from tictactoe.experiment.tally import Tally
    from tictactoe.process.preflight import Preflight
    from tictactoe.reporting.probe import Probe
    from tictactoe.settings import Settings

FINISHED, FAILED, BAD_INPUT = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    interrupt = Interrupt()
    interrupt.install()
    try:
        found = environment.prepare()
    except OSError as error:
        print(f"error: no folder for temporary files ({error}); set TMPDIR to a writable one, or mount /tmp", file=sys.stderr)
        return BAD_INPUT
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    from rich.console import Console

    from tictactoe.settings import load, unknown

    width = None if sys.stdout.isatty() else 128
    console = Console(highlight=False, markup=False, soft_wrap=True, force_terminal=streams.is_terminal(), width=width)
    try:
        settings = load(arguments, found.lines)
        if settings.check and not settings.deep:
            from tictactoe.core import compiled

            compiled.make_folders = False
        else:
            environment.make_folders()
        if settings.command == "worker":
            from tictactoe.tuning import worker

            return worker.run(settings, interrupt, console.print)
        if settings.command != "search":
            from tictactoe import commands

            return commands.run(settings, interrupt, console)
        from tictactoe.experiment import space
        from tictactoe.process.preflight import inspect, show
        from tictactoe.reporting.probe import Probe

        space.validate()
        preflight = inspect(settings)
        preflight.notes[:0] = [*found.notes, *unknown(found.lines)]
        if settings.check:
            usual = tempfile.gettempdir()
            with tempfile.TemporaryDirectory() as tempfile.tempdir:  # W&B makes folders when it is imported
                code = show(console, preflight, Probe(settings).result()[1], found.decisions)
            tempfile.tempdir = usual
            return code if code or not settings.deep else try_a_trial(settings, preflight, interrupt, console)
        preflight.require()
        probe = Probe(settings)
        return search(settings, preflight, probe, interrupt, console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except (RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def search(settings: Settings, preflight: Preflight, probe: Probe, interrupt: Interrupt, console: Console) -> int:
    """Run, resume or re-print the search that the settings describe; then hold the dashboard if asked to."""
    began = time.monotonic()
    interrupt.words = f"interrupted; {settings.kept}"
    from tictactoe.experiment import journal
    from tictactoe.experiment.fingerprint import search_name
    from tictactoe.experiment.folder import Folder
    from tictactoe.experiment.rounds import rounds, standing
    from tictactoe.experiment.tally import Tally
    from tictactoe.reporting import leaderboard

    with Folder(settings.results_dir / search_name(settings), settings) as folder:
        for note in folder.notes:
            console.print(f"note: {note}")
        finished = folder.finished
        if finished:
            interrupt.exit_code = FINISHED
            if not settings.hold:
                leaderboard.show(console, folder.path)
                return FINISHED
        folder.require_hope()
        from tictactoe.tuning import cluster, metrics
        from tictactoe.tuning import search as tuning  # noqa: F401 - seconds now; more once Ray's processes want the CPUs

        with cluster.stopped_at_end(folder.path), ExitStack() as published:
            with folder.unfinished_until_written(interrupt.event.is_set):
                probe.start()
                dashboard = cluster.Launch(settings, preflight).wait(interrupt, console.print)
                if dashboard is not None:
                    notes = [*preflight.notes, probe.result()[1]]
                    leaderboard.show_start(console, folder.path.name, dashboard, preflight, notes)
                    tally = Tally(settings, folder.path)
                    published.enter_context(metrics.published(tally, folder.path, bool(settings.metrics_port)))
                    if finished:
                        tally.enter("results")
                        tally.search_started(standing(rounds(settings), *journal.read_rounds(folder.path)))
                    else:
                        finished = carry_out(
                            settings, preflight.max_concurrent, folder, probe, interrupt, console, tally, began
                        )
            if not finished:
                interrupt.say()
                return INTERRUPTED
            leaderboard.show(console, folder.path)
            if settings.hold and dashboard is not None:
                tally.enter("held")
                console.print(f"the dashboard stays at {situation.here().dashboard(dashboard)} until Ctrl-C or SIGTERM")
                with cluster.watched(
                    lambda why: ray_failed(f"{why}, and the dashboard with it; the results are whole", interrupt)
                ):
                    interrupt.event.wait()
    return FINISHED


def carry_out(
    settings: Settings,
    own_slots: int | None,
    folder: Folder,
    probe: Probe,
    interrupt: Interrupt,
    console: Console,
    tally: Tally,
    began: float,
) -> bool:
    """Run the missing trials, then the finalists on fresh seeds; write results and report.

    `own_slots`: trials that this machine has memory for, None for as many as its CPUs. `tally` hears of all. Returns whether
    that was done: it was not where the search is interrupted.
    """
    from tictactoe.experiment import journal, results, selection, summary
    from tictactoe.experiment.rounds import rounds
    from tictactoe.experiment.summary import Cost
    from tictactoe.reporting.lag import LagNote
    from tictactoe.reporting.progress import Reporter
    from tictactoe.reporting.report import page
    from tictactoe.reporting.tracking import Tracker
    from tictactoe.tuning import cluster, workers
    from tictactoe.tuning import search as tuning
    from tictactoe.tuning.nodes import Nodes
    from tictactoe.tuning.replays import Replays
    from tictactoe.tuning.trial import summary_line

    def lost(why: str) -> None:
        ray_failed(f"{why}; {settings.kept}", interrupt, folder.write_failed)

    with Tracker(probe, rounds(settings), folder.path, folder.path.name, folder.created, console, interrupt.event) as tracker:
        tally.backlog = lambda: tracker.backlog
        with cluster.watched(lost), Nodes(settings, own_slots, console.print) as nodes:
            with Reporter(console, rounds(settings), summary_line) as reporter:
                tally.seconds_left = reporter.seconds_left
                started = time.monotonic()
                with workers.awaited(lost, console.print, nodes) as heard:
                    observers = [LagNote(settings, console.print), reporter, tracker, heard, tally]
                    outcome = tuning.run(settings, folder.path, interrupt, observers, nodes)
            if outcome is None:
                return False
            tally.enter("finalists")
            replays = Replays(settings, interrupt, folder.path, nodes, console.print, [tally])
            selected = selection.select(settings, outcome.records, outcome.cost.games, replays, console.print)
        if selected is None:
            return False
        replays.clear()
        tally.enter("results")
        cluster.release_workers()  # from here on Ray is not needed
        cost = Cost(**asdict(outcome.cost), wall_s=time.monotonic() - began, startup_s=started - began)
        content, learner = results.compile_results(folder.path, settings, outcome, selected, cost)
        all_rounds, events = journal.read_rounds(folder.path)[0], journal.nodes(folder.path).read()
        shown = results.Results(folder.path.name, content, outcome.records, outcome.failures, all_rounds, events)
        pages = page.write_or_say(folder.path, learner, shown, console.print)
        if interrupt.event.is_set():
            return False
        summary.write(folder.path, content)  # from now on the search is finished
        interrupt.exit_code = FINISHED
        tracker.search_finished(content, outcome.records, [folder.path / "policy.json", *pages])
    return True


def try_a_trial(settings: Settings, preflight: Preflight, interrupt: Interrupt, console: Console) -> int:
    """Start Ray, run one tiny trial on it as a search would, and stop it; nothing is left behind. Returns the exit code."""
    from tictactoe.process import processes
    from tictactoe.tuning import cluster, workers
    from tictactoe.tuning import search as tuning
    from tictactoe.tuning.nodes import Nodes

    def lap(what: str) -> None:
        console.print(f"{what} in {time.monotonic() - began:.1f} s")

    lost = partial(ray_failed, interrupt=interrupt)
    tiny = settings.model_copy(
        update={"board": "3x3x3", "num_samples": 1, "seeds": 1, "games": 1000, "search": "random", "scheduler": "none"}
        | {"max_concurrent": None, "time_budget": None, "trial_timeout": None}
    )
    began = time.monotonic()
    with cluster.stopped_at_end(None):
        folder = processes.temporary_folders()[0]  # which is removed however this ends
        dashboard = cluster.Launch(tiny, preflight).wait(interrupt, console.print)
        if dashboard is not None:
            lap(f"Ray started, with its dashboard at {dashboard},")
            began = time.monotonic()
            with cluster.watched(lost), Nodes(tiny, None, console.print) as nodes:
                with workers.awaited(lost, console.print, nodes) as heard:
                    outcome = tuning.run(tiny, folder, interrupt, [heard], nodes)
                if outcome is not None:
                    lap(f"a trial of {tiny.games:,} games ran")
        began = time.monotonic()
    if interrupt.event.is_set():
        interrupt.say()
        return INTERRUPTED
    lap("Ray stopped")
    console.print("ready, and tried")
    return FINISHED


def ray_failed(why: str, interrupt: Interrupt, write: Callable[[], None] = lambda: None) -> None:
    """End the process, whatever its main thread does; first `write` that it has failed.

    After a signal to all of the process group, Ray's processes included, it is interrupted as after one to us alone.
    """
    if interrupt.event.wait(0.1):  # the signal may reach us a moment after Ray's processes
        interrupt.leave()
    write()
    print(f"error: {why}", file=sys.stderr, flush=True)
    interrupt.leave(FAILED)


def run() -> None:
    """The command line of this process, to its end."""
    streams.make_unfailing()
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: W&B would wait for a server that has stopped answering.
    os._exit(code)


if __name__ == "__main__":
    run()
