"""What a search survives, each fault done for real: it ends as if it had been left alone, or says why it cannot."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.reporting.test_tracking import read_back
from tests.support.chaos import chaos
from tests.support.node_chaos import SEARCH_DIGEST, node_round
from tests.support.program import FAULTS, JOB, NO_PLOTS, OPTUNA_RACE, RACE, RACE_DIGEST, SEARCHED, digest_of
from tictactoe.experiment.fingerprint import search_name
from tictactoe.experiment.journal import read_trials
from tictactoe.process.interrupt import EXIT_SECONDS
from tictactoe.process.processes import PREFIX, name_of
from tictactoe.settings import load
from tictactoe.tuning.states import games_in
from tictactoe.tuning.workers import title

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., "subprocess.Popen[str]"]
SAVED_OFTEN = {"PYTHONPATH": FAULTS, "FAULT": "save:0.5 plots:none"}
LONG = ("--num-samples", "2", "--seeds", "16", "--games", "1000000", "--num-cpus", "2")
"""A search whose trials are saved before they end, even if on a machine twice as fast."""
LONG_DIGEST = "sha256:82c9b9384f5076171a900a6f75d0d9082f12e8de33e8f44ebf7405ca0e1eac6f"
"""Of that search, left alone."""
SHORT = ("--num-samples", "4", "--seeds", "16", "--games", "5000", "--num-cpus", "2")
"""A search to be ended after its trials."""
NAMESPACE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


def folder_of(tmp_path: Path) -> Path:
    (folder,) = (path for path in (tmp_path / "results").iterdir() if ".old-" not in path.name)
    return folder


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """The program's output up to a line that matches."""
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if re.search(pattern, line):
            return output
    pytest.fail(f"{pattern!r} did not come: {output}")


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return children


def wait_for_state(process: subprocess.Popen[str], tmp_path: Path) -> Path:
    """The first state that the running search saves of an unfinished trial."""
    end = time.monotonic() + 90
    while not (states := list((tmp_path / "results").glob("*[!Z]/unfinished/*.npz"))):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    return states[0]


def start_of(process: psutil.Process) -> str:
    """The first words of a process's command line; empty where it has just ended."""
    return " ".join(title(process).split(" ")[:4])


def all_end(children: list[psutil.Process], seconds: float = 15) -> bool:
    _, alive = psutil.wait_procs(children, timeout=seconds)
    return len(alive) == 0


