"""A search's folder: whose it is, who holds it, and what is said of each damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from tests.support import records as made
from tictactoe.errors import UserError
from tictactoe.experiment import folder as folders
from tictactoe.experiment import journal, space
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.folder import Folder, in_use_since
from tictactoe.experiment.record import FORMAT
from tictactoe.experiment.results import write_unfinished
from tictactoe.settings import Settings

RECORDS = [made.record(0), made.record(1, (600, None))]


def settings_of(**options: Any) -> Settings:
    return made.settings(**({"name": "mine", "num_samples": 2, "seeds": 2, "games": 10_000} | options))


Open = Callable[..., Folder]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine"


@pytest.fixture
def reopen(path: Path) -> Open:
    """Open the folder with settings, and let go of it."""

    def run(**options: Any) -> Folder:
        with Folder(path, settings_of(**options)) as folder:
            return folder

    return run


@pytest.fixture
def finished(path: Path, reopen: Open) -> Path:
    """A folder with a finished search in it."""
    reopen()
    made.write_search(path, RECORDS)
    return path


def refusal(reopen: Open, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        reopen(**options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_new_folder(path: Path, reopen: Open) -> None:
    first = reopen()
    assert (first.notes, first.finished) == ([], False)
    assert datetime.strptime(first.created, "%Y%m%d%H%M%S").replace(tzinfo=UTC) <= datetime.now(UTC)
    content = json.loads((path / "search.json").read_text())
    assert content["format"] == content["fingerprint"]["format"] == FORMAT
    assert content.pop("crc32") == journal.checksum(content)
    before = (path / "search.json").read_bytes()
    again = reopen()
    assert (again.notes, again.created) == ([], first.created)
    assert (path / "search.json").read_bytes() == before


def test_one_search_at_a_time(path: Path, reopen: Open) -> None:
    with Folder(path, settings_of()):
        assert "is in use by another search" in refusal(reopen)
        assert "choose another --name" in refusal(reopen, fresh=True)
    reopen()


def test_who_is_refused_does_not_look_like_a_start(path: Path, reopen: Open) -> None:
    with Folder(path, settings_of()):
        os.utime(path / "lock", (1_000_000, 1_000_000))
        refusal(reopen)
        assert in_use_since(path) == 1_000_000
    taken = time.time()
    with Folder(path, settings_of()):
        assert abs((in_use_since(path) or 0) - taken) < 60
    assert in_use_since(path) is None


def test_another_process_holds_it(path: Path, reopen: Open) -> None:
    path.mkdir()
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    command = [sys.executable, "-c", code, str(path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert "is in use by another search" in refusal(reopen)
        other.kill()
    reopen()


@pytest.mark.parametrize(
    ("options", "differing"),
    [
        ({"seed": 1}, "seed"),
        ({"games": 20_000, "seeds": 3}, "games, seeds"),
        ({"search": "optuna"}, "lag, search, versions"),
        ({"search": "optuna", "scheduler": "none"}, "lag, scheduler, search, versions"),
        ({"scheduler": "asha", "board": "3x4x3"}, "board, scheduler"),
    ],
)
def test_another_searchs_folder_is_refused_by_what_differs(
    finished: Path, reopen: Open, options: dict[str, Any], differing: str
) -> None:
    message = refusal(reopen, **options)
    assert f"holds a search with another {differing};" in message
    assert "--name" in message and "--fresh" in message
    assert reopen().finished


def test_another_space_is_another_search(finished: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(space.SPACE, "gamma", FloatDistribution(0.5, 1.0))
    assert "another space;" in refusal(reopen)


def test_how_it_is_run_makes_no_other_search(finished: Path, reopen: Open) -> None:
    assert reopen(max_concurrent=1, cpus_per_trial=2.0, trial_timeout=5.0, time_budget=9.0, verbose=True).finished


@pytest.mark.parametrize(
    "format_key", [{}, {"format": FORMAT - 1}, {"format": FORMAT + 1}], ids=["format 1, which had no key", "earlier", "later"]
)
def test_another_versions_folder_is_refused(path: Path, reopen: Open, format_key: dict[str, int]) -> None:
    path.mkdir()
    content: dict[str, Any] = {**format_key, "fingerprint": {"board": "3x3x3"}, "created": "20250101000000"}
    (path / "search.json").write_text(json.dumps(content | {"crc32": journal.checksum(content)}))
    (path / "journal.jsonl").write_text('{"index": 0}\n')
    message = refusal(reopen)
    assert "another version of this program" in message
    assert "--name" in message and "--fresh" in message
    assert (path / "journal.jsonl").read_text() == '{"index": 0}\n'
    assert reopen(fresh=True).notes == []
    (aside,) = path.parent.glob("mine.old-*")
    assert (aside / "journal.jsonl").read_text() == '{"index": 0}\n'


def damage_search_json(path: Path, how: str) -> None:
    file = path / "search.json"
    if how == "missing":
        file.unlink()
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:40])
    elif how == "changed":
        file.write_text(file.read_text().replace('"seed": 0', '"seed": 8'))
    else:
        file.write_text(how)


DAMAGES = ["missing", "cut", "changed", "", "[]", "\0"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_search_json_of_a_named_search_is_refused(finished: Path, reopen: Open, how: str) -> None:
    """A name says nothing of what the search was."""
    damage_search_json(finished, how)
    message = refusal(reopen)
    assert "search.json" in message and "--fresh" in message


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_search_json_is_written_again_where_the_folders_name_says_it_all(
    finished: Path, reopen: Open, how: str
) -> None:
    before = json.loads((finished / "search.json").read_text())
    damage_search_json(finished, how)
    folder = reopen(name=None)
    assert folder.notes == ["search.json is missing or damaged: written again"]
    assert folder.finished
    assert json.loads((finished / "search.json").read_text())["fingerprint"] == before["fingerprint"]
    assert reopen().notes == []


def test_damaged_lines_are_taken_out_and_named(finished: Path, reopen: Open) -> None:
    lines = (finished / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (finished / "journal.jsonl").write_bytes(b"\0\n" + lines[0] + lines[1][:-20])
    journal.replays(finished).append(made.replay(0))
    with (finished / "fresh.jsonl").open("a") as file:
        file.write("{}\n")
    journal.nodes(finished).append(made.node_event(0), made.node_event(1))
    with (finished / "nodes.jsonl").open("a") as file:
        file.write('{"index": 2}\n')
    folder = reopen()
    assert folder.notes == [
        "journal.jsonl, line 1, was damaged: its trial is run again",
        "journal.jsonl, line 3, was damaged: its trial is run again",
        "fresh.jsonl, line 2, was damaged: its replicates are run again",
        "nodes.jsonl, line 3, was damaged: when a node joined or was lost is not known",
    ]
    assert not folder.finished
    assert (finished / "journal.jsonl").read_bytes() == lines[0]
    assert journal.replays(finished).read() == [made.replay(0)]
    assert journal.nodes(finished).read() == [made.node_event(0), made.node_event(1)]
    assert reopen().notes == ["journal.jsonl lacks 1 trial: run again"]


def test_a_finished_search_is_left_alone(finished: Path, reopen: Open) -> None:
    before = {file: file.read_bytes() for file in finished.iterdir()}
    with Folder(finished, settings_of()) as folder:
        assert (folder.notes, folder.finished) == ([], True)
        with folder.unfinished_until_written(lambda: False):
            pass
    assert {file: file.read_bytes() for file in finished.iterdir()} == before


def test_a_finished_race_is_left_alone_until_one_of_its_rounds_is_missing(path: Path, reopen: Open) -> None:
    reopen()
    first = [made.record(index, stopped=True) for index in range(2)]
    last, failed = made.record(0, round=1), made.failure(1, round=1)
    made.write_search(path, [last], [failed], rounds=(made.round_summary(first), made.round_summary([last])))
    for record in first:
        journal.trials(path).append(record)
    folder = reopen()
    assert (folder.notes, folder.finished) == ([], True)
    journal.trials(path).rewrite([first[1], last, failed])
    folder = reopen()
    assert (folder.notes, folder.finished) == (["journal.jsonl lacks 1 trial: run again"], False)
    with folder.unfinished_until_written(lambda: True):
        content = summaries.read(path)
    assert content is not None
    assert (content.num_trials, content.num_errors) == (2, 1)


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("name", ["trials.csv", "policy.json"])
def test_a_damaged_file_is_named_and_the_search_not_finished(finished: Path, reopen: Open, name: str, missing: bool) -> None:
    if missing:
        (finished / name).unlink()
    else:
        (finished / name).write_bytes((finished / name).read_bytes()[:-1])
    folder = reopen()
    assert folder.notes == [f"{name} is missing or damaged: written again"]
    assert not folder.finished


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "finished"}'])
def test_a_damaged_summary_is_named(finished: Path, reopen: Open, text: str) -> None:
    (finished / "summary.json").write_text(text)
    folder = reopen()
    assert folder.notes == ["summary.json is damaged: written again"]
    assert not folder.finished


def test_a_missing_summary_is_a_search_that_goes_on(finished: Path, reopen: Open) -> None:
    (finished / "summary.json").unlink()
    folder = reopen()
    assert (folder.notes, folder.finished) == ([], False)


def test_a_journal_without_all_trials(finished: Path, reopen: Open) -> None:
    (finished / "journal.jsonl").unlink()
    folder = reopen()
    assert folder.notes == ["journal.jsonl lacks 2 trials: run again"]
    assert not folder.finished


def test_a_truncated_search_goes_on_once_it_is_given_more_time(path: Path, reopen: Open) -> None:
    reopen()
    settings = replace(made.unfinished().settings, time_budget=5.0)
    made.write_search(path, RECORDS, truncated=True, settings=settings)
    assert reopen(time_budget=4.0).finished
    assert reopen(time_budget=5.0).finished
    assert not reopen(time_budget=5.5).finished
    assert not reopen().finished


def test_trials_that_took_too_long_are_run_again_with_more_time(path: Path, reopen: Open) -> None:
    reopen()
    made.write_search(path, RECORDS[:1], [made.failure(1, error="TimeoutError: too long", timeout=5.0)])
    assert reopen(trial_timeout=4.0).finished
    assert reopen(trial_timeout=5.0).finished
    assert not reopen(trial_timeout=5.5).finished
    assert not reopen().finished


def test_more_time_is_hope(path: Path, reopen: Open) -> None:
    reopen()
    for index in range(2):
        journal.trials(path).append(made.failure(index, error="TimeoutError: too long", timeout=5.0))
    with pytest.raises(RuntimeError, match=r"--retry-failed runs them again; .* with a --trial-timeout above 5$"):
        reopen(trial_timeout=5.0).require_hope()
    reopen(trial_timeout=6.0).require_hope()
    reopen().require_hope()


def test_failed_trials_are_run_again_only_when_asked_for(path: Path, reopen: Open) -> None:
    reopen()
    made.write_search(path, RECORDS[:1], [made.failure(1)])
    assert reopen().finished
    assert not reopen(retry_failed=True).finished


def test_without_failed_trials_there_is_nothing_to_retry(finished: Path, reopen: Open) -> None:
    assert reopen(retry_failed=True).finished


def test_hope(path: Path, reopen: Open) -> None:
    reopen().require_hope()
    journal.trials(path).append(made.failure(0))
    reopen().require_hope()
    journal.trials(path).append(made.failure(1, error="OSError: other"))
    with pytest.raises(RuntimeError, match=r"all 2 trials failed.*trial_00000.*ValueError: broken.*--retry-failed"):
        reopen().require_hope()
    reopen(retry_failed=True).require_hope()
    journal.trials(path).append(made.record(1, attempt=2))
    reopen().require_hope()


def results_in(parent: Path) -> list[str]:
    return sorted(child.name for child in parent.iterdir())


class Clock(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime(2026, 5, 4, 3, 2, 1, tzinfo=tz)


def test_fresh_moves_earlier_results_aside_twice_in_a_second_too(
    finished: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "datetime", Clock)
    (finished / "lock.reaper").touch()
    for number, seed in ((1, 1), (2, 2), (3, 3)):
        folder = reopen(fresh=True, seed=seed)
        assert (folder.notes, folder.finished) == ([], False)
        assert (finished / "lock.reaper").exists()  # what the reaper of a killed run may still hold
        assert len(results_in(finished.parent)) == 1 + number
    stamp = "mine.old-20260504T030201Z"
    assert results_in(finished.parent) == ["mine", stamp, f"{stamp}-2", f"{stamp}-3"]
    assert summaries.finished(finished.parent / stamp).num_trials == 2
    seeds = [
        json.loads((child / "search.json").read_text())["fingerprint"]["seed"] for child in sorted(finished.parent.iterdir())
    ]
    assert seeds == [3, 0, 1, 2]


def test_fresh_moves_nothing_where_there_is_nothing(path: Path, reopen: Open) -> None:
    reopen(fresh=True)
    assert results_in(path.parent) == ["mine"]


def test_refused_input_after_fresh_puts_the_old_results_back(finished: Path) -> None:
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    with (
        pytest.raises(UserError, match="no such GPU"),
        Folder(finished, settings_of(fresh=True)) as folder,
        folder.unfinished_until_written(lambda: False),
    ):
        assert results_in(finished.parent) != ["mine"]
        raise UserError("no such GPU")
    assert results_in(finished.parent) == ["mine"]
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before


def state_after(path: Path, error: BaseException | None, interrupted: bool = False) -> tuple[str, BaseException | None]:
    """What summary.json says after a block that has ended so, and what came out of it."""
    raised: BaseException | None = None
    with Folder(path, settings_of()) as folder:
        try:
            with folder.unfinished_until_written(lambda: interrupted):
                assert summaries.state(path) == "interrupted"
                if error is not None:
                    raise error
        except BaseException as caught:
            raised = caught
    return summaries.state(path), raised


@pytest.mark.parametrize(
    ("error", "interrupted", "state"),
    [
        (None, False, "interrupted"),
        (UserError("no such GPU"), False, "interrupted"),
        (RuntimeError("Ray did not start"), False, "failed"),
        (RuntimeError("Ray is gone"), True, "interrupted"),
        (KeyboardInterrupt(), False, "interrupted"),
        (SystemExit(1), False, "interrupted"),
    ],
    ids=repr,
)
def test_a_search_is_unfinished_until_it_is_written(
    path: Path, error: BaseException | None, interrupted: bool, state: str
) -> None:
    assert state_after(path, error, interrupted) == (state, error)


def test_what_cannot_be_written_is_named_with_the_remedy(path: Path) -> None:
    state, raised = state_after(path, OSError(28, "No space left on device", "/results/journal.jsonl"))
    assert state == "failed"
    assert isinstance(raised, RuntimeError)
    assert str(raised).startswith("/results/journal.jsonl: No space left on device; ")
    assert "run the same command again" in str(raised)
    _, raised = state_after(path, OSError("odd"))
    assert str(raised).startswith(f"{path}: odd; ")


def test_written_results_make_it_finished(path: Path, reopen: Open) -> None:
    with Folder(path, settings_of()) as folder, folder.unfinished_until_written(lambda: False):
        made.write_search(path, RECORDS)
        assert not folder.finished  # it was not when it was opened
    assert summaries.state(path) == "finished"
    assert reopen().finished


def test_an_unfinished_summary_counts_what_is_there(path: Path, reopen: Open) -> None:
    reopen()
    for entry in (RECORDS[0], made.failure(1, error="ValueError: seven")):
        journal.trials(path).append(entry)
    with Folder(path, settings_of()) as folder:
        folder.write_failed()
    content = summaries.read(path)
    assert content is not None
    assert (content.status, content.num_trials, content.num_errors) == ("failed", 2, 1)
    assert content.errors == {1: "ValueError: seven"}
    write_unfinished(path, settings_of(), "interrupted")
    assert summaries.state(path) == "interrupted"


def test_a_full_disk_is_no_second_error(path: Path, reopen: Open) -> None:
    reopen()
    (path / "summary.json").mkdir()
    with Folder(path, settings_of()) as folder:
        folder.write_failed()


def test_a_file_in_its_place_and_a_folder_of_somebody_elses(path: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("")
    assert "is a file, not a folder; choose another --name" in refusal(reopen)
    path.unlink()
    (path / "lock").mkdir(parents=True)  # as little writable for root as a foreign folder is for others
    assert "cannot be written to" in refusal(reopen)
