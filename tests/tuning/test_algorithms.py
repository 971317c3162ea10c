"""Optuna's and ASHA's decisions: functions of the seed and the results, whatever order these come in."""

from __future__ import annotations

import math
import pickle
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tests.support import records as made
from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment.fingerprint import LAG
from tictactoe.experiment.record import CurvePoint
from tictactoe.experiment.replicates import rungs
from tictactoe.experiment.space import distributions, hyperparameters
from tictactoe.tuning.algorithms import JournaledASHA, LaggedOptuna, RandomSearch

Curve = tuple[CurvePoint, ...]


def suggestions(number: int, score: Any, order: int) -> list[dict[str, Any]]:
    """What Optuna suggests when up to `order` trials run and the last one started always ends first."""
    searcher = LaggedOptuna(7, list(range(number)), [])
    trials: list[dict[str, Any]] = []
    running: list[int] = []
    while len(trials) < number or running:
        suggested = searcher.suggest(f"trial{len(trials)}") if len(running) < order else None
        if isinstance(suggested, dict):
            running.append(len(trials))
            trials.append(suggested["trial"])
            continue
        index = running.pop()
        searcher.on_trial_complete(f"trial{index}", {"log_par10": score(trials[index]["hyperparameters"])})
    assert searcher.suggest("one more") == Searcher.FINISHED
    return trials


def test_optuna_suggests_the_same_in_any_order_of_arrival_and_resumed() -> None:
    def score(config: dict[str, Any]) -> float:
        return float(6 + abs(config["q_init"] - 0.3) + config["alpha_end"])

    expected = suggestions(30, score, order=1)
    assert suggestions(30, score, order=2) == expected
    assert suggestions(30, score, order=LAG) == expected

    missing = [17, 20, 21]
    finished = [
        made.record(
            index,
            config=Hyperparameters(**expected[index]["hyperparameters"]),
            par10=math.exp(score(expected[index]["hyperparameters"])),
        )
        for index in range(30)
        if index not in missing
    ]
    resumed = LaggedOptuna(7, missing, finished)
    again = [resumed.suggest(f"again{number}") for number in range(3)]
    assert [trial["trial"]["index"] for trial in again] == missing
    # Through exp and log the last bits of the scores may differ; what is suggested is rounded to 6 digits.
    assert [trial["trial"] for trial in again] == [expected[index] for index in missing]
    assert expected[0] != expected[1]


def test_optuna_waits_for_what_it_must_know() -> None:
    searcher = LaggedOptuna(0, list(range(20)), [])
    for index in range(LAG):
        assert isinstance(searcher.suggest(f"t{index}"), dict)
    assert searcher.suggest("late") is None
    searcher.on_trial_complete("t1", {"log_par10": 7.0})
    assert searcher.suggest("late") is None
    searcher.on_trial_complete("t0", error=True)
    assert isinstance(searcher.suggest("late"), dict)
    assert isinstance(searcher.suggest("later"), dict)
    assert searcher.suggest("too late") is None


def test_optuna_goes_on_after_a_failed_trial_as_it_would_have_at_once() -> None:
    """A failure that the journal tells of is the one that the searcher has heard."""
    at_once = LaggedOptuna(3, list(range(LAG + 1)), [])
    trials = [at_once.suggest(f"t{index}")["trial"] for index in range(LAG)]
    for index in range(LAG):
        if index == 4:
            at_once.on_trial_complete("t4", {"log_par10": math.nan})
        else:
            at_once.on_trial_complete(f"t{index}", {"log_par10": math.log(400 + index)})
    configs = [Hyperparameters(**trial["hyperparameters"]) for trial in trials]
    records = [made.record(index, config=configs[index], par10=400 + index) for index in range(LAG) if index != 4]
    resumed = LaggedOptuna(3, [LAG], records, [made.failure(4, config=configs[4])])
    assert resumed.suggest("again") == at_once.suggest("next")


def from_scratch(number: int, score: Any) -> list[dict[str, Any]]:
    """What is suggested by definition: by a new study for each trial, told of all that it may know."""
    space, trials = distributions(), list[optuna.trial.FrozenTrial]()
    suggested: list[dict[str, Any]] = []
    for index in range(number):
        seed = int(sequence(7, Stream.OPTUNA, index).generate_state(1)[0])
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.add_trials(trials[: max(0, index - LAG + 1)])
        suggested.append(hyperparameters(study.ask(fixed_distributions=space).params).as_dict())
        value = score(suggested[-1])
        state = optuna.trial.TrialState.FAIL if math.isnan(value) else optuna.trial.TrialState.COMPLETE
        params = {name: suggested[-1][name] for name in space}
        value = None if math.isnan(value) else value
        trials.append(optuna.trial.create_trial(params=params, distributions=space, state=state, value=value))
    return suggested


def test_what_was_suggested_before_changes_no_suggestion() -> None:
    def score(config: dict[str, Any]) -> float:
        tenths = round(60 + 10 * abs(config["q_init"] - 0.3) + config["alpha_end"])
        return math.nan if tenths % 7 == 3 else tenths / 10  # scores that are equal, and trials that fail

    expected = from_scratch(50, score)
    assert [trial["hyperparameters"] for trial in suggestions(50, score, order=3)] == expected


def test_random_search_hands_out_what_is_missing_and_no_more() -> None:
    missing = [(2, made.config(2)), (5, made.config(5))]
    searcher = RandomSearch(iter(missing))
    pickle.dumps(searcher)  # as Tune does, for a use that is none of ours
    assert searcher.suggest("a") == {"trial": {"index": 2, "hyperparameters": made.config(2).as_dict()}}
    searcher.on_trial_complete("a", error=True)
    assert searcher.suggest("b")["trial"]["index"] == 5
    assert searcher.suggest("c") == searcher.suggest("d") == Searcher.FINISHED


def curve(loss: float) -> Curve:
    nothing = (0.0, 0.0, 0.0)
    return tuple(CurvePoint(games, 0, nothing, nothing, loss / games) for games in (100, 200, 400, 800, 1000))


class Trial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def result(history: Curve) -> dict[str, Any]:
    return {"progress": made.progress(history=history)}


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


@pytest.mark.parametrize("reported", [{"progress": None}, result(())])
def test_a_trial_without_a_curve_is_not_judged(reported: dict[str, Any]) -> None:
    scheduler = JournaledASHA(1000, [made.record(0, history=curve(1.0))])
    trial: Any = Trial("failed")
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    assert scheduler.on_trial_result(None, trial, reported) == TrialScheduler.CONTINUE


def test_a_trial_that_reports_late_is_judged_at_every_rung_it_has_passed() -> None:
    scheduler = JournaledASHA(1000, [made.record(0, history=curve(1.0))])
    trial: Any = Trial("late")
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    assert scheduler.on_trial_result(None, trial, result(curve(3.0))) == TrialScheduler.STOP
