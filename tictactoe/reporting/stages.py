"""The stages of a search: its rounds, the looks of the race and the confirmation; who took part, and what they played."""

from __future__ import annotations

from dataclasses import dataclass

from tictactoe.experiment.record import Record
from tictactoe.experiment.summary import Summary
from tictactoe.text import games, percent

CONFIRMATION = "confirmation"
"""Name of the last stage."""


@dataclass(frozen=True)
class Stage:
    """One of them. What is known after it decides who takes part in the next."""

    name: str
    trials: int
    seeds: int
    """Of each trial, run in this stage."""
    games: int
    """Of each replicate at its end."""
    played: int
    """Games of all together."""


def stages(summary: Summary) -> list[Stage]:
    """All stages of a finished search, in their order."""
    several, budget = len(summary.rounds) > 1, summary.settings.games
    result = [
        Stage(f"round {number}" if several else "search", one.trials, one.seeds, one.games, one.played)
        for number, one in enumerate(summary.rounds, 1)
    ]
    before = 0
    for look in range(1, summary.selection.rounds + 1):
        racing = [finalist.seeds for finalist in summary.selection.finalists if len(finalist.means) > look]
        seeds = min(racing) - before  # who is dropped after this look has run no more
        result.append(Stage(f"look {look}", len(racing), seeds, budget, len(racing) * seeds * budget))
        before += seeds
    confirmed = summary.best.confirmed
    return [*result, Stage(CONFIRMATION, 1, confirmed.seeds, budget, confirmed.games)]


def rows(summary: Summary) -> list[tuple[str, ...]]:
    """Of a table of the stages: the name, trials, seeds of each, games of each, all games, and their share."""
    all_of_them = stages(summary)
    played = sum(stage.played for stage in all_of_them)
    return [
        (one.name, *map(games, (one.trials, one.seeds, one.games, one.played)), percent(one.played / played, 1))
        for one in all_of_them
    ]


def reached(record: Record, summary: Summary) -> str:
    """How far a trial has come in the search: "whole" (its budget), "round 2 of 3", or "stopped" by a scheduler."""
    if not record.stopped:
        return "whole"
    rounds = len(summary.rounds)
    return f"round {record.round + 1} of {rounds}" if rounds > 1 else "stopped"
