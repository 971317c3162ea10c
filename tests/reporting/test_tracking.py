"""W&B: real offline runs are read back; a server that is away costs two seconds and nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from wandb.proto import wandb_internal_pb2

from tests.reporting.test_probe import forget_wandb
from tests.support import made_up
from tests.support.program import JOB, clean_environment, digest_of
from tests.support.records import progress, record, settings, standing
from tests.support.wandb_server import Server
from tictactoe.experiment.journal import read_trials
from tictactoe.experiment.results import Results
from tictactoe.experiment.rounds import rounds
from tictactoe.reporting import tracking
from tictactoe.reporting.probe import Probe
from tictactoe.reporting.tracking import Tracker
from tictactoe.text import trial_name

SMALL = ("--num-samples", "3", "--seeds", "2", "--games", "2000", "--num-cpus", "2")


@pytest.fixture
def joined(joined: dict[str, str]) -> dict[str, str]:
    """With W&B."""
    return joined | {"WANDB_DISABLED": ""}


def transactions(log: bytes) -> Iterator[bytes]:
    """The records of W&B's transaction log: LevelDB's log format behind a header of 7 bytes."""
    block, header = 32768, 7
    at, parts = header, b""
    while at + header <= len(log):
        rest = block - at % block
        if rest < header:
            at += rest
            continue
        _, length, kind = struct.unpack_from("<IHB", log, at)  # kind: 1 whole, 2 first, 3 middle, 4 last
        parts += log[at + header : at + header + length]
        at += header + length
        if kind in (1, 4):
            yield parts
            parts = b""


def read_back(folder: Path) -> dict[str, Any]:
    """Name, group, config, history, summary and exit code of an offline run, from its transaction log."""
    (path,) = folder.glob("run-*.wandb")
    run: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "exit": None, "artifacts": []}
    for data in transactions(path.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"name": record.run.display_name, "group": record.run.run_group, "id": record.run.run_id}
            run["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            run["history"].append(items)
        elif kind == "summary":
            run["summary"] |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.summary.update}
        elif kind == "exit":
            run["exit"] = record.exit.exit_code
        elif kind == "artifact":
            run["artifacts"].append(record.artifact.name)
    return run


def test_offline_runs_can_be_read_back(searched: Path) -> None:
    assert (searched.parent / "output").read_text().count("W&B:") == 1
    folder = searched / "small"
    runs = {run["name"]: run for run in map(read_back, (folder / "wandb").glob("offline-run-*"))}
    assert sorted(runs) == ["search", "trial_00000", "trial_00001", "trial_00002", "trial_00003"]
    records, _ = read_trials(folder)
    for trial in records:
        run = runs[trial_name(trial.index)]
        assert run["group"] == folder.name
        assert run["exit"] == 0
        assert {key: run["config"][key] for key in trial.config.as_dict()} == trial.config.as_dict()
        assert run["history"][-1]["games"] == run["history"][-1]["_step"] == 20_000
        assert run["history"][-1]["par10"] == trial.par10
        assert run["summary"]["solved"] == trial.solved
    assert len({run["id"] for run in runs.values()}) == 5
    assert {"leaderboard", "report"} <= runs["search"]["history"][-1].keys()
    assert [path.suffix for path in (folder / "wandb").glob("offline-run-*-search/files/media/html/*")] == [".html"]
    assert any(name.startswith("policy-") for name in runs["search"]["artifacts"])


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch, wandb_server: Server, tmp_path: Path) -> Iterator[Callable[..., Tracker]]:
    """A tracker of a search in a folder with a space in its name, with the test's server and these variables."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)

    def make(num_samples: int = 4, scheduler: str = "none", **variables: str) -> Tracker:
        forget_wandb()
        os.environ.update({"HOME": str(tmp_path), "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": wandb_server.url} | variables)
        os.environ["WANDB_SILENT"] = "true"
        folder = tmp_path / "my results" / "one"
        folder.mkdir(parents=True, exist_ok=True)
        options = settings(results_dir=folder.parent, name="one", num_samples=num_samples, scheduler=scheduler)
        return Tracker(Probe(options), rounds(options), folder, "one", "1", Console(soft_wrap=True), threading.Event())

    yield make
    forget_wandb()
    os.environ.clear()
    os.environ.update(before)


