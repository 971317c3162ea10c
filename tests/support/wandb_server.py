"""As much of a W&B server as runs need, on loopback: it keeps the history lines of each run.

The account of any key is "me", a member of "team".
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MEMBER_OF = ("me", "team")


class Refused(Exception):
    """An HTTP status and why."""


class Server(ThreadingHTTPServer):
    """Listens from the start; `lost` set, it still accepts but never answers. `delay` seconds go by before it answers what
    a run sends. `status` other than 200 is all that it answers. Nothing can be written to what is `read_only`, and of that
    `secretly` it does not tell who asks."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.lost = threading.Event()
        self.delay = 0.0
        self.status = 200
        self.read_only: set[str] = set()
        self.secretly: set[str] = set()
        """Each "entity/project"."""
        self.displayed: set[str] = set()
        """Names of the runs that it has heard of."""
        self.targets: set[str] = set()
        """The "entity/project" of these."""
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: who has asked may not wait for a late answer."""

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer. Raises Refused."""
        name = (re.findall(r"(?:query|mutation)\s+(\w+)", query) or [""])[0]
        entity = variables.get("entity") or "me"
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": entity}}
        target = f"{entity}/{variables.get('project')}"
        if "UpsertBucket" in name:
            if entity not in MEMBER_OF:
                raise Refused(404, f"entity {entity} not found during upsertBucket")
            if target in self.read_only | self.secretly:
                raise Refused(403, "permission denied")
            self.targets.add(target)
            self.displayed.add(variables.get("displayName") or "")
            bucket = {"id": "b", "name": variables["name"], "displayName": variables.get("displayName"), "config": "{}"}
            return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
        if "CreateRunFiles" in name:
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "RunResumeStatus" in name and (lines := self.history.get(variables["name"])):
            bucket = {"id": "b", "name": variables["name"], "summaryMetrics": "{}",
                      "config": "{}", "tags": [], "eventsTail": "[]",
                      "historyLineCount": len(lines), "logLineCount": 0, "eventsLineCount": 0,
                      "historyTail": json.dumps([json.dumps(lines[-1])]), "wandbConfig": '{"t": 1}'}  # fmt: skip
            return {"model": project | {"bucket": bucket}}
        if name == "Rights":
            available = entity not in MEMBER_OF
            known = target in self.read_only
            return {"entity": {"available": available, "readOnly": False}, "project": {"readOnly": True} if known else None}
        if "viewer" in query:
            teams = {"edges": [{"node": {"name": "team"}}]}
            return {"viewer": {"id": "u", "username": "me", "entity": "me", "flags": "{}", "teams": teams}}
        return {}


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.lost.is_set():
            threading.Event().wait(300)
            return
        time.sleep(self.server.delay)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            try:
                self._reply({"data": self.server.answer(asked["query"], asked.get("variables") or {})})
            except Refused as refused:
                status, message = refused.args
                self._reply({"errors": [{"message": message}], "data": None}, status)
            return
        if self.path.endswith("/file_stream"):
            chunk = json.loads(body).get("files", {}).get("wandb-history.jsonl")
            if chunk:
                lines = self.server.history.setdefault(self.path.split("/")[-2], [])
                lines[chunk["offset"] : chunk["offset"] + len(chunk["content"])] = map(json.loads, chunk["content"])
        self._reply({})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._reply({})

    def do_GET(self) -> None:
        if self.server.lost.is_set():
            threading.Event().wait(300)
            return
        self._reply({})

    def _reply(self, content: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status if self.server.status == 200 else self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        pass
