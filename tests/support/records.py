"""Records, summaries and whole folders of searches that never ran, for tests of what reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tictactoe import files
from tictactoe.core.evaluation import Odds
from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment import journal
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.objective import bounds, mean_log, par10
from tictactoe.experiment.record import Failure, NodeEvent, Progress, Record, Replay, part
from tictactoe.experiment.replicates import median
from tictactoe.experiment.rounds import Standing
from tictactoe.experiment.summary import (
    DIGEST_VERSION,
    Best,
    Confirmed,
    Cost,
    Finalist,
    Fresh,
    PolicyWorth,
    RoundSummary,
    SearchSettings,
    SelectionSummary,
    Summary,
    Unfinished,
)
from tictactoe.settings import Settings

BUDGET = 10_000
FILES = {"trials.csv": "trial\n", "policy.json": "{}\n"}


def settings(**options: Any) -> Settings:
    """Settings of these options and the defaults, without a `.env`."""
    return Settings(_env_file=None, **options)


def config(index: int) -> Hyperparameters:
    """A configuration that no other index has."""
    return Hyperparameters(replay="backward", q_init=0.1 + index / 1_000)


def standing(records: Sequence[Record] = (), failures: Sequence[Failure] = (), number: int = 0) -> Standing:
    """How far a search is of which these trials have ended."""
    return Standing([*records], [*failures], number, [])


def record(index: int = 0, games_to_optimal: Sequence[int | None] = (400, 500), budget: int = BUDGET, **values: Any) -> Record:
    """A finished trial; its scores follow from its games to optimal where they are not given."""
    games = tuple(games_to_optimal)
    least = bounds(games, values.get("games", budget), [budget])
    fields: dict[str, Any] = {
        "mean_log": mean_log(least),
        "par10": par10(least),
        "median": median(games),
        "solved": sum(value is not None for value in games),
        "exploitability": 0.0,
        "loss_vs_random": 0.25,
        "games": budget,
        "learner_cpu_s": 2.0,
        "games_to_optimal": games,
        "played": budget * len(games),
        "share": 1.0,
        "earlier_cpu_s": 0.0,
        "history": (),
        "index": index,
        "attempt": 1,
        "config": config(index),
        "started_s": 1.0,
        "ended_s": 3.0,
        "node": "127.0.0.1",
        "worker": 100,
        "stopped": False,
    }
    return Record(**(fields | values))


def progress(**values: Any) -> Progress:
    """How far a trial has come; the fields are those of `record`."""
    return part(record(**values), Progress)


def failure(index: int = 0, **values: Any) -> Failure:
    """A failed trial."""
    fields: dict[str, Any] = {"index": index, "attempt": 1, "config": config(index), "error": "ValueError: broken"}
    return Failure(**(fields | values))


def replay(index: int = 0, **values: Any) -> Replay:
    """Two replicates of trial 0 on fresh seeds."""
    fields: dict[str, Any] = {
        "index": index,
        "stream": Stream.FRESH,
        "trial": 0,
        "config": config(0),
        "first": 2 * index,
        "games_to_optimal": (400, None),
        "learner_cpu_s": 0.5,
    }
    return Replay(**(fields | values))


def node_event(index: int = 0, **values: Any) -> NodeEvent:
    """A node of two slots that is there from an attempt's start."""
    fields: dict[str, Any] = {
        "index": index,
        "attempt": 1,
        "at_s": 0.0,
        "node": "127.0.0.1",
        "event": "joined",
        "cpus": 2.0,
        "slots": 2,
    }
    return NodeEvent(**(fields | values))


def finalist(one: Record, **values: Any) -> Finalist:
    """A finalist that came to the same numbers on the fresh seeds of one look as in the search."""
    fields: dict[str, Any] = {
        "index": one.index,
        "config": one.config,
        "search_mean_log": one.mean_log,
        "mean_log": one.mean_log,
        "at_least": one.mean_log - 0.5,
        "means": (one.mean_log, one.mean_log),
        "par10": one.par10,
        "median": one.median,
        "interval": (300.0, 600.0),
        "solved": 12,
        "seeds": 12,
        "tied": False,
    }
    return Finalist(**(fields | values))


