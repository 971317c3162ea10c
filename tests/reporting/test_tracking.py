"""W&B: real offline runs are read back; a server that is away costs two seconds and nothing else."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from tests.support.program import clean_environment
from tests.support.wandb_server import Server
from tictactoe.experiment.journal import read_trials
from tictactoe.text import trial_name

SMALL = ("--num-samples", "3", "--seeds", "2", "--games", "2000", "--num-cpus", "2")


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
    for record in records:
        run = runs[trial_name(record.index)]
        assert run["group"] == folder.name
        assert run["exit"] == 0
        assert {key: run["config"][key] for key in record.config.as_dict()} == record.config.as_dict()
        assert run["history"][-1]["games"] == run["history"][-1]["_step"] == 20_000
        assert run["history"][-1]["par10"] == record.par10
        assert run["summary"]["solved"] == record.solved
    assert len({run["id"] for run in runs.values()}) == 5
    assert {"leaderboard", "report"} <= runs["search"]["history"][-1].keys()
    assert [path.suffix for path in (folder / "wandb").glob("offline-run-*-search/files/media/html/*")] == [".html"]
    assert any(name.startswith("policy-") for name in runs["search"]["artifacts"])


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": {"viewer": null}}')

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(params=["refuses", "dead", "silent"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A W&B server that refuses the key, is not there, or accepts and never answers; and what is said about it."""
    if request.param == "refuses":
        http = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", "refuses the key"
        http.shutdown()
        return
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen(8)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", "cannot be reached|does not answer"


@pytest.mark.slow
def test_a_server_that_is_no_use_is_told_once_and_changes_nothing(
    finish: Callable[..., tuple[int, str, str]], server: tuple[str, str], tmp_path: Path
) -> None:
    url, reason = server
    code, output, errors = finish(*SMALL, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=url)
    assert (code, errors) == (0, "")
    assert len(re.findall(r"^W&B:.*", output, flags=re.MULTILINE)) == 1
    assert re.search(f"W&B: .*({reason}).*wandb sync", output)
    assert len(list(tmp_path.glob("results/*/wandb/offline-run-*"))) == 4
    assert "0" * 40 not in output


def test_the_probe_is_bounded(server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic import SecretStr

    from tictactoe.reporting.probe import PROBE_SECONDS, Probe

    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", server[0])
    began = time.monotonic()
    probe = Probe(SecretStr("0" * 40))
    mode, said = probe.result()
    assert mode == "offline"
    assert time.monotonic() - began < PROBE_SECONDS + 1  # the contract's bound and a second of slack, no performance claim
    probe._answer = "online", "late"
    assert probe.result() == (mode, said)


@pytest.fixture
def wandb_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.lost.clear()
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_network_lost_in_mid_search_changes_nothing(
    program: Callable[..., subprocess.Popen[str]],
    finish: Callable[..., tuple[int, str, str]],
    wandb_server: Server,
    tmp_path: Path,
) -> None:
    options = ("--num-samples", "8", "--seeds", "16", "--games", "60000", "--num-cpus", "2")
    expected = finish(*options, WANDB_MODE="disabled")[1].splitlines()[-1]
    process = program(*options, "--fresh", WANDB_API_KEY="0" * 40, WANDB_BASE_URL=wandb_server.url)
    assert process.stdout is not None
    output, report_at, told_at = "", 0.0, 0.0
    results = tmp_path / "results"
    for line in process.stdout:
        output += line
        if "[3/8]" in line:
            wandb_server.lost.set()
        if line.startswith("W&B: the server stopped answering"):
            told_at = time.time()
            report_at = next(p for p in results.glob("*/summary.json") if ".old-" not in str(p)).stat().st_mtime
    assert process.wait(timeout=30) == 0, process.stderr and process.stderr.read()
    assert "W&B: online at" in output
    assert re.search(r"W&B: the server stopped answering; `wandb sync \S*/wandb/run-\*` sends what is missing there", output)
    assert 0 < told_at - report_at < 2 + 1  # from the results' last file; the contract's bound and a second of slack
    assert expected in output.splitlines()
    assert wandb_server.history  # until then it was heard of


@pytest.mark.slow
@pytest.mark.parametrize("patient", [True, False])
def test_a_slow_server_is_waited_for_until_a_signal(
    program: Callable[..., subprocess.Popen[str]], wandb_server: Server, patient: bool
) -> None:
    options = ("--num-samples", "4", "--seeds", "4", "--games", "20000", "--num-cpus", "2")
    process = program(*options, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=wandb_server.url)
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith("selection:"):
            wandb_server.delay = 1.5
        if "more things to write; Ctrl-C does without them" in line and not patient:
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert "Ctrl-C does without them" in output
    assert "digest sha256:" in output
    if patient:
        assert "stopped answering" not in output
        assert "not all is written" not in output
        trials = {f"trial_{index:05d}" for index in range(4)}
        assert {"search", *trials} <= wandb_server.displayed
        assert {name[-11:]: lines[-1]["games"] for name, lines in wandb_server.history.items() if "trial" in name} == (
            dict.fromkeys(trials, 20_000)
        )
    else:
        assert "W&B: not all is written; `wandb sync" in output


@pytest.mark.slow
def test_runs_of_a_resumed_search_are_synced_into_one(
    program: Callable[..., subprocess.Popen[str]],
    finish: Callable[..., tuple[int, str, str]],
    wandb_server: Server,
    tmp_path: Path,
) -> None:
    options = ("--num-samples", "2", "--seeds", "4", "--games", "6000000", "--num-cpus", "2")
    process = program(*options)
    assert process.stdout is not None
    next(line for line in process.stdout if re.search(r"trial_0000\d .*games/s", line))
    (folder,) = (tmp_path / "results").iterdir()
    end = time.monotonic() + 20
    while not any(read_back(run)["history"] for run in (folder / "wandb").glob("offline-run-*-trial_00000")):
        assert time.monotonic() < end
        time.sleep(0.2)
    process.kill()
    process.communicate()
    (folder / "wandb" / "offline-run-empty").mkdir()  # as after a kill before anything was written
    (folder / "wandb" / "offline-run-empty" / "run.wandb").write_bytes(b":W&B\xbe\xe1\0")
    assert finish(*options)[0] == 0
    assert not (folder / "wandb" / "offline-run-empty").exists()
    runs = sorted((folder / "wandb").glob("offline-run-*-trial_00000"))
    assert len(runs) == 2
    written = [[step["_step"] for step in read_back(run)["history"]] for run in runs]
    subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--yes", *map(str, runs)],
        env=clean_environment(tmp_path, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=wandb_server.url),
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    ((name, lines),) = wandb_server.history.items()
    assert name == runs[0].name.split("-", 3)[3]
    steps = [line["_step"] for line in lines]
    assert len(steps) == sum(map(len, written))  # nothing overwritten
    assert set(written[0]) <= set(steps)
    assert steps[-1] == 6_000_000