def test_a_killed_driver_leaves_nothing_behind_and_the_search_goes_on(
    program: Start, joined: dict[str, str], expected: str, tmp_path: Path
) -> None:
    shared = set(Path("/dev/shm").iterdir())
    with tempfile.TemporaryDirectory(prefix="t") as temporary:  # with a short name, for Ray's sockets
        process = program(*JOB, TMPDIR=temporary)
        read_until(process, r"\[3/8\]")
        assert [path.name.startswith(PREFIX) for path in Path(temporary).iterdir()] == [True]
        children = descendants(process)
        process.kill()
        process.wait()
        elsewhere = joined | {"TMPDIR": temporary, "WANDB_DISABLED": ""}
        again = program(*JOB, **elsewhere)  # at once: it waits for the reaper of the first
        assert all_end(children)
        output, errors = again.communicate(timeout=200)
        assert not list(Path(temporary).iterdir())
    code = again.returncode
    assert set(Path("/dev/shm").iterdir()) <= shared
    assert (code, errors) == (0, "")
    finished = int(re.search(r"(\d+) of 8 trials are finished already", output)[1])  # type: ignore[index]
    assert finished >= 3
    assert len(re.findall(r"finished \[", output)) == 8 - finished
    assert digest_of(output) == expected
    runs = [read_back(path) for path in (folder_of(tmp_path) / "wandb").glob("offline-run-*")]
    assert len({run["id"] for run in runs if "id" in run}) == 9  # eight trials and the search, whatever was tried twice


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_at_random_times_until_it_is_finished() -> None:
    undisturbed, rows = chaos(rounds=2, seed=1)
    assert [row["digest"] for row in rows] == [undisturbed] * 2
    assert [row["left behind"] for row in rows] == [0, 0]
    assert sum(row["kills"] for row in rows) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_machines_that_come_and_go_at_random_times_until_it_is_finished() -> None:
    """With this seed one more worker joins, the first one loses its power, the head is killed, one more joins, and so on."""
    row = node_round(1, random.Random(2237))
    assert (row["exit"], row["wrong"], row["left behind"], row["digest"]) == (0, "", 0, SEARCH_DIGEST)
    assert row["joined"] > 0 and row["done"].count(",") > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_race_killed_in_each_of_its_parts_ends_as_if_left_alone(finish: Run, joined: dict[str, str], tmp_path: Path) -> None:
    """Each time right after something has come to the disk, of which nobody has heard yet."""

    def killed(*faults: str, **variables: str) -> str:
        """What an attempt has said, whose driver dies of the last of these faults."""
        code, output, errors = finish(*RACE, **variables | {"PYTHONPATH": FAULTS, "FAULT": " ".join(faults)})
        assert (code, errors) == (-signal.SIGKILL, "")
        return output

    trials = [240, 62, 16]
    started = r"^round {} of 3: {} trials x .* games"
    goes_on = started + r", (\d+) trials of it finished already$"
    output = killed("journal.jsonl:100", **joined)
    assert re.search(started.format(1, trials[0]) + "$", output, flags=re.MULTILINE)
    assert "ended after" not in output
    # With a Ray of its own, whose processes hear of faults: that of a batch of the first round is lost, too.
    output = killed("lost:239", f"journal.jsonl:{sum(trials[:2]) + 5}", WANDB_DISABLED="true")
    (already,) = map(int, re.findall(goes_on.format(1, trials[0]), output, flags=re.MULTILINE))
    assert 100 <= already < trials[0]
    assert re.search(r"^trial_00\d{3}  is tried again: ", output, flags=re.MULTILINE)
    assert re.search(started.format(3, trials[2]) + "$", output, flags=re.MULTILINE)
    assert "round 3 of 3 ended" not in output
    output = killed("fresh.jsonl:3", **joined)
    assert "of 3 ended" in output and "round 1 of 3" not in output and "round 2 of 3" not in output
    (already,) = map(int, re.findall(goes_on.format(3, trials[2]), output, flags=re.MULTILINE))
    assert 5 <= already < trials[2]
    assert output.splitlines()[-1].startswith("race: 8 finalists ")
    output = killed("fresh.jsonl:17", **joined)
    assert "round " not in output
    assert output.splitlines()[-1].startswith("confirmation: ")

    code, output, errors = finish(*RACE, **joined)
    assert (code, errors, digest_of(output)) == (0, "", RACE_DIGEST)
    journal, fresh = (
        [json.loads(line) for line in (folder_of(tmp_path) / name).read_text().splitlines()]
        for name in ("journal.jsonl", "fresh.jsonl")
    )
    assert len(journal) == len({(line["index"], line["round"]) for line in journal}) == sum(trials)  # none was run twice
    assert len(fresh) == len({(line["stream"], line["trial"], line["first"]) for line in fresh}) == 18


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["race", "asha"])
def test_optuna_goes_on_to_the_same_end(
    finish: Run, joined: dict[str, str], scheduler: str, request: pytest.FixtureRequest
) -> None:
    """A race is killed in a generation, and in its last round; ASHA when Optuna has been told of some trials."""
    options: tuple[str, ...] = OPTUNA_RACE
    kills = ["journal.jsonl:43", "journal.jsonl:70"]
    if scheduler == "race":
        undisturbed = request.getfixturevalue("optuna_digest")
    else:
        asha = ("--scheduler", "asha", "--max-concurrent", "1", "--num-samples", "14", "--seeds", "16")
        options, kills = (*OPTUNA_RACE, *asha), ["journal.jsonl:11"]
        undisturbed = digest_of(finish(*options, **joined)[1])
    first = ["--fresh"]
    for kill in kills:
        assert finish(*options, *first, **joined | {"FAULT": kill})[0] == -signal.SIGKILL
        first = []
    code, output, _ = finish(*options, **joined)
    assert code == 0
    assert "finished already" in output
    assert digest_of(output) == undisturbed


@pytest.mark.slow
def test_a_killed_worker_costs_a_retry_from_the_checkpoint(program: Start, tmp_path: Path) -> None:
    process = program(*LONG, **SAVED_OFTEN)
    wait_for_state(process, tmp_path)
    working = [child for child in descendants(process) if "QLearningTrial" in title(child)]
    assert working
    for worker in working:
        worker.kill()
    output, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (0, "")
    assert output.count("W&B:") == 1  # nothing to tell of the runs of trials that were tried again
    assert "is tried again" in output
    assert "\x1b" not in output and "(raylet" not in output  # Ray's own words on it
    assert re.search(r"trial_0000\d  goes on after [\d,]{7,} games", output)
    assert digest_of(output) == LONG_DIGEST