def write(tracker: Tracker, indices: Iterable[int]) -> None:
    """Have it write these trials, each with three reports."""
    for index in indices:
        tracker.trial_started(index, record(index).config)
        for games in (100, 200, 300):
            tracker.trial_reported(index, progress(games=games), final=False)
        tracker.trial_finished(record(index))


def send(said: str, home: Path, **variables: str) -> str:
    """Run the command that was printed, as a user would; returns what it prints."""
    (command,) = re.findall("`(.*)`", said)
    environment = clean_environment(home, **variables)
    ran = subprocess.run(command, shell=True, cwd=home, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return ran.stderr


@pytest.mark.slow
def test_a_refused_run_loses_nothing_and_the_printed_command_sends_it_all(
    tracker: Callable[..., Tracker],
    wandb_server: Server,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "ANNOUNCE_SECONDS", 600.0)  # on a slow machine it would be said first
    wandb_server.secretly = {"team/games"}
    with tracker(WANDB_ENTITY="team", WANDB_PROJECT="games") as writing:
        write(writing, range(3))
    said, errors = capfd.readouterr()
    assert errors == ""
    assert re.match(r"W&B: team/games refuses runs \(permission denied\); runs are kept offline from here on, ", said)
    assert len(list(tmp_path.glob("my results/one/wandb/*run-*"))) == 3
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]
    wandb_server.secretly.clear()
    send(said, tmp_path, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=wandb_server.url)
    assert wandb_server.targets == {"team/games"}
    assert {name: [line["games"] for line in lines] for name, lines in wandb_server.history.items()} == {
        f"one-1-{trial_name(index)}": [100, 200, 300] for index in range(3)
    }


