"""A stand-in that speaks as Ray's GCS does, for what looks at one before Ray's library is let loose on it."""

from __future__ import annotations

import json
import platform
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import ray
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

TOKEN = "5e" * 32
SAME = {"ray_version": ray.__version__, "python_version": platform.python_version()}
ABOUT = (b"cluster", b"CLUSTER_METADATA")


class _Values(gcs_service_pb2_grpc.InternalKVGcsServiceServicer):
    def __init__(self, values: dict[tuple[bytes, bytes], bytes], token: str | None) -> None:
        self.values, self.token = values, token

    def _check(self, context: grpc.ServicerContext) -> None:
        given = dict(context.invocation_metadata()).get("authorization")
        if self.token is not None and given != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")

    def InternalKVGet(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        value = self.values.get((request.namespace, request.key), b"")
        return gcs_service_pb2.InternalKVGetReply(value=value)  # type: ignore[attr-defined]

    def InternalKVPut(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        self.values[request.namespace, request.key] = request.value
        return gcs_service_pb2.InternalKVPutReply(added=True)  # type: ignore[attr-defined]


class _Nodes(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
    def __init__(self) -> None:
        self.given_up: list[tuple[str, str]] = []
        """Ids, and why."""
        self.there = {b"\x01" * 28: ""}
        """The raylet's socket of each node that is up, by its id."""

    def UnregisterNode(self, request: Any, context: grpc.ServicerContext) -> Any:
        info = request.node_death_info
        self.given_up.append((request.node_id.hex(), type(info).Reason.Name(info.reason)))
        return gcs_service_pb2.UnregisterNodeReply()  # type: ignore[attr-defined]

    def GetAllNodeInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        reply = gcs_service_pb2.GetAllNodeInfoReply()  # type: ignore[attr-defined]
        for node, socket in self.there.items():
            reply.node_info_list.add(node_id=node, raylet_socket_name=socket)
        return reply


class FakeGcs:
    """Listens from the start, with one node, and asks for `token` if that is not None."""

    def __init__(self, metadata: dict[str, str], token: str | None, credentials: grpc.ServerCredentials | None = None) -> None:
        self.values = {ABOUT: json.dumps(metadata).encode()}
        self.nodes = _Nodes()
        self._server = grpc.server(ThreadPoolExecutor(2))
        gcs_service_pb2_grpc.add_InternalKVGcsServiceServicer_to_server(_Values(self.values, token), self._server)
        gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(self.nodes, self._server)
        at = "127.0.0.1:0"
        port = self._server.add_secure_port(at, credentials) if credentials else self._server.add_insecure_port(at)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None)
