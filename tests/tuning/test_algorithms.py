"""Optuna's and ASHA's decisions: functions of the seed and the results, whatever order these come in."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tests.support import records as made
from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment import space
from tictactoe.experiment.objective import at_most
from tictactoe.experiment.record import CurvePoint, Failure, Progress, Record
from tictactoe.experiment.replicates import rungs
from tictactoe.experiment.rounds import Round
from tictactoe.experiment.space import distributions, hyperparameters, searched
from tictactoe.tuning.algorithms import JournaledASHA, LaggedOptuna, RandomSearch, Study
from tictactoe.tuning.trial import Batch, Report

Curve = tuple[CurvePoint, ...]
BOARD = "3x3x3"
LAG = 8
WHOLE = Round(trials=100, seeds=2, games=10_000)
Suggestion = tuple[int, Hyperparameters]


def optuna_search(
    seed: int,
    missing: Sequence[int],
    records: Sequence[Record] = (),
    failures: Sequence[Failure] = (),
    lag: int = LAG,
) -> LaggedOptuna:
    return LaggedOptuna(Study(seed, BOARD), WHOLE, lag, missing, records, failures)


def only(suggested: dict[str, Any]) -> Suggestion:
    """The one trial of a batch."""
    batch: Batch = suggested["batch"]
    assert (batch.number, batch.seeds, batch.games) == (0, WHOLE.seeds, WHOLE.games)
    (trial,) = batch.trials
    return trial


def suggestions(number: int, score: Callable[[Hyperparameters], float], order: int, lag: int = LAG) -> list[Suggestion]:
    """What Optuna suggests when up to `order` trials run and the last one started always ends first."""
    searcher = optuna_search(7, range(number), lag=lag)
    trials: list[Suggestion] = []
    running: list[int] = []
    while len(trials) < number or running:
        suggested = searcher.suggest(f"trial{len(trials)}") if len(running) < order else None
        if isinstance(suggested, dict):
            running.append(len(trials))
            trials.append(only(suggested))
            continue
        index = running.pop()
        searcher.on_trial_complete(f"trial{index}", {"mean_log": score(trials[index][1])})
    assert searcher.suggest("one more") == Searcher.FINISHED
    return trials


def test_optuna_suggests_the_same_in_any_order_of_arrival_and_resumed() -> None:
    def games(config: Hyperparameters) -> list[int | None]:
        return [round(400 + 500 * abs(config.q_init - 0.3) + 100 * config.alpha_end), 700 if config.symmetry else None]

    def score(config: Hyperparameters) -> float:
        return at_most(games(config), WHOLE.games)

    expected = suggestions(30, score, order=1)
    assert suggestions(30, score, order=2) == expected
    assert suggestions(30, score, order=LAG) == expected

    missing = [17, 20, 21]
    finished = [made.record(i, games(config), config=config) for i, config in expected if i not in missing]
    resumed = optuna_search(7, missing, finished)
    assert [only(resumed.suggest(f"again{number}")) for number in range(3)] == [expected[index] for index in missing]
    assert expected[0] != expected[1]


@pytest.mark.parametrize("lag", [2, LAG, 32])
def test_optuna_waits_for_what_it_must_know(lag: int) -> None:
    searcher = optuna_search(0, range(40), lag=lag)
    for index in range(lag):
        assert isinstance(searcher.suggest(f"t{index}"), dict)
    assert searcher.suggest("late") is None
    searcher.on_trial_complete("t1", {"mean_log": 7.0})
    assert searcher.suggest("late") is None
    searcher.on_trial_complete("t0", error=True)
    assert isinstance(searcher.suggest("late"), dict)
    assert isinstance(searcher.suggest("later"), dict)
    assert searcher.suggest("too late") is None


def test_optuna_goes_on_after_a_failed_trial_as_it_would_have_at_once() -> None:
    """A failure that the journal tells of is the one that the searcher has heard."""
    at_once = optuna_search(3, range(LAG + 1))
    configs = [only(at_once.suggest(f"t{index}"))[1] for index in range(LAG)]
    for index in range(LAG):
        if index == 4:
            at_once.on_trial_complete("t4", {"mean_log": math.nan})
        else:
            at_once.on_trial_complete(f"t{index}", {"mean_log": at_most([400 + index, None], WHOLE.games)})
    # Stopped early, and so only known to be above a bound; what a searcher is told of it is as bad as it may be.
    records = [
        made.record(index, [400 + index, None], config=configs[index], stopped=True, games=500)
        for index in range(LAG)
        if index != 4
    ]
    resumed = optuna_search(3, [LAG], records, [made.failure(4, config=configs[4])])
    assert resumed.suggest("again") == at_once.suggest("next")


def from_scratch(number: int, score: Callable[[Hyperparameters], float], lag: int) -> list[Suggestion]:
    """What is suggested by definition: by a new study for each trial, told of all that it may know."""
    trials, suggested = list[optuna.trial.FrozenTrial](), list[Suggestion]()
    for index in range(number):
        seed = int(sequence(7, Stream.OPTUNA, index).generate_state(1)[0])
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.add_trials(trials[: max(0, index - lag + 1)])
        config = hyperparameters(study.ask(fixed_distributions=distributions()).params)
        suggested.append((index, config))
        value = None if math.isnan(score(config)) else score(config)
        state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
        entries = searched(config)
        assert ("q_init" in entries) == (config.bootstrap != "negamax")
        params = {name: getattr(config, name) for name in entries}
        trials.append(optuna.trial.create_trial(params=params, distributions=entries, state=state, value=value))
    return suggested


@pytest.mark.parametrize("lag", [1, LAG, 20])
def test_what_was_suggested_before_changes_no_suggestion(lag: int) -> None:
    def score(config: Hyperparameters) -> float:
        tenths = round(60 + 10 * abs(config.q_init - 0.3) + config.alpha_end)
        return math.nan if tenths % 7 == 3 else tenths / 10  # scores that are equal, and trials that fail

    expected = from_scratch(50, score, lag)
    assert suggestions(50, score, order=3, lag=lag) == expected


def test_a_value_that_a_condition_gives_may_lie_outside_of_what_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(space.SPACE, "q_init", FloatDistribution(0.1, 0.6))
    suggested = suggestions(30, lambda config: 6.0 + config.q_init, order=1)
    values = {config.q_init for _, config in suggested if config.bootstrap == "2-ply"}
    assert {config.q_init for _, config in suggested if config.bootstrap == "negamax"} == {0.0}
    assert len(values) > 3 and 0.1 <= min(values) <= max(values) <= 0.6


def test_random_search_hands_out_what_is_missing_and_no_more() -> None:
    missing = [(2, made.config(2)), (5, made.config(5))]
    searcher = RandomSearch(WHOLE, iter(missing))
    pickle.dumps(searcher)  # as Tune does, for a use that is none of ours
    assert only(searcher.suggest("a")) == missing[0]
    searcher.on_trial_complete("a", error=True)
    assert only(searcher.suggest("b")) == missing[1]
    assert searcher.suggest("c") == searcher.suggest("d") == Searcher.FINISHED


def curve(loss: float) -> Curve:
    nothing = (0.0, 0.0, 0.0)
    return tuple(CurvePoint(games, 0, nothing, nothing, loss / games) for games in (100, 200, 400, 800, 1000))


class Trial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def result(history: Curve) -> dict[str, Any]:
    return reported(made.progress(history=history))


def reported(progress: Progress | None) -> dict[str, Any]:
    """What a batch of one trial reports."""
    return {"reports": [Report(0, progress, final=False, error=None, timeout=None, note=None, began=0.0, made=1.0)]}


def judge(scheduler: JournaledASHA, name: str, history: Curve) -> str:
    trial: Any = Trial(name)
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    for upto in range(1, len(history) + 1):
        if scheduler.on_trial_result(None, trial, result(history[:upto])) == TrialScheduler.STOP:
            return f"stopped at {history[upto - 1].games}"
    return "finished"


def test_asha_judges_by_the_curve_and_resumes_from_the_journal() -> None:
    assert rungs(1000) == [112, 336]
    losses = [5.0, 4.0, 9.0, 3.0, 6.0, 2.0]
    alone = JournaledASHA(1000, [])
    verdicts = [judge(alone, f"t{i}", curve(loss)) for i, loss in enumerate(losses)]
    assert verdicts == ["finished", "finished", "stopped at 200", "finished", "stopped at 200", "finished"]
    for number in range(len(losses)):
        records = [
            made.record(i, history=curve(losses[i])[: 2 if verdicts[i].startswith("stopped") else None]) for i in range(number)
        ]
        resumed = JournaledASHA(1000, records)
        assert [judge(resumed, f"t{i}", curve(losses[i])) for i in range(number, len(losses))] == verdicts[number:]


@pytest.mark.parametrize("no_curve", [reported(None), result(())])
def test_a_trial_without_a_curve_is_not_judged(no_curve: dict[str, Any]) -> None:
    scheduler = JournaledASHA(1000, [made.record(0, history=curve(1.0))])
    trial: Any = Trial("failed")
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    assert scheduler.on_trial_result(None, trial, no_curve) == TrialScheduler.CONTINUE


def test_a_trial_that_reports_late_is_judged_at_every_rung_it_has_passed() -> None:
    scheduler = JournaledASHA(1000, [made.record(0, history=curve(1.0))])
    trial: Any = Trial("late")
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    assert scheduler.on_trial_result(None, trial, result(curve(3.0))) == TrialScheduler.STOP
