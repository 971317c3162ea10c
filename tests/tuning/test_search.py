"""The search as a user runs it: real Ray, small jobs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import SEARCHED, digest_of, search
from tests.support.worth import worth
from tictactoe.core.policy import Policy
from tictactoe.experiment.journal import read_trials
from tictactoe.experiment.summary import finished

Run = Callable[..., tuple[int, str, str]]
Read = Callable[[], dict[str, Any]]
SMALL = ("--num-samples", "6", "--seeds", "4", "--games", "5000", "--num-cpus", "2")


def test_a_search_ends_with_its_files_and_is_not_run_again(searched: Path) -> None:
    home, folder = searched.parent, searched / "small"
    output = (home / "output").read_text()
    assert (home / "temporary-folders").read_text() == ""
    ours = ("results", "output", "temporary-folders", ".ray", ".config", ".cache")
    assert not [path for path in home.iterdir() if path.name not in ours]
    assert not [*folder.glob("tune/*/result.json"), *folder.glob("tune/*/progress.csv")]  # Tune's loggers cost too much
    (snapshot,) = folder.glob("tune/experiment_state-*.json")
    assert json.loads(snapshot.read_text())["trial_data"] == []  # Tune has forgotten the trials that have ended
    assert not re.search("Trial status|Logical resource usage|[╭╰]", output)  # its frames
    assert not (folder / "unfinished").exists() and not (folder / "unfinished-fresh").exists()
    content = finished(folder)
    assert not content.truncated
    assert (content.num_trials, content.num_errors) == (4, 0)
    assert content.cost.games == 4 * 4 * 20_000
    assert 0 < content.cost.learner_share <= 1

    records, failures = read_trials(folder)
    assert ([record.index for record in records], failures) == (list(range(4)), [])
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(4))
    assert [float(row["par10"]) for row in rows] == [record.par10 for record in records]
    best = next(record for record in records if record.index == content.best.index)
    assert (content.best.config, content.best.par10) == (best.config, best.par10)

    exploitability, loss = worth(Policy.load(folder / "policy.json"))
    odds = content.policy.vs_random
    assert exploitability == content.policy.exploitability
    assert loss == pytest.approx((odds["X"].loss + odds["O"].loss) / 2, abs=1e-12)
    assert content.policy.optimal == (exploitability == 0)
    assert digest_of(output) == content.digest
    assert "trial_00000" in output
    assert "no WANDB_API_KEY" in output

    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
    again = search(home, "--name", "small", *SEARCHED)
    assert digest_of(again) == content.digest
    assert "Ray dashboard" not in again
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_the_report_is_made(searched: Path) -> None:
    assert "could not be made" not in (searched.parent / "output").read_text()
    assert (searched / "small" / "report.html").stat().st_size > 10_000
    pictures = list((searched / "small" / "plots").glob("*.png"))
    assert len(pictures) > 3
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_results_do_not_depend_on_concurrency(finish: Run, joined: dict[str, str], searched: Path) -> None:
    code, output, _ = finish(*SEARCHED, "--max-concurrent", "1", **joined)
    assert (code, digest_of(output)) == (0, finished(searched / "small").digest)


@pytest.mark.slow
def test_refused_input_moves_no_results(
    finish: Run, joined: dict[str, str], summary: Read, searched: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched / "small", tmp_path / "results" / "mine")
    mine = ("--name", "mine", *SEARCHED)
    digest = summary()["digest"]
    code, _, errors = finish(*mine, "--fresh", "--gpus-per-trial", "9")  # only a Ray of our own can tell: none will join it
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: --gpus-per-trial ")
    assert summary()["digest"] == digest
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]
    code, _, errors = finish(*mine, "--seed", "9")
    assert code == 2
    assert errors.startswith("error: ")
    assert "seed" in errors
    assert "--fresh" in errors
    assert len(errors.splitlines()) == 1
    assert finish(*mine, "--seed", "9", "--fresh", "--games", "1000", **joined)[0] == 0
    assert sorted(path.name.partition(".")[0] for path in (tmp_path / "results").iterdir()) == ["mine", "mine"]


def test_all_trials_failing_is_exit_1_now_and_the_next_time(
    finish: Run, joined: dict[str, str], summary: Read, tmp_path: Path
) -> None:
    failing = (*SMALL, "--num-samples", "2", "--games", "2000000", "--trial-timeout", "0.2")
    code, _, errors = finish(*failing, **joined)
    assert (code, errors.count("\n")) == (1, 1)
    assert "--trial-timeout" in errors
    content = summary()
    assert (content["status"], content["num_trials"], content["num_errors"]) == ("failed", 2, 2)
    assert all(error.startswith("TimeoutError") for error in content["errors"].values())
    (folder,) = (tmp_path / "results").iterdir()
    assert [failure.timeout for failure in read_trials(folder)[1]] == [0.2, 0.2]
    code, output, again = finish(*failing)
    assert (code, again) == (1, errors)
    assert "--retry-failed" in errors
    assert "Ray dashboard" not in output
    assert summary()["status"] == "failed"


@pytest.mark.slow
def test_asha_stops_trials(finish: Run, joined: dict[str, str], summary: Read) -> None:
    code, output, errors = finish(*SMALL, "--scheduler", "asha", "--num-samples", "10", **joined)
    assert (code, errors) == (0, "")
    assert summary()["num_trials"] == 10
    assert "stopped" in output


@pytest.mark.slow
@pytest.mark.parametrize("search", ["random", "optuna"])
def test_trials_shorter_than_a_process_start_run_two_at_a_time(
    finish: Run, joined: dict[str, str], summary: Read, tmp_path: Path, search: str
) -> None:
    many = ("--scheduler", "none", "--num-samples", "60", "--seeds", "128", "--games", "5000")
    code, _, errors = finish("--search", search, *many, **joined)
    assert (code, errors) == (0, "")
    (journal,) = (tmp_path / "results").glob("*/journal.jsonl")
    records = read_trials(journal.parent)[0]
    assert len(records) == summary()["num_trials"] == 60
    began: dict[int, float] = {}
    for record in records:
        began[record.worker] = min(record.started_s, began.get(record.worker, record.started_s))
    assert len(began) == 2  # by Tune itself one process would run all
    trials = Counter(record.worker for record in records if record.started_s >= max(began.values()))
    assert min(trials.values()) >= sum(trials.values()) // 3  # nobody waits for the second process, nor for the first one then


@pytest.mark.slow
def test_a_time_budget_truncates(finish: Run, joined: dict[str, str], summary: Read) -> None:
    long = (*SMALL, "--scheduler", "none", "--num-samples", "200", "--seeds", "192")
    cut = (*long, "--max-concurrent", "1", "--time-budget", "12")
    code, output, errors = finish(*cut, **joined)
    assert (code, errors) == (0, "")
    assert summary()["truncated"]
    done = summary()["num_trials"]
    assert 0 < done < 200
    assert "without --time-budget it goes on" in output
    assert "Ray dashboard" not in finish(*cut)[1]  # the same command: shown again
    code, output, errors = finish(*long, "--time-budget", "180", **joined)  # a larger one: it goes on
    assert (code, errors) == (0, "")
    assert f"{done} of 200 trials are finished already" in output
    assert (summary()["truncated"], summary()["num_trials"]) == (False, 200)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--cpus-per-trial", "3"), "--cpus-per-trial"),
        (("--results-dir", "/proc/results"), "--results-dir"),
        (("--board", "nonsense"), "--board"),
    ],
)
def test_bad_input_ends_in_one_line(finish: Run, options: tuple[str, ...], part: str) -> None:
    code, _, errors = finish(*SMALL, *options)
    assert code == 2
    assert errors.startswith("error: ")
    assert part in errors
    assert len(errors.splitlines()) == 1
