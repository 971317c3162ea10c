"""Hyperparameter search over self-play Q-learning: settings -> preflight -> Ray -> trials -> results -> hold.

Exit codes: 0 finished, 1 failed, 2 bad input or failed preflight, 75 interrupted and saved.
"""

from __future__ import annotations

import sys
import time

from tictactoe import environment
from tictactoe.interrupt import Interrupt

FINISHED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 75


def main(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    interrupt = Interrupt()
    interrupt.install()
    environment.prepare()  # before anything imports Ray, Numba or W&B
    from tictactoe import preflight, settings

    try:
        chosen = settings.load(arguments)
        if chosen.check:
            return check(preflight.inspect(chosen), chosen)
        return search(chosen, preflight.check(chosen), interrupt)
    except settings.SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except (RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def check(found, chosen) -> int:  # type: ignore[no-untyped-def]
    """Print what preflight found."""
    from tictactoe.reporting.tracking import Probe

    for line in found.fatal:
        print(f"error: {line}")
    for line in [*found.notes, f"CPUs: {found.num_cpus}", f"dashboard port: {found.port}", f"token: {found.token_source}"]:
        print(line)
    print(Probe(chosen.wandb_api_key and chosen.wandb_api_key.get_secret_value()).result()[1])
    return BAD_INPUT if found.fatal else FINISHED


def search(chosen, found, interrupt: Interrupt) -> int:  # type: ignore[no-untyped-def]
    """Run, resume or re-print the search that the settings describe."""
    began = time.monotonic()
    from rich.console import Console

    from tictactoe.reporting import leaderboard, progress, tracking

    probe = tracking.Probe(chosen.wandb_api_key and chosen.wandb_api_key.get_secret_value())
    from tictactoe.tuning import cluster, results, trial
    from tictactoe.tuning import search as tuning

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    name = tuning.search_name(chosen)
    folder = results.Folder(chosen.results_dir / name, chosen)
    summary = folder.summary()
    finished = summary is not None and summary["status"] == "finished"
    if finished and not chosen.hold:
        leaderboard.show(console, folder.path, summary)
        return FINISHED

    outcome = tuning.Outcome([])
    tracker = reporter = None
    try:
        if not finished:
            results.write_unfinished(folder.path, chosen, outcome, "interrupted")
        running = cluster.Launch(chosen, found.num_cpus, found.port).wait(interrupt)
        if running is not None:
            mode, message = probe.result()
            leaderboard.show_start(console, name, running.address, found.token_source, [*found.notes, message])
        if running is not None and not finished:
            tracker = tracking.Tracker(mode, folder.path, name, folder.created)
            reporter = progress.Reporter(console, chosen.num_samples, trial.summary_line)
            reporter.open(tuning.Journal(folder.path / "journal.jsonl").read())
            started = time.monotonic()
            with cluster.watched(lambda: _raylet_lost(folder.path, interrupt, results, chosen)):
                outcome = tuning.run(chosen, folder.path, interrupt, [reporter, tracker])
            reporter.close()
        if interrupt.event.is_set():
            results.write_unfinished(folder.path, chosen, outcome, "interrupted")
            console.print(f"interrupted; {len(outcome.records)} finished trials are kept: run the same command again to go on")
            return INTERRUPTED
        if not finished:
            cost = {"wall_s": time.monotonic() - began, "startup_s": started - began, **outcome.cost}
            summary = results.write(folder.path, chosen, outcome, cost)
            tracker.search_finished(summary, outcome.records, [folder.path / "policy.json"])
        leaderboard.show(console, folder.path, summary)
        if tracker is not None:
            tracker.close()
            if tracker.failure:
                console.print(f"W&B: {tracker.failure}; what is missing there is in the results folder", markup=False)
        if chosen.hold:
            interrupt.exit_code = FINISHED
            console.print(f"the dashboard stays at {running.address} until Ctrl-C or SIGTERM")
            interrupt.event.wait()
        return FINISHED
    except Exception:
        if not finished:
            results.write_unfinished(folder.path, chosen, outcome, "failed")
        raise
    finally:
        if reporter is not None:
            reporter.close()
        cluster.stop()
        folder.close()


def _raylet_lost(path, interrupt: Interrupt, results, chosen) -> None:  # type: ignore[no-untyped-def]
    from tictactoe.tuning.search import Outcome

    results.write_unfinished(path, chosen, Outcome([]), "failed")
    print("error: Ray's raylet died; finished trials are kept, run the same command again to go on", file=sys.stderr, flush=True)
    interrupt.leave(FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
