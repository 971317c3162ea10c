"""Ray Tune's search and scheduling algorithms, made to decide the same when a search is resumed.

Both are rebuilt from the journal: what they decide is a function of the search's seed and of the results they
have heard of, with no state of their own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment.objective import at_most
from tictactoe.experiment.record import Failure, Progress, Record
from tictactoe.experiment.replicates import REDUCTION, rungs
from tictactoe.experiment.rounds import Round
from tictactoe.experiment.space import distributions, hyperparameters, searched
from tictactoe.tuning.trial import Batch


class Resumable(Searcher):
    """A searcher that Ray Tune need not save: the journal has all it must know."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles searchers for its own kind of resuming, which is not used."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing. Ray Tune wants a file."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""


class RandomSearch(Resumable):
    """Hands out configurations that are drawn already, one by one.

    A grid of all of them would do the same. But Ray Tune takes time for one that grows with the square of its size: more than
    a minute for 100,000, before the first trial.
    """

    def __init__(self, whole: Round, configurations: Iterable[tuple[int, Hyperparameters]]) -> None:
        super().__init__()
        self._whole, self._configurations = whole, iter(configurations)

    def suggest(self, trial_id: str) -> Any:
        """The next configuration; FINISHED after the last one."""
        following = next(self._configurations, None)
        return Searcher.FINISHED if following is None else {"batch": Batch.of(0, self._whole, [following])}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: no result changes what is handed out."""


class Study:
    """Optuna's TPE (Bergstra et al., 2011, NeurIPS). What it suggests depends on the seed and what it was told alone."""

    def __init__(self, seed: int, board: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._seed, self._board = seed, board
        self._distributions = distributions(board)
        self._study = optuna.create_study()

    def tell(self, config: Hyperparameters, score: float | None) -> None:
        """The objective of a configuration, None where its trial has failed.

        What a condition has decided is left out: it says nothing of the values that are searched, and may lie beside them.
        """
        entries, params = searched(config, self._board), config.as_dict()
        self._study.add_trial(
            create_trial(
                params={name: params[name] for name in entries},
                distributions=entries,
                state=TrialState.FAIL if score is None else TrialState.COMPLETE,
                value=score,
            )
        )

    def ask(self, index: int) -> Hyperparameters:
        """What Optuna suggests for a trial, from all that the study has been told.

        Each trial has a sampler and a seed of its own, as if nothing had been suggested before. What Optuna takes for a trial
        that runs from now on is counted as failed, and so changes no suggestion: its result comes with `tell`, rounded.
        """
        seed = int(sequence(self._seed, Stream.OPTUNA, index).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        asked = self._study.ask(fixed_distributions=self._distributions)
        self._study.tell(asked, state=TrialState.FAIL)
        return hyperparameters(asked.params, self._board)


class LaggedOptuna(Resumable):
    """Optuna, so that concurrency changes nothing.

    The suggestion for trial i depends on the seed, i, and the results of trials 0 to i - `lag`, told in index order: never on
    which trial happened to end first. At most `lag` trials run at a time, and fewer while the first of them takes longer than
    others.
    """

    def __init__(
        self,
        study: Study,
        whole: Round,
        lag: int,
        missing: Sequence[int],
        records: Sequence[Record],
        failures: Sequence[Failure] = (),
    ) -> None:
        super().__init__(metric="mean_log", mode="min")
        self._study, self._whole, self._lag = study, whole, lag
        self._missing = deque(missing)
        self._index_of: dict[str, int] = {}
        entries: list[Record | Failure] = [*records, *failures]
        self._configs = {entry.index: entry.config for entry in entries}
        """Of trials that the study has not been told of."""
        self._scores: dict[int, float | None] = {r.index: at_most(r.games_to_optimal, whole.games) for r in records}
        """The same of what they came to; None for a failed one."""
        self._scores |= {failure.index: None for failure in failures}
        self._told = 0
        """How many trials the study knows: those with the lowest indices."""

    def suggest(self, trial_id: str) -> Any:
        """The next configuration; None while results that it needs are missing, FINISHED when all are suggested."""
        if not self._missing:
            return Searcher.FINISHED
        index = self._missing[0]
        while self._told < index - self._lag + 1:
            if self._told not in self._scores:
                return None
            self._study.tell(self._configs.pop(self._told), self._scores.pop(self._told))
            self._told += 1
        del self._missing[0]
        self._index_of[trial_id] = index
        self._configs[index] = self._study.ask(index)
        return {"batch": Batch.of(0, self._whole, [(index, self._configs[index])])}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hear of a result; a failed trial counts as one without a score."""
        score = (result or {}).get("mean_log", math.nan)
        self._scores[self._index_of.pop(trial_id)] = None if error or math.isnan(score) else score


class JournaledASHA(ASHAScheduler):
    """ASHA (Li et al., 2020, MLSys) on loss against random, judging each trial by its learning curve at the rungs.

    By the curve and not by the report at hand, so that a trial which goes on from a checkpoint is judged alike;
    `records` of finished trials are heard first. Which trials had come by when a trial is judged depends on the
    order in which they ran, so results repeat with one trial at a time only.
    """

    def __init__(self, games: int, records: Sequence[Record]) -> None:
        super().__init__(
            time_attr="games",
            metric="loss_vs_random",
            mode="min",
            max_t=games,
            grace_period=rungs(games)[0],
            reduction_factor=REDUCTION,
        )
        self._rungs = rungs(games)
        self._judged: dict[str, int] = {}
        for record in records:
            finished = _Finished(f"journal-{record.index}")
            self.on_trial_add(None, finished)  # type: ignore[arg-type]
            while self._judge(None, finished, record) == TrialScheduler.STOP:
                pass  # it did not stop, or not here: the rest of its curve counts too

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge a trial at each rung that it has passed since its last report."""
        return self._judge(tune_controller, trial, result["reports"][-1].progress)

    def _judge(self, tune_controller: Any, trial: Any, progress: Progress | None) -> str:
        curve = progress.history if progress else ()
        for rung in self._rungs[self._judged.get(trial.trial_id, 0) :]:
            point = next((point for point in curve if point.games >= rung), None)
            if point is None:
                break
            self._judged[trial.trial_id] = self._judged.get(trial.trial_id, 0) + 1
            judged = {"games": rung, "loss_vs_random": point.mean_loss}
            if super().on_trial_result(tune_controller, trial, judged) == TrialScheduler.STOP:
                return TrialScheduler.STOP
        return TrialScheduler.CONTINUE


class _Finished:
    """What ASHA needs to know of a trial."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
