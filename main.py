"""Hyperparameter search over self-play Q-learning: settings -> preflight -> Ray -> trials -> finalists -> results -> hold.

`main.py report` and `main.py play` look at what a finished search has left.
Exit codes: 0 finished, 1 failed, 2 bad input or failed preflight, 75 interrupted and saved.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from tictactoe import situation
from tictactoe.errors import UserError
from tictactoe.process import environment
from tictactoe.process.interrupt import Interrupt

if TYPE_CHECKING:
    from rich.console import Console

    from tictactoe.experiment.folder import Folder
    from tictactoe.process.preflight import Preflight
    from tictactoe.reporting.probe import Probe
    from tictactoe.settings import Settings

FINISHED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 75


def main(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    interrupt = Interrupt()
    interrupt.install()
    try:
        env_lines = environment.prepare()
    except OSError as error:
        print(f"error: no folder for temporary files ({error}); set TMPDIR to a writable one, or mount /tmp", file=sys.stderr)
        return BAD_INPUT
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    from rich.console import Console

    from tictactoe import commands
    from tictactoe.process.preflight import inspect, show
    from tictactoe.reporting.probe import Probe
    from tictactoe.settings import load

    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 128)
    try:
        settings = load(arguments, env_lines)
        if settings.command != "search":
            return commands.run(settings, interrupt, console)
        preflight = inspect(settings)
        probe = Probe(settings.wandb_api_key)
        if settings.check:
            return show(console, preflight, probe.result()[1])
        preflight.require()
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
    from tictactoe.experiment import space
    from tictactoe.experiment.fingerprint import search_name
    from tictactoe.experiment.folder import Folder
    from tictactoe.reporting import leaderboard

    space.validate()
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
        from tictactoe.tuning import cluster
        from tictactoe.tuning import search as tuning  # noqa: F401 - seconds now; more once Ray's processes want the CPUs

        with cluster.stopped_at_end(folder.path):
            with folder.unfinished_until_written(interrupt.event.is_set):
                dashboard = cluster.Launch(settings, preflight.num_cpus, preflight.port).wait(interrupt)
                if dashboard is not None:
                    notes = [*preflight.notes, probe.result()[1]]
                    leaderboard.show_start(console, folder.path.name, dashboard, preflight, notes)
                    finished = finished or carry_out(settings, folder, probe, interrupt, console, began)
            if not finished:
                console.print(f"interrupted; {settings.kept}")
                return INTERRUPTED
            leaderboard.show(console, folder.path)
            if settings.hold and dashboard is not None:
                console.print(f"the dashboard stays at {situation.here().dashboard(dashboard)} until Ctrl-C or SIGTERM")
                interrupt.event.wait()
    return FINISHED


def carry_out(settings: Settings, folder: Folder, probe: Probe, interrupt: Interrupt, console: Console, began: float) -> bool:
    """Run the missing trials, then the finalists on fresh seeds; write results and report.

    Returns whether that was done: it was not where the search is interrupted.
    """
    from tictactoe.experiment import results, selection, summary
    from tictactoe.experiment.summary import Cost
    from tictactoe.reporting.progress import Reporter
    from tictactoe.reporting.report import page
    from tictactoe.reporting.tracking import Tracker
    from tictactoe.tuning import cluster, fresh
    from tictactoe.tuning import search as tuning
    from tictactoe.tuning.trial import summary_line

    with Tracker(probe.result()[0], folder.path, folder.path.name, folder.created, console, interrupt.event) as tracker:
        with cluster.watched(lambda: ray_died(settings, folder, interrupt)):
            with Reporter(console, settings.num_samples, summary_line) as reporter:
                started = time.monotonic()
                outcome = tuning.run(settings, folder.path, interrupt, [reporter, tracker])
            if outcome is None:
                return False
            plan = selection.plan(settings, outcome.records)
            replicates = fresh.FreshReplicates(settings, plan.finalists, interrupt, folder.path)
            selected = selection.select(settings, outcome.records, plan, replicates, console.print)
        if selected is None:
            return False
        cluster.release_workers()  # from here on Ray is not needed
        cost = Cost(**asdict(outcome.cost), wall_s=time.monotonic() - began, startup_s=started - began)
        content, learner = results.compile_results(folder.path, settings, outcome, selected, cost)
        pages = page.write_or_say(folder.path, learner, content, console.print)
        if interrupt.event.is_set():
            return False
        summary.write(folder.path, content)  # from now on the search is finished
        interrupt.exit_code = FINISHED
        tracker.search_finished(content, outcome.records, [folder.path / "policy.json", *pages])
    return True


def ray_died(settings: Settings, folder: Folder, interrupt: Interrupt) -> None:
    """End the process, whatever its main thread does.

    After a signal to all of the process group, Ray's processes included, it is interrupted as after one to us alone.
    """
    if interrupt.event.is_set():
        interrupt.leave()
    folder.write_failed()
    print(f"error: Ray's raylet died; {settings.kept}", file=sys.stderr, flush=True)
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
