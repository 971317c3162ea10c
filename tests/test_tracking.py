"""W&B: real offline runs are read back; a server that is away costs two seconds and nothing else."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

SMALL = ("--num-samples", "3", "--seeds", "2", "--games", "2000", "--num-cpus", "2")


def transactions(log: bytes) -> Iterator[bytes]:
    """The records of W&B's transaction log: LevelDB's log format behind a header of 7 bytes."""
    block, header = 32768, 7
    at, parts = header, b""
    while at + header <= len(log):
        left = block - at % block
        if left < header:
            at += left
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
        record = wandb_internal_pb2.Record()
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


def test_offline_runs_can_be_read_back(finish: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, output, errors = finish(*SMALL)
    assert (code, errors) == (0, "")
    assert output.count("W&B:") == 1
    (folder,) = (tmp_path / "results").iterdir()
    runs = {run["name"]: run for run in map(read_back, (folder / "wandb").glob("offline-run-*"))}
    assert sorted(runs) == ["search", "trial_00000", "trial_00001", "trial_00002"]
    records = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    for record in records:
        run = runs[f"trial_{record['index']:05d}"]
        assert run["group"] == folder.name
        assert run["exit"] == 0
        assert {key: run["config"][key] for key in record["config"]} == record["config"]
        assert run["history"][-1]["games"] == run["history"][-1]["_step"] == 2000
        assert run["history"][-1]["par10"] == record["par10"]
        assert run["summary"]["solved"] == record["solved"]
    assert len({run["id"] for run in runs.values()}) == 4
    assert "leaderboard" in runs["search"]["history"][-1]
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
    url, told = server
    code, output, errors = finish(*SMALL, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=url)
    assert (code, errors) == (0, "")
    assert len(re.findall(r"^W&B:.*", output, flags=re.MULTILINE)) == 1
    assert re.search(f"W&B: .*({told}).*wandb sync", output)
    assert len(list(tmp_path.glob("results/*/wandb/offline-run-*"))) == 4
    assert "0" * 40 not in output


def test_the_probe_is_bounded(server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic import SecretStr

    from tictactoe.reporting.tracking import PROBE_SECONDS, Probe

    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", server[0])
    began = time.monotonic()
    mode, _ = Probe(SecretStr("0" * 40)).result()
    assert mode == "offline"
    assert time.monotonic() - began < PROBE_SECONDS + 1  # the contract's bound and a second of slack, no performance claim
