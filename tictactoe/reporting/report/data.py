"""A finished search as its report reads it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tictactoe.errors import UserError
from tictactoe.experiment.journal import Journal

Record = dict[str, Any]
FEWEST_SEEDS = 6
"""With fewer there is no interval of the median that could be said to hold at 95 %."""


@dataclass(frozen=True)
class Findings:
    """summary.json and the journal's records, in index order."""

    name: str
    summary: dict[str, Any]
    records: list[Record]

    @classmethod
    def read(cls, folder: Path, summary: dict[str, Any] | None = None) -> Findings:
        """`summary` is what summary.json says or will say. Raises UserError when the folder holds no finished search."""
        try:
            summary = summary or json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            records = Journal(folder / "journal.jsonl").read()
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} holds no results to report on: {error}") from error
        if summary.get("status") != "finished":
            raise UserError(f"the search in {folder} is not finished; run it again to the end, then ask for its report")
        return cls(folder.name, summary, records)

    @property
    def budget(self) -> int:
        """Games per replicate."""
        return int(self.summary["settings"]["games"])

    @property
    def best(self) -> dict[str, Any]:
        return dict(self.summary["best"])

    @property
    def fresh(self) -> dict[str, Any] | None:
        """The winner on seeds the search never saw; None in results from before there were any."""
        return self.best.get("fresh")

    @property
    def confidence(self) -> str:
        """How sure the finalists' intervals are, all together."""
        assert self.fresh is not None
        return f"{100 * self.fresh['confidence']:.3g} %"

    @property
    def finalists(self) -> list[dict[str, Any]]:
        """All finalists, best first; empty in results from before there were any."""
        found = (self.summary.get("selection") or {}).get("finalists") or []
        return sorted(found, key=lambda f: (f["index"] != self.best["index"], f["par10"]))

    @cached_property
    def winner(self) -> Record:
        """The winner's record."""
        return next(record for record in self.records if record["index"] == self.best["index"])

    @cached_property
    def ranked(self) -> list[Record]:
        """All records, best PAR-10 first."""
        return sorted(self.records, key=lambda record: (record["stopped"], record["par10"], record["index"]))

    @cached_property
    def searched(self) -> list[str]:
        """The hyperparameters that differ between trials."""
        return [key for key in self.winner["config"] if len({record["config"][key] for record in self.records}) > 1]

    @cached_property
    def attempts(self) -> list[tuple[float, list[Record]]]:
        """The records of each attempt (an interrupted search has several), and when its clock's zero lies in seconds
        from the start of the first trial, attempts put one after another."""
        found, offset = [], 0.0
        for number in sorted({record.get("attempt", 1) for record in self.records}):
            records = [record for record in self.records if record.get("attempt", 1) == number]
            first, last = min(r["started_s"] for r in records), max(r["ended_s"] for r in records)
            found.append((offset - first, records))
            offset += last - first
        return found

    def kind(self, record: Record) -> str:
        """ "solved" on every seed, "unsolved" on one at least, or "stopped" before the budget's end."""
        if record["stopped"]:
            return "stopped"
        return "solved" if record["solved"] == len(record["games_to_optimal"]) else "unsolved"

    def with_curves(self, number: int) -> list[Record]:
        """The winner's record and those of the finalists (or the best trials) after it, `number` in all at most;
        only those that hold a learning curve."""
        by_index = {record["index"]: record for record in self.records}
        order = [f["index"] for f in self.finalists if f["index"] in by_index] or [r["index"] for r in self.ranked]
        chosen = [self.winner, *(by_index[index] for index in order if index != self.winner["index"])]
        return [record for record in chosen[:number] if record.get("history")]

    def slot_seconds(self) -> dict[str, float]:
        """Where the slots' time went, in seconds: "learning", "trial" (in a trial, not learning), "between" trials."""
        learning = busy = held = 0.0
        for _, records in self.attempts:
            learning += sum(min(r["learner_cpu_s"], r["ended_s"] - r["started_s"]) for r in records)
            busy += sum(r["ended_s"] - r["started_s"] for r in records)
            span = max(r["ended_s"] for r in records) - min(r["started_s"] for r in records)
            held += span * _most_at_a_time(records)
        return {"learning": learning, "trial": busy - learning, "between": held - busy}


def last_attempt(cost: dict[str, Any]) -> str:
    """Whose seconds a summary's `wall_s` and `startup_s` are, in words; nothing where there was one attempt only."""
    number = cost.get("attempts", 1)
    return f"the last of {number} attempts" if number > 1 else ""


def is_number(value: Any) -> bool:
    """Whether a hyperparameter's value has a place on an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def spans_decades(values: list[float]) -> bool:
    """Whether values belong on a logarithmic axis: positive, over two decades or more."""
    return min(values) > 0 and max(values) >= 100 * min(values)


def games(value: float | None) -> str:
    """A number of games as text; None, as in JSON, is infinite."""
    return "never" if value is None or math.isinf(value) else f"{value:,.0f}"


def short(value: Any) -> str:
    """A hyperparameter's value as text."""
    return str(value) if not is_number(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def trial_name(index: int) -> str:
    """As Ray's dashboard, W&B and the logs call it."""
    return f"trial_{index:05d}"


def _most_at_a_time(records: list[Record]) -> int:
    """Largest number of trials that ran at once: the slots in use."""
    events = sorted([(r["started_s"], 1) for r in records] + [(r["ended_s"], -1) for r in records])
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    return most
