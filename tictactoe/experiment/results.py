"""The results of a search: what is written at its end, what is read again, and a digest that says whether two agree."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tictactoe import files
from tictactoe.core.evaluation import evaluate
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy, settles_ties
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.journal import nodes, read_rounds, read_trials
from tictactoe.experiment.record import Failure, GamesToOptimal, NodeEvent, Record, Scores, latest, names, part
from tictactoe.experiment.selection import Selection
from tictactoe.experiment.summary import (
    DIGEST_VERSION,
    Best,
    Cost,
    Fresh,
    PolicyWorth,
    RoundSummary,
    SearchSettings,
    Summary,
    TrialsCost,
    Unfinished,
)
from tictactoe.settings import Settings
from tictactoe.text import count, trial_name

Status = Literal["finished", "interrupted", "failed"]
PACKAGES = ("ray", "numpy", "numba", "optuna", "wandb")
COLUMNS = (*names(Scores), "stopped")
"""Of trials.csv, after the trial's index and its hyperparameters."""


@dataclass(frozen=True)
class Outcome:
    """What the trials of a search came to."""

    records: list[Record]
    """Finished trials in index order."""
    failures: list[Failure]
    """Failed ones, in index order."""
    truncated: bool
    """Whether the time budget ended it."""
    cost: TrialsCost
    rounds: tuple[RoundSummary, ...]
    """What each round of the search was."""


@dataclass(frozen=True)
class Results:
    """A finished search as the leaderboard and the report read it."""

    name: str
    summary: Summary
    records: list[Record] = field(repr=False)
    """In index order, each trial by its latest round."""
    failures: list[Failure] = field(default_factory=list, repr=False)
    """The same."""
    rounds: list[Record] = field(default_factory=list, repr=False)
    """All rounds of all trials, in the order of index and round."""
    nodes: list[NodeEvent] = field(default_factory=list, repr=False)
    """Which nodes joined and were lost, in this order."""

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Raises UserError when the folder holds no finished search."""
        summary = summaries.finished(folder)
        rounds, failures = read_rounds(folder)  # once: the journal of a large search takes its time
        return cls(folder.name, summary, *latest([*rounds, *failures]), rounds, nodes(folder).read())

    @property
    def budget(self) -> int:
        """Games per replicate."""
        return self.summary.settings.games

    @cached_property
    def winner(self) -> Record:
        """The winner's record."""
        return next(record for record in self.records if record.index == self.summary.best.index)

    @cached_property
    def ranked(self) -> list[Record]:
        """All records, best first: later rounds before earlier ones, then by the objective; stopped ones last."""
        return sorted(self.records, key=lambda record: record.rank)

    @cached_property
    def searched(self) -> list[str]:
        """The hyperparameters that differ between trials."""
        return [name for name in names(Hyperparameters) if len({getattr(r.config, name) for r in self.records}) > 1]


def compile_results(
    folder: Path, settings: Settings, outcome: Outcome, selection: Selection, cost: Cost
) -> tuple[Summary, QLearner]:
    """Write trials.csv and policy.json; return what summary.json is to say, and the learner behind the policy."""
    files.write(folder / "trials.csv", _csv(outcome.records))
    best, replicate = selection.winner, _best_replicate(selection.confirmation)
    learner = _learner(settings.board, settings.games, settings.seed, best.config, replicate)
    policy = Policy.from_learner(learner)
    policy.save(folder / "policy.json")
    worth = evaluate(learner, settled=settles_ties(learner.board))
    frame = unfinished(settings, len(outcome.records), outcome.failures, outcome.truncated, "finished")
    summary = Summary(
        **{name: getattr(frame, name) for name in names(Unfinished)},
        best=Best(
            index=best.index,
            config=best.config,
            mean_log=best.mean_log,
            par10=best.par10,
            median=best.median,
            solved=best.solved,
            seeds=len(best.games_to_optimal),
            fresh=part(selection.finalists[0], Fresh) if selection.finalists else None,
            confirmed=selection.confirmed,
        ),
        rounds=outcome.rounds,
        selection=selection.summary,
        policy=PolicyWorth(
            optimal=worth.optimal,
            exploitability=worth.exploitability,
            replicate=replicate,
            vs_random={"X": worth.as_x, "O": worth.as_o},
        ),
        cost=cost,
        digest=digest(settings, outcome.records, selection, policy),
        digest_version=DIGEST_VERSION,
        files={name: files.sha256(folder / name) for name in ("trials.csv", "policy.json")},
    )
    return summary, learner


