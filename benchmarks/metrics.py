"""What the metrics of a search cost, beside a default search.

A Ray of our own, as a search has it, with nothing to do. By turns nothing is published, and the status of a search of 1,024
finished trials, some times as often as a search does it. The difference of what all processes used, over those times, is what
metrics and status.json cost. It is told as a share of the learner's CPU time in a default search of the same run. Memory
is PSS, of the driver and of all processes of Ray, before and after.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from benchmarks.common import arguments, search, show, write
from tests.support import records as made
from tictactoe.experiment.tally import Tally
from tictactoe.process import environment
from tictactoe.process.interrupt import Interrupt
from tictactoe.process.preflight import inspect
from tictactoe.settings import Settings, load

OFTEN = 10
"""As many times as a search does it, since one time is lost in what an idle Ray uses."""
SETTLE_SECONDS = 10.0
MIB = 2**20


def main() -> None:
    options = arguments(__doc__, repetitions=5, seconds=30)
    environment.prepare()  # before Ray is imported, which reads the environment then
    from tictactoe.tuning import cluster, metrics

    found = search(WANDB_MODE="disabled")
    cost = found["summary"]["cost"]
    settings = load(["--num-cpus", "2"], {})
    preflight = inspect(settings)
    preflight.require()
    idle, busy = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as name, cluster.stopped_at_end(None):
        cluster.Launch(settings, preflight).wait(Interrupt(), print)
        tally = full(settings, Path(name))
        time.sleep(SETTLE_SECONDS)
        before, own_before = pss(), own_pss()
        metrics.PUBLISH_SECONDS /= OFTEN
        for _ in range(options.repetitions):
            idle.append(cpu_a_second(options.seconds))
            with metrics.published(tally, Path(name), as_metrics=True):
                busy.append(cpu_a_second(options.seconds))
        after, own_after = pss(), own_pss()
    a_second = (median(busy) - median(idle)) / OFTEN
    cpu = cost["learner_cpu_s"]
    write(
        options.json,
        show(
            f"Metrics and status.json, medians of {options.repetitions}",
            [
                {
                    "idle Ray, ms CPU a s": 1000 * median(idle),
                    "what they cost": 1000 * a_second,
                    "% of the learner's CPU in a default search": 100 * a_second * found["process_s"] / cpu,
                    "MiB": (after - before) / MIB,
                    "of them the driver": (own_after - own_before) / MIB,
                }
            ],
        ),
    )


def full(settings: Settings, folder: Path) -> Tally:
    """A tally of as many finished trials as a default search has."""
    tally = Tally(settings, folder)
    tally.search_started(made.standing())
    tally.slots_changed(2)
    tally.node_changed(made.node_event())
    for index in range(settings.num_samples):
        tally.trial_started(index, made.config(index))
        tally.trial_finished(made.record(index))
    return tally


def processes() -> list[psutil.Process]:
    """This one, and those of its Ray."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def cpu_a_second(seconds: float) -> float:
    """CPU seconds a second of all processes."""
    before, began = {process: cpu_s(process) for process in processes()}, time.monotonic()
    time.sleep(seconds)
    spent = sum(cpu_s(process) - before.get(process, 0.0) for process in processes())
    return spent / (time.monotonic() - began)


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def own_pss() -> float:
    return float(psutil.Process().memory_full_info().pss)


def pss() -> float:
    return float(sum(process.memory_full_info().pss for process in processes()))


if __name__ == "__main__":
    main()
