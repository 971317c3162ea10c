"""The journal, and the algorithms that decide from it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tictactoe.experiment.journal import Journal
from tictactoe.experiment.replicates import rungs
from tictactoe.tuning.algorithms import LAG, JournaledASHA, LaggedOptuna

RECORDS = [{"index": index, "par10": 400.0 + index / 3, "config": {"gamma": 0.9}} for index in range(5)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    result = Journal(tmp_path / "journal.jsonl")
    for record in (RECORDS[3], *RECORDS[:3]):
        result.append(record)
    return result


def test_records_come_back_in_index_order(journal: Journal) -> None:
    assert journal.read() == RECORDS[:4]
    assert journal.damaged == []


@given(st.data())
def test_any_changed_or_missing_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    whole = "".join(map(Journal.line, RECORDS)).encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    if cut:
        changed = whole[:at]
    else:
        byte = data.draw(st.integers(0, 255).filter(lambda b: b not in (whole[at], 10, 13)))
        changed = whole[:at] + bytes([byte]) + whole[at + 1 :]
    path.write_bytes(changed)
    journal = Journal(path)
    read = journal.read()
    assert all(record in RECORDS for record in read)
    missing = len(RECORDS) - len(read)
    # A cut between two lines, with or without the break, looks like a shorter journal; the last break may be missing.
    between = at == 0 or b"\n" in (whole[at - 1 : at], whole[at : at + 1])
    assert journal.damaged or missing == 0 or (cut and between)


def test_a_torn_line_spoils_no_other(journal: Journal) -> None:
    with journal.path.open("ab") as file:
        file.write(Journal.line(RECORDS[4]).encode()[:-9])
    journal.append(RECORDS[4])
    assert journal.read() == RECORDS
    assert journal.damaged == [5]


def suggestions(number: int, score: Any, order: int) -> list[dict[str, Any]]:
    """What Optuna suggests when up to `order` trials run and the last one started always ends first."""
    searcher = LaggedOptuna(7, list(range(number)), [])
    found: list[dict[str, Any]] = []
    running: list[int] = []
    while len(found) < number or running:
        suggested = searcher.suggest(f"trial{len(found)}") if len(running) < order else None
        if isinstance(suggested, dict):
            running.append(len(found))
            found.append(suggested["trial"])
            continue
        index = running.pop()
        searcher.on_trial_complete(f"trial{index}", {"log_par10": score(found[index]["hyperparameters"])})
    assert searcher.suggest("one more") == Searcher.FINISHED
    return found


def test_optuna_suggests_the_same_in_any_order_of_arrival_and_resumed() -> None:
    def score(config: dict[str, Any]) -> float:
        return 6 + abs(config["q_init"] - 0.3) + config["alpha_end"]

    expected = suggestions(30, score, order=1)
    assert suggestions(30, score, order=2) == expected
    assert suggestions(30, score, order=LAG) == expected

    finished = [
        {"index": i, "config": expected[i]["hyperparameters"], "par10": math.exp(score(expected[i]["hyperparameters"]))}
        for i in range(30)
        if i not in (17, 20, 21)
    ]
    resumed = LaggedOptuna(7, [17, 20, 21], finished)
    again = [resumed.suggest(f"again{i}") for i in range(3)]
    assert [trial["trial"]["index"] for trial in again] == [17, 20, 21]
    # Through exp and log the last bits of the scores may differ; what is suggested is rounded to 6 digits.
    assert [trial["trial"] for trial in again] == [expected[i] for i in (17, 20, 21)]
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


def curve(loss: float) -> list[dict[str, Any]]:
    return [{"games": games, "mean_loss": loss / games} for games in (100, 200, 400, 800, 1000)]


class Trial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def judge(scheduler: JournaledASHA, name: str, history: list[dict[str, Any]]) -> str:
    trial = Trial(name)
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    for upto in range(1, len(history) + 1):
        if scheduler.on_trial_result(None, trial, {"history": history[:upto]}) == TrialScheduler.STOP:
            return f"stopped at {history[upto - 1]['games']}"
    return "finished"


def test_asha_judges_by_the_curve_and_resumes_from_the_journal() -> None:
    assert rungs(1000) == [112, 336]
    losses = [5.0, 4.0, 9.0, 3.0, 6.0, 2.0]
    alone = JournaledASHA(1000, [])
    verdicts = [judge(alone, f"t{i}", curve(loss)) for i, loss in enumerate(losses)]
    assert verdicts == ["finished", "finished", "stopped at 200", "finished", "stopped at 200", "finished"]
    for known in range(len(losses)):
        records = [
            {"index": i, "history": curve(losses[i])[: 2 if verdicts[i].startswith("stopped") else None]} for i in range(known)
        ]
        resumed = JournaledASHA(1000, json.loads(json.dumps(records)))
        assert [judge(resumed, f"t{i}", curve(losses[i])) for i in range(known, len(losses))] == verdicts[known:]


def test_a_trial_that_reports_late_is_judged_at_every_rung_it_has_passed() -> None:
    scheduler = JournaledASHA(1000, [{"index": 0, "history": curve(1.0)}])
    trial = Trial("late")
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    assert scheduler.on_trial_result(None, trial, {"history": curve(3.0)}) == TrialScheduler.STOP