@pytest.mark.slow
def test_a_killed_raylet_is_noticed_and_a_signal_to_the_whole_process_group_is_an_interruption(
    program: Start, finish: Run, joined: dict[str, str], summary: Callable[[], dict[str, Any]], expected: str
) -> None:
    """After each of them the search can go on."""
    process = program(*JOB)
    read_until(process, r"\[2/8\]")
    children = descendants(process)
    next(child for child in children if name_of(child) == "raylet").kill()
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 10 + EXIT_SECONDS  # the contract's bound to notice, and to leave
    assert process.returncode == 1
    assert "error: Ray's raylet died; finished trials are kept: run the same command again to go on" in errors.splitlines()
    assert summary()["status"] == "failed"
    assert all_end(children)

    process = program(*JOB, under=("setsid",))
    read_until(process, r"\[[3-7]/8\]")
    assert os.getpgid(process.pid) == process.pid
    os.killpg(process.pid, signal.SIGHUP)  # as when the terminal is closed
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 75
    assert output.splitlines()[-1].startswith("interrupted; finished trials are kept: run the same command again")
    assert summary()["status"] == "interrupted"

    code, output, _ = finish(*JOB, **joined)
    assert (code, digest_of(output)) == (0, expected)


@pytest.mark.slow
def test_neither_a_killed_dashboard_nor_a_closed_pipe_matters(
    program: Start, expected: str, summary: Callable[[], dict[str, Any]]
) -> None:
    process = program(*JOB, **NO_PLOTS)
    read_until(process, r"\[1/8\]")
    assert process.stdout is not None
    process.stdout.close()  # as `main.py | head` does
    dashboards = [child for child in descendants(process) if re.search(r"ray-dash|dashboard\.py", start_of(child))]
    assert len(dashboards) > 1  # itself and its helpers
    for child in dashboards:
        child.kill()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0
    assert errors == "note: standard output cannot be written (Broken pipe); the program goes on without it\n"
    assert summary()["digest"] == expected


@pytest.mark.slow
def test_an_interrupted_search_goes_on_and_a_trial_that_raises_or_hangs_fails_alone(
    program: Start,
    finish: Run,
    joined: dict[str, str],
    summary: Callable[[], dict[str, Any]],
    expected: str,
    tmp_path: Path,
) -> None:
    """What has failed stays so until --retry-failed, also over an interruption."""
    process = program(*JOB, PYTHONPATH=FAULTS, FAULT="raise:0")
    read_until(process, "trial_00000  failed")
    read_until(process, r"\[[3-6]/8\]")  # so two at least have finished
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 75
    assert time.monotonic() - began < 15
    assert "run the same command again" in output
    content = summary()
    assert content["status"] == "interrupted"
    records, failures = read_trials(folder_of(tmp_path))
    assert [failure.index for failure in failures] == [0]
    assert 2 <= len(records) < 7
    journal = folder_of(tmp_path) / "journal.jsonl"
    kept = journal.read_text().splitlines()
    assert content["num_trials"] <= len(kept) == len(records) + 1

    options = (*JOB, "--trial-timeout", "4")
    code, output, _ = finish(*options, PYTHONPATH=FAULTS, FAULT="hang:6 raise:7 hung:0.5 plots:none")
    assert code == 0
    assert re.search(r"^1 trial failed earlier; --retry-failed", output, flags=re.MULTILINE)
    assert "trial_00000  finished" not in output
    content = summary()
    assert (content["status"], content["num_trials"], content["num_errors"]) == ("finished", 8, 3)
    assert content["cost"]["attempts"] == 2
    assert content["errors"]["0"] == failures[0].error
    for index, cause in ((6, "took longer than --trial-timeout 4 s"), (7, "ZeroDivisionError")):
        assert cause in content["errors"][str(index)]
        assert re.search(rf"trial_0000{index}  failed: .*{cause}", output)
    lines = journal.read_text().splitlines()
    assert (lines[: len(kept)], len(lines)) == (kept, 8)  # what was finished is not run again

    code, output, _ = finish(*options)
    assert (code, summary()) == (0, content)  # a search that came to its end is shown, not tried again
    assert "Ray dashboard" not in output
    assert digest_of(output) == content["digest"] != expected
    # One fails again: the search is as finished as before.
    assert finish(*JOB, "--retry-failed", PYTHONPATH=FAULTS, FAULT="raise:7 plots:none")[0] == 0
    content = summary()
    assert (content["status"], content["num_errors"], [*content["errors"]]) == ("finished", 1, ["7"])
    code, output, _ = finish(*JOB, "--retry-failed", **joined)
    assert code == 0
    content = summary()
    assert (content["status"], content["num_errors"], content["errors"]) == ("finished", 0, {})
    assert content["digest"] == digest_of(output) == expected
    assert len(re.findall(r"finished \[", output)) == 1  # only the failed one is run