def confirmed(**values: Any) -> Confirmed:
    """A winner that is solved on all of 200 seeds that chose nothing."""
    fields: dict[str, Any] = {
        "mean_log": math.log(450),
        "mean_log_interval": (math.log(430), math.log(520)),
        "par10": 468.0,
        "par10_at_most": 7_894.0,
        "median": 431.0,
        "interval": (381.0, 476.0),
        "solved": 200,
        "solved_at_least": 0.985133,
        "seeds": 200,
        "games": 200 * BUDGET,
        "learner_cpu_s": 0.25,
    }
    return Confirmed(**(fields | values))


def round_summary(records: Sequence[Record]) -> RoundSummary:
    """A round of these records."""
    return RoundSummary(
        trials=len(records),
        seeds=max(len(one.games_to_optimal) for one in records),
        games=max(one.games for one in records),
        played=sum(one.played for one in records),
        learner_cpu_s=sum(one.learner_cpu_s for one in records),
    )


def unfinished(**values: Any) -> Unfinished:
    """The summary of an interrupted search."""
    fields: dict[str, Any] = {
        "status": "interrupted",
        "truncated": False,
        "board": "3x3x3",
        "seed": 0,
        "settings": SearchSettings(
            num_samples=2, seeds=2, games=BUDGET, search="random", scheduler="none", lag=8, cpus_per_trial=1.0
        ),
        "num_trials": 0,
        "num_errors": 0,
        "errors": {},
        "versions": {"python": "3.12"},
    }
    return Unfinished(**(fields | values))


def summary(
    records: Sequence[Record],
    failures: Sequence[Failure] = (),
    finalists: Iterable[Finalist] | None = None,
    **values: Any,
) -> Summary:
    """The summary of a finished search. Its finalists, best first, are the whole trials, the first of them the winner.

    Where there is but one, it has nobody to race with.
    """
    whole = sorted((one for one in records if not one.stopped), key=lambda one: one.rank)
    racing = tuple(finalists) if finalists is not None else tuple(finalist(one, tied=one is whole[0]) for one in whole)
    racing = racing if len(racing) > 1 else ()
    ranked = sorted(records, key=lambda one: one.rank)
    winner = next((one for one in records if racing and one.index == racing[0].index), ranked[0])
    frame = unfinished(
        status="finished",
        num_trials=len(records) + len(failures),
        num_errors=len(failures),
        errors={one.index: one.error for one in failures},
    )
    fields: dict[str, Any] = {
        **vars(frame),
        "best": Best(
            index=winner.index,
            config=winner.config,
            mean_log=winner.mean_log,
            par10=winner.par10,
            median=winner.median,
            solved=winner.solved,
            seeds=len(winner.games_to_optimal),
            fresh=part(racing[0], Fresh) if racing else None,
            confirmed=confirmed(),
        ),
        "rounds": (round_summary(records),),
        "selection": SelectionSummary(
            method="race",
            rounds=max((len(one.means) - 1 for one in racing), default=0),
            learner_cpu_s=0.5,
            games=BUDGET * sum(one.seeds for one in racing),
            gap=math.exp(confirmed().mean_log - winner.mean_log),
            finalists=racing,
        ),
        "policy": PolicyWorth(
            optimal=True, exploitability=0.0, replicate=0, vs_random={"X": Odds(0.75, 0.25, 0.0), "O": Odds(0.5, 0.375, 0.125)}
        ),
        "cost": Cost(
            learner_cpu_s=5.0,
            learner_share=0.8,
            games=3_400_000,
            games_per_cpu_s=680_000.0,
            attempts=1,
            wall_s=12.5,
            startup_s=4.0,
        ),
        "digest": "sha256:" + "0" * 64,
        "digest_version": DIGEST_VERSION,
        "files": {},
    }
    return Summary(**(fields | values))


def write_search(folder: Path, records: Sequence[Record], failures: Sequence[Failure] = (), **values: Any) -> Summary:
    """Write a finished search into a folder, with stand-ins for trials.csv and policy.json; returns its summary."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[Record | Failure] = [*records, *failures]
    for entry in entries:
        journal.trials(folder).append(entry)
    for name, text in FILES.items():
        files.write(folder / name, text)
    result = summary(records, failures, files={name: files.sha256(folder / name) for name in FILES}, **values)
    summaries.write(folder, result)
    return result