@pytest.mark.slow
def test_a_server_lost_between_two_trials_loses_no_run(
    tracker: Callable[..., Tracker], wandb_server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text(f"WANDB_API_KEY={'0' * 40}\nWANDB_BASE_URL={wandb_server.url}\n")
    with tracker() as writing:
        write(writing, range(2))
        while len(wandb_server.history) < 2 or writing._handled < 10:
            time.sleep(0.05)
        wandb_server.lost.set()
        write(writing, range(2, 4))
    said, errors = capfd.readouterr()
    assert errors == ""
    assert re.search("W&B: the server stopped answering; runs are kept offline from here on, ", said)
    wandb_server.lost.clear()
    assert "Skipped 2 synced run(s)" in send(said, tmp_path)  # these are there already
    assert {name: [line["games"] for line in lines] for name, lines in wandb_server.history.items()} == {
        f"one-1-{trial_name(index)}": [100, 200, 300] for index in range(4)
    }


def test_many_trials_share_runs_and_are_not_written_twice(
    tracker: Callable[..., Tracker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("probe", "tracking"):
        monkeypatch.setattr(f"tictactoe.reporting.{module}.RUN_EACH_UP_TO", 3)
    with tracker(8, WANDB_MODE="offline") as writing:
        write(writing, (4, 0, 2, 1))
    cut_off = tmp_path / "my results/one/wandb/offline-run-20260101_000000-one-1-trials_00004"
    cut_off.mkdir()  # as after a kill
    with tracker(8, WANDB_MODE="offline") as writing:
        writing.search_started(standing([record(index) for index in (4, 0, 2, 1, 3)]))
        write(writing, (5, 7, 6))
    assert not cut_off.exists()
    runs = {run["name"]: run for run in map(read_back, tmp_path.glob("my results/one/wandb/offline-run-*"))}
    assert {name: [line["trial"] for line in run["history"]] for name, run in runs.items()} == {
        "trials_00000": [4, 0, 2], "trials_00003": [1], "trials_00004": [3, 5, 7], "trials_00007": [6],
    }  # fmt: skip
    assert {run["group"] for run in runs.values()} == {"one"}
    (line,) = runs["trials_00007"]["history"]
    assert {name: line[name] for name in record(6).config.as_dict()} == record(6).config.as_dict()
    assert (line["par10"], line["solved"]) == (record(6).par10, record(6).solved)


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a table of an offline run."""
    (path,) = folder.glob(f"files/media/table/{name}_*.table.json")
    content = json.loads(path.read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def test_of_a_race_the_last_round_has_runs_and_the_search_a_table_of_all(
    tracker: Callable[..., Tracker], tmp_path: Path
) -> None:
    folder = tmp_path / "my results" / "one"
    made_up.landscape(folder, trials=30, games=3_000)
    results = Results.read(folder)
    first, last = ([record for record in results.rounds if record.round == number] for number in (0, 1))
    assert (len(first), len(last)) == (30, 8)
    with tracker(30, "race", WANDB_MODE="offline") as writing:
        writing.search_started(standing())
        for number, entered in enumerate((first, last[:5])):
            writing.round_started(number, rounds(settings(num_samples=30))[number], 2)
            for one in entered:
                writing.trial_started(one.index, one.config)
                writing.trial_reported(one.index, one, final=True)
                writing.trial_finished(one)
    with tracker(30, "race", WANDB_MODE="offline") as writing:  # which a kill has kept from some of them
        writing.search_started(standing(results.records))
        for slots in (1, 3, 2):
            writing.slots_changed(slots)
        writing.search_finished(results.summary, results.records, [folder / "policy.json"])
    runs = {run["name"]: run for run in map(read_back, folder.glob("wandb/offline-run-*"))}
    assert sorted(runs) == ["search", *sorted(trial_name(record.index) for record in last)]
    assert all(runs[trial_name(one.index)]["summary"]["mean_log"] == one.mean_log for one in last)
    assert {runs[trial_name(one.index)]["summary"]["node"] for one in last} == {"127.0.0.1"}
    (search,) = folder.glob("wandb/offline-run-*-search")
    rows = table(search, "leaderboard")
    assert [row["index"] for row in rows] == [record.index for record in results.ranked]
    assert [row["reached"] for row in rows] == ["round 2 of 2"] * 8 + ["round 1 of 2"] * 22
    assert rows[-1]["mean_log"] == results.ranked[-1].mean_log and rows[-1]["table"] == results.ranked[-1].config.table
    assert {row["node"] for row in rows} == {"127.0.0.1"}
    assert [row["name"] for row in table(search, "stages")][:3] == ["round 1", "round 2", "look 1"]
    steps = [line for line in runs["search"]["history"] if "slots" in line]
    assert [line["slots"] for line in steps] == [1, 1, 3, 3, 2, 2]  # a line of steps from the first to now
    times = [line["seconds"] for line in steps]
    assert times[0] == 0.0 and times == sorted(times)
    assert [times[1], times[3]] == [times[2], times[4]]
    best = [line["best_geometric_mean"] for line in runs["search"]["history"] if "best_geometric_mean" in line]
    assert best[-1] == results.ranked[0].geometric_mean
    assert "leaderboard" in runs["search"]["history"][-1]
    confirmed = runs["search"]["summary"]["best"]["confirmed"]
    assert confirmed["mean_log"] == results.summary.best.confirmed.mean_log


@pytest.mark.slow
def test_a_server_that_never_answers_is_told_once_and_changes_nothing(
    finish: Callable[..., tuple[int, str, str]], joined: dict[str, str], wandb_server: Server, tmp_path: Path
) -> None:
    wandb_server.lost.set()
    code, output, errors = finish(*SMALL, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=wandb_server.url, **joined)
    assert (code, errors) == (0, "")
    assert len(re.findall(r"^W&B:.*", output, flags=re.MULTILINE)) == 1
    assert re.search("W&B: .*does not answer within 2 s; .*wandb sync", output)
    assert len(list(tmp_path.glob("results/*/wandb/offline-run-*"))) == 4
    assert not [path for path in tmp_path.glob("results/**/*") if path.is_symlink()]
    assert "0" * 40 not in output


@pytest.mark.slow
def test_a_network_lost_in_mid_search_changes_nothing(
    program: Callable[..., subprocess.Popen[str]],
    joined: dict[str, str],
    wandb_server: Server,
    expected: str,
    tmp_path: Path,
) -> None:
    process = program(*JOB, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=wandb_server.url, **joined)
    assert process.stdout is not None
    output, report_at, told_at = "", 0.0, 0.0
    for line in process.stdout:
        output += line
        if "[3/8]" in line:
            end = time.monotonic() + 60
            while not wandb_server.history:
                assert time.monotonic() < end
                time.sleep(0.02)
            wandb_server.lost.set()
        if line.startswith("W&B: the server stopped answering"):
            told_at = time.time()
            (written,) = tmp_path.glob("results/*/summary.json")
            report_at = written.stat().st_mtime
    assert process.wait(timeout=30) == 0, process.stderr and process.stderr.read()
    assert "W&B: online at" in output
    assert re.search(
        r"W&B: the server stopped answering; .*`\S* -m wandb sync --include-online \S*/wandb` sends what is", output
    )
    assert 0 < told_at - report_at < 2 + 1  # from the results' last file; the contract's bound and a second of slack
    assert digest_of(output) == expected
    assert wandb_server.history  # until then it was heard of


@pytest.mark.slow
@pytest.mark.parametrize("patient", [True, False])
def test_a_slow_server_is_waited_for_until_a_signal(
    program: Callable[..., subprocess.Popen[str]], joined: dict[str, str], wandb_server: Server, patient: bool
) -> None:
    options = ("--num-samples", "2", "--seeds", "4", "--games", "5000", "--num-cpus", "2")  # each run takes seconds to send
    process = program(*options, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=wandb_server.url, **joined)
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith("race:"):
            wandb_server.delay = 1.5
        if "more things to write; Ctrl-C does without them" in line and not patient:
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert "Ctrl-C does without them" in output
    assert "digest sha256:" in output
    if patient:
        assert "stopped answering" not in output
        assert "not all is written" not in output
        trials = {f"trial_{index:05d}" for index in range(2)}
        assert {"search", *trials} <= wandb_server.displayed
        assert {name[-11:]: lines[-1]["games"] for name, lines in wandb_server.history.items() if "trial" in name} == (
            dict.fromkeys(trials, 5_000)
        )
    else:
        assert re.search("W&B: not all is written; `.* -m wandb sync --include-online .*` sends what is missing there", output)


@pytest.mark.slow
def test_runs_of_a_resumed_search_are_synced_into_one(
    program: Callable[..., subprocess.Popen[str]],
    finish: Callable[..., tuple[int, str, str]],
    joined: dict[str, str],
    wandb_server: Server,
    tmp_path: Path,
) -> None:
    options = ("--num-samples", "2", "--seeds", "16", "--games", "4000000", "--num-cpus", "2")
    process = program(*options, **joined)
    end = time.monotonic() + 90
    logs = "*/wandb/offline-run-*-trial_00000/*.wandb"
    while not any(read_back(log.parent)["history"] for log in (tmp_path / "results").glob(logs)):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.2)
    (folder,) = (tmp_path / "results").iterdir()
    process.kill()
    process.communicate()
    (folder / "wandb" / "offline-run-empty").mkdir()  # as after a kill before anything was written
    (folder / "wandb" / "offline-run-empty" / "run.wandb").write_bytes(b":W&B\xbe\xe1\0")
    (folder / "wandb" / "offline-run-bare").mkdir()
    assert finish(*options, **joined)[0] == 0
    assert not any((folder / "wandb" / f"offline-run-{left}").exists() for left in ("empty", "bare"))
    runs = sorted((folder / "wandb").glob("offline-run-*-trial_00000"))
    assert len(runs) == 2
    written = [[step["_step"] for step in read_back(run)["history"]] for run in runs]
    subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--yes", *map(str, runs)],
        cwd=tmp_path,
        env=clean_environment(tmp_path, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=wandb_server.url),
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    ((name, lines),) = wandb_server.history.items()
    assert name == runs[0].name.split("-", 3)[3]
    steps = [line["_step"] for line in lines]
    assert len(steps) == sum(map(len, written))  # nothing overwritten
    assert set(written[0]) <= set(steps)
    assert steps[-1] == 4_000_000
