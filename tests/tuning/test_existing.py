"""A Ray that runs already is looked at before a search is started on it. Most stand-ins here speak as Ray's GCS does."""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import ray
from ray._private import ray_constants, services
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from tictactoe.errors import UserError
from tictactoe.tuning import existing

TOKEN = "5e" * 32
SAME = {"ray_version": ray.__version__, "python_version": platform.python_version()}


class Values(gcs_service_pb2_grpc.InternalKVGcsServiceServicer):
    def __init__(self, metadata: dict[str, str], token: str | None) -> None:
        self.metadata, self.token = metadata, token

    def InternalKVGet(self, request: Any, context: grpc.ServicerContext) -> Any:
        given = dict(context.invocation_metadata()).get("authorization")
        if self.token is not None and given != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        assert (request.key, request.namespace) == (b"CLUSTER_METADATA", b"cluster")
        return gcs_service_pb2.InternalKVGetReply(value=json.dumps(self.metadata).encode())  # type: ignore[attr-defined]


class Nodes(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
    def GetAllNodeInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        reply = gcs_service_pb2.GetAllNodeInfoReply()  # type: ignore[attr-defined]
        reply.node_info_list.add(node_id=b"\x01" * 28)
        return reply


@pytest.fixture
def gcs() -> Iterator[Callable[..., str]]:
    """Starts a GCS with this metadata that asks for this token; returns its address."""
    servers = []

    def start(metadata: dict[str, str] = SAME, token: str | None = TOKEN) -> str:
        server = grpc.server(ThreadPoolExecutor(2))
        gcs_service_pb2_grpc.add_InternalKVGcsServiceServicer_to_server(Values(metadata, token), server)
        gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(Nodes(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # read when Ray was imported: see environment.py
    monkeypatch.setattr(existing, "_get_authentication_metadata_tuple", lambda: (("authorization", f"Bearer {TOKEN}"),))


def refusal(address: str) -> str:
    with pytest.raises(UserError) as refused:
        existing.require(address)
    message = str(refused.value)
    assert message.startswith(f"RAY_ADDRESS {address}: ") and message.endswith(
        "unset RAY_ADDRESS for a Ray of the program's own"
    )
    return message


def test_a_ray_of_other_machines(gcs: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    address = gcs()
    assert "this machine is no node of that Ray" in refusal(address)
    monkeypatch.setattr(services, "find_node_ids", lambda: {"01" * 28})
    assert existing.require(address) == address


@pytest.mark.parametrize(("name", "value"), [("ray", "2.9.0"), ("python", "3.8.1")])
def test_another_version(gcs: Callable[..., str], name: str, value: str) -> None:
    assert f"it runs with {name.capitalize()} {value}, this program with " in refusal(gcs(SAME | {f"{name}_version": value}))


def test_tokens(gcs: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has another token; set RAY_AUTH_TOKEN" in refusal(gcs(token="another"))
    assert "started without tokens" in refusal(gcs(token=None))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "asks for a token" in refusal(gcs())
    assert "no node of that Ray" in refusal(gcs(token=None))  # else it would do


def test_what_is_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(existing, "CALL_SECONDS", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert "does not answer as Ray does" in refusal(f"127.0.0.1:{server.getsockname()[1]}")
