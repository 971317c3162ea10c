"""What a trial costs beyond learning: slot seconds of the default search that no learner used.

A slot is one of the trials that run at a time; slot seconds are slots x (end of the last - start of the first
trial). The rest of the wall time is Ray's start, and the results at the end.
"""

from __future__ import annotations

from statistics import median

from benchmarks.common import arguments, search, show


def main() -> None:
    options = arguments(__doc__, repetitions=3, slots=2)
    rows = []
    for mode in ("disabled", "offline"):
        runs = [search("--num-cpus", str(options.slots), WANDB_MODE=mode) for _ in range(options.repetitions)]
        figures = []
        for run in runs:
            journal, cost = run["journal"], run["summary"]["cost"]
            span = max(r["ended_s"] for r in journal) - min(r["started_s"] for r in journal)
            figures.append((
                (span * options.slots - cost["learner_cpu_s"]) / len(journal),
                cost["learner_share"], cost["startup_s"], span, run["process_s"],
            ))  # fmt: skip
        names = ("overhead slot-s/trial", "learner share", "startup s", "trials s", "process s")
        rows.append(
            {"W&B": mode} | {name: median(values) for name, values in zip(names, zip(*figures, strict=True), strict=True)}
        )
    show(f"Overhead of the default search, medians of {options.repetitions} runs", rows, options.json)


if __name__ == "__main__":
    main()