def unfinished(
    settings: Settings,
    finished: int,
    failures: Sequence[Failure],
    truncated: bool,
    status: Status,
) -> Unfinished:
    """What summary.json says in any state; `finished` trials have not failed."""
    return Unfinished(
        status=status,
        truncated=truncated,
        board=settings.board,
        seed=settings.seed,
        settings=SearchSettings(**{name: getattr(settings, name) for name in names(SearchSettings)}),
        num_trials=finished + len(failures),
        num_errors=len(failures),
        errors={failure.index: failure.error for failure in failures},
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    )


def write_unfinished(folder: Path, settings: Settings, status: Literal["interrupted", "failed"]) -> None:
    """Write a summary that says that the search is "interrupted" or has "failed"."""
    records, failures = read_trials(folder)
    summaries.write(folder, unfinished(settings, len(records), failures, False, status))


def all_failed(failures: Sequence[Failure]) -> str:
    """What is said of a search whose trials have all failed."""
    first = failures[0]
    return (
        f"all {count(len(failures), 'trial')} failed; the first error ({trial_name(first.index)}): {first.error}; "
        f"mend that, then --retry-failed runs them again{more_time(failures)}"
    )


def more_time(failures: Sequence[Failure]) -> str:
    """What else runs failed trials again, in words; empty where none has failed for want of time."""
    longest = max((failure.timeout for failure in failures if failure.timeout is not None), default=None)
    return "" if longest is None else f"; those that took too long also run again with a --trial-timeout above {longest:g}"


def _best_replicate(games_to_optimal: GamesToOptimal) -> int:
    """The replicate with the fewest games to optimal, the first of equals."""
    to_optimal = [math.inf if games is None else games for games in games_to_optimal]
    return to_optimal.index(min(to_optimal))


def _learner(board: str, games: int, seed: int, config: Hyperparameters, replicate: int) -> QLearner:
    """A replicate of the confirmation, trained again."""
    learner = QLearner(Board.parse(board), config, sequence(seed, Stream.CONFIRMATION, replicate))
    learner.train(games)
    return learner


def winner_learner(results: Results) -> QLearner:
    """The learner behind a finished search's policy.json, trained again: the same bits."""
    summary = results.summary
    replicate = summary.policy.replicate
    return _learner(summary.board, summary.settings.games, summary.seed, summary.best.config, replicate)


def digest(settings: Settings, records: Sequence[Record], selection: Selection, policy: Policy) -> str:
    """SHA-256 over what decides whether two searches found the same; nothing timed.

    Of the canonical JSON of exactly: board, seed, budget, seeds, every trial's configuration and its games to
    optimal per replicate of its latest round in index order, every finalist's index and its games to optimal per
    fresh replicate in index order, the winner's configuration, its games to optimal per replicate of the confirmation,
    and its policy.
    """
    content = {
        "board": settings.board,
        "seed": settings.seed,
        "budget": settings.games,
        "seeds": settings.seeds,
        "trials": [{"config": r.config.as_dict(), "games_to_optimal": r.games_to_optimal} for r in records],
        "fresh": [{"index": index, "games_to_optimal": games} for index, games in selection.fresh.items()],
        "winner": selection.winner.config.as_dict(),
        "confirmation": selection.confirmation,
        "policy": None,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    text = text.replace('"policy":null', f'"policy":{policy.to_json()}')  # canonical already, and large
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _csv(records: Sequence[Record]) -> str:
    """trials.csv: infinite is `inf` there."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *names(Hyperparameters), *COLUMNS])
    for record in records:
        scores = (getattr(record, column) for column in COLUMNS)
        writer.writerow([record.index, *record.config.as_dict().values(), *("inf" if s is None else s for s in scores)])
    return text.getvalue()
