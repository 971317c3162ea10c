"""summary.json: what a search came to, as the program writes it and reads it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tictactoe import files
from tictactoe.core.evaluation import Odds
from tictactoe.core.learner import Hyperparameters
from tictactoe.errors import UserError
from tictactoe.experiment.journal import checksum
from tictactoe.experiment.record import FORMAT, from_json, to_json

DIGEST_VERSION = 4
"""Rises when the digest covers something else."""
FILE = "summary.json"
ANOTHER_VERSION = "of another version"
FEWEST_SEEDS = 6
"""With fewer there is no interval of the median that could be said to hold at 95 %."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The settings that a reader of the results must know; each has the name of its option."""

    num_samples: int
    seeds: int
    games: int
    search: str
    scheduler: str
    lag: int
    """It decides nothing but where Optuna has one round."""
    cpus_per_trial: float
    max_concurrent: int | None = None
    """That of the last attempt, as is what follows."""
    time_budget: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrialsCost:
    """What the trials took."""

    learner_cpu_s: float
    """Training and checks, all attempts together."""
    learner_share: float
    """The learner's share of the slots' seconds."""
    games: int
    games_per_cpu_s: float
    attempts: int
    """Starts of the search in which a trial ended, and the last one."""


@dataclass(frozen=True, kw_only=True)
class Cost(TrialsCost):
    """The same, with the clock of the last attempt."""

    wall_s: float
    startup_s: float
    """What of it went by before the trials, mostly Ray's start."""

    @property
    def last_attempt(self) -> str:
        """Whose seconds `wall_s` and `startup_s` are, in words; empty where there was one attempt only."""
        return f"the last of {self.attempts} attempts" if self.attempts > 1 else ""


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """A configuration on seeds that the search never saw. Each replicate has played its whole budget."""

    mean_log: float
    """The objective: mean logarithm of games to optimal."""
    par10: float
    median: float | None
    interval: tuple[float, float | None]
    """Of the median, at 95 %; with fewer than 6 seeds it has no end."""
    solved: int
    seeds: int

    @property
    def has_interval(self) -> bool:
        """Whether there are enough seeds for the interval to say anything."""
        return self.seeds >= FEWEST_SEEDS


@dataclass(frozen=True, kw_only=True)
class Confirmed(Fresh):
    """The winner on seeds that chose nothing: the only numbers that are told as its worth."""

    mean_log_interval: tuple[float, float]
    """Of the objective, at 95 %; it reckons with failures that so few seeds may not show."""
    solved_at_least: float
    """Lower bound of the share of all seeds that are solved, at 95 %."""
    par10_at_most: float
    """PAR-10 if no more of all seeds were solved than that."""
    games: int
    """Played."""
    learner_cpu_s: float


@dataclass(frozen=True, kw_only=True)
class Finalist(Fresh):
    """A finalist on the fresh seeds of the race, and in the search."""

    index: int
    config: Hyperparameters
    search_mean_log: float
    at_least: float
    """Lower bound of the objective from the fresh seeds; fails at a rate of 2.5 %."""
    means: tuple[float, ...]
    """The objective on all seeds run, the search's too: before the race, and after each look that it took part in."""
    tied: bool
    """Whether it cannot be told from the winner; the winner itself is."""


@dataclass(frozen=True, kw_only=True)
class SelectionSummary:
    """How the winner was selected."""

    method: str
    rounds: int
    """Looks of the race."""
    learner_cpu_s: float
    games: int
    """Played by all finalists together."""
    gap: float
    """The winner's geometric mean of games to optimal in the confirmation over that in the search."""
    finalists: tuple[Finalist, ...]
    """Best first. Empty where there was but one configuration, which had nobody to race with."""

    @property
    def tied(self) -> int:
        """How many finalists cannot be told from the winner, itself included."""
        return sum(finalist.tied for finalist in self.finalists)


@dataclass(frozen=True, kw_only=True)
class RoundSummary:
    """A round of the search, as it was."""

    trials: int
    """Configurations that have run it."""
    seeds: int
    """Of each."""
    games: int
    """Games of each replicate at its end."""
    played: int
    """Games of all together."""
    learner_cpu_s: float


@dataclass(frozen=True, kw_only=True)
class Best:
    """The winner: the search's own numbers, those of the race, and those that nothing was chosen by."""

    index: int
    config: Hyperparameters
    mean_log: float
    par10: float
    median: float | None
    solved: int
    seeds: int
    fresh: Fresh | None
    """None where nobody raced."""
    confirmed: Confirmed


@dataclass(frozen=True, kw_only=True)
class PolicyWorth:
    """What the winner's policy is worth, exactly."""

    optimal: bool
    exploitability: float
    replicate: int
    """Number of its seed in the stream of the confirmation."""
    vs_random: dict[Literal["X", "O"], Odds]


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """What is known of a search in any state."""

    status: Literal["finished", "interrupted", "failed"]
    truncated: bool
    """Whether a time budget ended it."""
    board: str
    seed: int
    settings: SearchSettings
    num_trials: int
    num_errors: int
    errors: dict[int, str]
    """Why trials failed, by index."""
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Summary(Unfinished):
    """A finished search."""

    best: Best
    rounds: tuple[RoundSummary, ...]
    """Of the search."""
    selection: SelectionSummary
    policy: PolicyWorth
    cost: Cost
    digest: str
    digest_version: int
    files: dict[str, str | None]
    """SHA-256 of the other files of results."""


def write(folder: Path, summary: Unfinished) -> None:
    """Write summary.json, with the format and a checksum."""
    content = {"format": FORMAT, **to_json(summary)}
    files.write(folder / FILE, json.dumps(content | {"crc32": checksum(content)}, indent=1))


def read(folder: Path) -> Summary | Unfinished | None:
    """What summary.json says; None where it is not there, or damaged, or of another format."""
    content = files.read_json(folder / FILE)
    if content is None or content.pop("crc32", None) != checksum(content) or content.pop("format", None) != FORMAT:
        return None
    try:
        return from_json(Summary if content.get("status") == "finished" else Unfinished, content)
    except ValueError:
        return None


def state(folder: Path) -> str:
    """ "finished", "interrupted" or "failed"; else "damaged", or `ANOTHER_VERSION` when only the format is another."""
    summary = read(folder)
    if summary is not None:
        return summary.status
    content = files.read_json(folder / FILE)
    return "damaged" if content is None or content.get("format") == FORMAT else ANOTHER_VERSION


def finished(folder: Path) -> Summary:
    """The summary of a finished search. Raises UserError where the folder holds none, with the remedy."""
    summary = read(folder)
    if isinstance(summary, Summary):
        return summary
    if not (folder / FILE).exists():
        raise UserError(f"{folder} holds no results; name the folder of a finished search")
    kind = state(folder)
    if kind == ANOTHER_VERSION:
        raise UserError(f"{folder} holds results of another version of this program; run the search again, with --fresh")
    raise UserError(f"the search in {folder} is not finished but {kind}; run it again to the end")