def is_possible(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.slow
def test_results_that_cannot_be_written_end_the_search_and_lose_nothing(
    program: Start, joined: dict[str, str], tmp_path: Path, expected: str
) -> None:
    """Results are in a file system of their own, of 8 MB, in a mount namespace of its own that `sleep` keeps.

    A Ray of the search's own has its processes there, too: they find it full, and with a timeout read-only.
    """
    if not is_possible(*NAMESPACE, "true"):
        pytest.skip("needs a mount namespace")
    results, unused = tmp_path / "results", tmp_path / "unused"
    results.mkdir()
    unused.mkdir()
    mount = f"mount -t tmpfs -o size=8m none {results} && echo ready && exec sleep 600"
    with subprocess.Popen([*NAMESPACE, "sh", "-c", mount], stdout=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout is not None and keeper.stdout.readline() == "ready\n"
            within = ("nsenter", "--target", str(keeper.pid), "--mount", *(() if os.geteuid() == 0 else ("--user",)))
            inside = Path(f"/proc/{keeper.pid}/root/{results}")
            kept = 0
            for fault in ("full", "read-only", "read-only, with a timeout"):
                options = (*JOB, "--trial-timeout", "100") if "timeout" in fault else JOB
                variables = joined if fault == "read-only" else {"WANDB_MODE": "disabled"}
                process = program(*options, under=within, **variables)
                output = read_until(process, rf"\[{kept + 1 if kept else 2}/8\]")
                process.send_signal(signal.SIGSTOP)  # it alone writes the journal
                if fault == "full":
                    fill(inside / "filler")
                else:
                    # A mount through which a file is being written cannot become read-only: one that nobody uses can.
                    read_only = f"mount --bind {results} {unused} && mount -o remount,bind,ro {unused}"
                    over = f"{read_only} && mount --bind {unused} {results} && umount {unused}"
                    subprocess.run([*within, "sh", "-c", over], check=True)
                process.send_signal(signal.SIGCONT)
                _, errors = process.communicate(timeout=60)
                assert process.returncode == 1
                (line,) = errors.splitlines()
                assert ("No space left" if fault == "full" else "Read-only") in line
                assert "journal.jsonl" in line and "run the same command again" in line
                if fault == "full":
                    (inside / "filler").unlink()
                else:
                    subprocess.run([*within, "umount", "--lazy", str(results)], check=True)
                assert kept == finished_already(output)
                (journal,) = inside.glob("*/journal.jsonl")
                assert journal.read_bytes().count(b"\n") > kept
                kept = journal.read_bytes().count(b"\n")
            process = program(*JOB, under=within, **joined)
            output, errors = process.communicate(timeout=100)
            assert (process.returncode, errors) == (0, "")
            assert 4 <= kept == finished_already(output)
            assert digest_of(output) == expected
        finally:
            keeper.kill()


def finished_already(output: str) -> int:
    """How many trials a search has said to be finished at its start."""
    said = re.search(r"(\d+) of 8 trials are finished already", output)
    return int(said[1]) if said else 0


def fill(path: Path) -> None:
    """Write until there is no more room."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


def damage(path: Path, at: float) -> None:
    """Turn over one bit of a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.slow
def test_damaged_files_are_named_and_made_again(finish: Run, joined: dict[str, str], searched: Path, tmp_path: Path) -> None:
    """Of a search whose name says what its lost search.json would say."""
    folder = tmp_path / "results" / search_name(load([*SEARCHED], {}))
    shutil.copytree(searched / "small", folder)
    expected = digest_of((searched.parent / "output").read_text())
    written = {name: (folder / name).read_bytes() for name in ("trials.csv", "policy.json")}

    damage(folder / "policy.json", 0.5)
    (folder / "trials.csv").write_bytes(written["trials.csv"][:200])
    code, output, _ = finish(*SEARCHED, **joined)
    assert code == 0
    assert "note: policy.json is missing or damaged" in output and "note: trials.csv is missing or damaged" in output
    assert "finished [" not in output
    assert digest_of(output) == expected
    assert {name: (folder / name).read_bytes() for name in written} == written

    content = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(content | {"digest": "sha256:" + "0" * 64}))
    code, output, _ = finish(*SEARCHED, **joined)
    assert code == 0
    assert "note: summary.json is damaged: written again" in output
    assert digest_of(output) == expected

    damage(folder / "journal.jsonl", 0.4)
    (folder / "summary.json").write_text("{")
    (folder / "search.json").unlink()
    (folder / "lock").write_bytes(b"\0")
    code, output, _ = finish(*SEARCHED, **joined)
    assert code == 0
    assert re.search(r"note: journal.jsonl, line \d, was damaged", output)
    assert "note: search.json is missing or damaged" in output
    assert len(re.findall(r"finished \[", output)) == 1
    assert digest_of(output) == expected
    assert "note:" not in finish(*SEARCHED)[1]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_trial_starts_over(
    program: Start, finish: Run, joined: dict[str, str], tmp_path: Path
) -> None:
    process = program(*LONG, **SAVED_OFTEN)
    saved = wait_for_state(process, tmp_path)
    children = descendants(process)
    process.kill()
    process.wait()
    assert all_end(children)  # the trial's process might save once more
    damage(saved, 0.5)
    code, output, _ = finish(*LONG, **joined)
    assert code == 0
    trial = saved.stem.rpartition("_")[0]  # without the round
    assert f"{trial}  {saved.name} is damaged" in output
    assert digest_of(output) == LONG_DIGEST


@pytest.mark.slow
def test_what_an_earlier_attempt_has_learned_is_no_share_of_this_ones_time(
    program: Start, finish: Run, joined: dict[str, str], summary: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    options = ("--num-samples", "1", "--seeds", "16", "--games", "3000000", "--num-cpus", "1")
    process = program(*options, **SAVED_OFTEN)
    state = wait_for_state(process, tmp_path)
    while games_in(state) < 0.4 * 16 * 3_000_000:
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert state.exists()  # it has not finished
    code, output, _ = finish(*options, **joined)
    assert code == 0
    assert "goes on after" in output
    assert not state.exists()
    ((record,), _), cost = read_trials(folder_of(tmp_path)), summary()["cost"]
    assert 0 < record.earlier_cpu_s < record.learner_cpu_s == cost["learner_cpu_s"]
    assert 0.3 < cost["learner_share"] < 1.05


@pytest.mark.slow
def test_a_second_process_is_refused_while_the_first_lives(program: Start, finish: Run, joined: dict[str, str]) -> None:
    first = program(*JOB, "--hold", **joined)
    read_until(first, "search 3x3x3")
    code, _, errors = finish(*JOB)
    assert code == 2
    assert "is in use by another search" in errors
    first.kill()
    first.wait()
    assert finish(*JOB, **joined)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", ["imports", "Ray's start", "search", "selection", "report"])
def test_a_signal_in_any_phase(
    program: Start, summary: Callable[[], dict[str, Any]], phase: str, number: signal.Signals, tmp_path: Path
) -> None:
    shared = set(Path("/dev/shm").iterdir())
    process = program(*(JOB if phase == "search" else SHORT))
    if phase == "imports":
        while psutil.Process(process.pid).num_threads() == 1:  # until it listens for signals, before it imports anything large
            assert process.poll() is None
            time.sleep(0.01)
    elif phase == "Ray's start":
        while not any("gcs_server" in name_of(child) for child in descendants(process)):
            assert process.poll() is None
            time.sleep(0.05)
    elif phase == "search":
        read_until(process, r"\[1/8\]")
    else:
        read_until(process, "race: ")
    if phase == "report":  # trials.csv is written just before
        while not list((tmp_path / "results").glob("*/trials.csv")):
            time.sleep(0.02)
    children = descendants(process)
    began = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=30)
    assert time.monotonic() - began < 8  # the contract's bound
    assert process.returncode == 75
    assert summary()["status"] == "interrupted"
    assert all_end(children)
    assert set(Path("/dev/shm").iterdir()) <= shared


@pytest.mark.slow
def test_a_signal_while_holding_is_a_good_end_and_a_second_one_ends_at_once(
    program: Start, summary: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    process = program(*SHORT, "--hold", **NO_PLOTS)
    read_until(process, "the dashboard stays")
    children = descendants(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=8)
    assert process.returncode == 0
    assert summary()["status"] == "finished"
    assert all_end(children)

    process = program(*JOB)
    read_until(process, r"\[1/8\]")
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=8)
    assert process.returncode == 75
    states = [json.loads(path.read_text())["status"] for path in (tmp_path / "results").glob("*/summary.json")]
    assert sorted(states) == ["finished", "interrupted"]
