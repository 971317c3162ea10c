"""Hyperparameter search over self-play Q-learning: settings -> preflight -> Ray -> trials -> finalists -> results -> hold.

`main.py report` and `main.py play` look at what a finished search has left.
Exit codes: 0 finished, 1 failed, 2 bad input or failed preflight, 75 interrupted and saved.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from tictactoe.process import environment
from tictactoe.process.interrupt import Interrupt

if TYPE_CHECKING:
    from rich.console import Console

    from tictactoe.experiment.folder import Folder
    from tictactoe.process.preflight import Preflight
    from tictactoe.reporting.tracking import Probe
    from tictactoe.settings import Settings

FINISHED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 75


def main(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    interrupt = Interrupt()
    interrupt.install()
    try:
        environment.prepare()
    except OSError as error:
        print(f"error: no folder for temporary files ({error}); set TMPDIR to a writable one, or mount /tmp", file=sys.stderr)
        return BAD_INPUT
    from rich.console import Console

    from tictactoe import commands, settings
    from tictactoe.errors import UserError
    from tictactoe.process import preflight
    from tictactoe.reporting.tracking import Probe

    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 128)
    try:
        chosen = settings.load(arguments)
        environment.set_defaults()
        if chosen.command != "search":
            return commands.run(chosen, interrupt, console)
        found = preflight.inspect(chosen)
        probe = Probe(chosen.wandb_api_key)
        if chosen.check:
            return preflight.show(console, found, probe.result()[1])
        found.require()
        return search(chosen, found, probe, interrupt, console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except (RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def search(chosen: Settings, found: Preflight, probe: Probe, interrupt: Interrupt, console: Console) -> int:
    """Run, resume or re-print the search that the settings describe; then hold the dashboard if asked to."""
    began = time.monotonic()
    from tictactoe.experiment.fingerprint import search_name
    from tictactoe.experiment.folder import Folder
    from tictactoe.reporting import leaderboard
    from tictactoe.tuning import cluster

    with Folder(chosen.results_dir / search_name(chosen), chosen) as folder:
        for note in folder.notes:
            console.print(f"note: {note}")
        if folder.finished:
            interrupt.exit_code = FINISHED
            if not chosen.hold:
                leaderboard.show(console, folder.path)
                return FINISHED
        with cluster.stopped_at_end(folder.path):
            with folder.unfinished_until_written(interrupt.event.is_set):
                dashboard = cluster.Launch(chosen, found.num_cpus, found.port).wait(interrupt)
                if dashboard is not None:
                    notes = [*found.notes, probe.result()[1]]
                    leaderboard.show_start(console, folder.path.name, dashboard, found, notes)
                    if not folder.finished:
                        carry_out(chosen, folder, probe, interrupt, console, began)
            if not folder.finished:
                console.print(f"interrupted; finished trials are kept: {chosen.go_on}")
                return INTERRUPTED
            leaderboard.show(console, folder.path)
            if chosen.hold and dashboard is not None:
                console.print(f"the dashboard stays at {dashboard} until Ctrl-C or SIGTERM")
                interrupt.event.wait()
    return FINISHED


def carry_out(chosen: Settings, folder: Folder, probe: Probe, interrupt: Interrupt, console: Console, began: float) -> None:
    """Run what is left of the trials, then the finalists on fresh seeds; write results and report, unless interrupted."""
    from tictactoe.experiment import results, selection
    from tictactoe.reporting import progress, tracking
    from tictactoe.reporting.report import page as report
    from tictactoe.tuning import cluster, fresh
    from tictactoe.tuning import search as tuning
    from tictactoe.tuning.trial import summary_line

    with (
        tracking.Tracker(probe.result()[0], folder.path, folder.path.name, folder.created, console, interrupt.event) as tracker,
        cluster.watched(lambda: lost(folder, chosen, interrupt)),
    ):
        with progress.Reporter(console, chosen.num_samples, summary_line) as reporter:
            started = time.monotonic()
            outcome = tuning.run(chosen, folder.path, interrupt, [reporter, tracker])
        if interrupt.event.is_set():
            return
        planned = selection.plan(chosen, outcome.records)
        replicates = fresh.FreshReplicates(chosen, planned.finalists, interrupt, folder.path / "fresh.jsonl")
        selected = selection.select(chosen, outcome.records, planned, replicates, console.print)
        if selected is None:
            return
        cluster.release_workers()
        outcome.cost |= {"wall_s": time.monotonic() - began, "startup_s": started - began}
        summary, learner = results.compile_results(folder.path, chosen, outcome, selected)
        pages = report.write_or_say(folder.path, learner, summary, console.print)
        if interrupt.event.is_set():
            return
        results.write_summary(folder.path, summary)  # from now on the search is finished
        interrupt.exit_code = FINISHED
        tracker.search_finished(summary, outcome.records, [folder.path / "policy.json", *pages])


def lost(folder: Folder, chosen: Settings, interrupt: Interrupt) -> None:
    """End the process after Ray's death, whatever its main thread does.

    After a signal to all of the process group, Ray's processes included, it is interrupted as after one to us alone.
    """
    if interrupt.event.is_set():
        interrupt.leave()
    folder.write_failed()
    print(f"error: Ray's raylet died; finished trials are kept, {chosen.go_on}", file=sys.stderr, flush=True)
    interrupt.leave(FAILED)


def run() -> None:
    """The command line of this process, to its end."""
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: W&B would wait for a server that has stopped answering.
    os._exit(code)


if __name__ == "__main__":
    run()
