"""The Ray at RAY_ADDRESS: whether a search can run on it, looked at before Ray's library is let loose on it."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import grpc
import ray
from ray._private import services
from ray._private.authentication.grpc_authentication_client_interceptor import _get_authentication_metadata_tuple
from ray.core.generated import gcs_service_pb2_grpc
from ray.core.generated.gcs_service_pb2 import (  # type: ignore[attr-defined]
    GetAllNodeInfoRequest,
    InternalKVGetRequest,
)

from tictactoe.errors import UserError
from tictactoe.process.ray_address import OWN, problem

CALL_SECONDS = 5.0


def require(address: str) -> str:
    """HOST:PORT of the Ray at `address` (perhaps `auto`). Raises UserError where a search cannot run on it."""
    try:
        found = services.canonicalize_bootstrap_address(address)
    except ConnectionError:
        raise UserError(f"RAY_ADDRESS {address}: no Ray runs on this machine; start one, or {OWN}") from None
    assert found is not None
    if why := problem(found):
        raise UserError(why)
    if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
        try:
            why = _unfit(found)
        except grpc.RpcError as error:
            why = f"what listens there does not answer as Ray does ({error.code().name.lower()}); set a Ray's address"
        if why is not None:
            raise UserError(f"RAY_ADDRESS {address}: {why}, or {OWN}")
    return found


def _unfit(target: str) -> str | None:
    """Why no search can run on the Ray whose GCS listens at `target`, with the remedy; None where one can."""
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        values = gcs_service_pb2_grpc.InternalKVGcsServiceStub(channel)
        nodes = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        about = InternalKVGetRequest(key=b"CLUSTER_METADATA", namespace=b"cluster")
        ours = os.environ.get("RAY_AUTH_MODE") == "token"
        token: tuple[tuple[str, str], ...] = ()
        try:
            reply = values.InternalKVGet(about, timeout=CALL_SECONDS)
            if ours:
                return (
                    "that Ray was started without tokens, and its workers could not answer this program; "
                    "start it with RAY_AUTH_MODE=token and this machine's token, set RAY_AUTH_MODE=disabled here too"
                )
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
            if not ours:
                return "that Ray asks for a token; unset RAY_AUTH_MODE, set RAY_AUTH_TOKEN to that Ray's"
            token = _get_authentication_metadata_tuple()
            try:
                reply = values.InternalKVGet(about, timeout=CALL_SECONDS, metadata=token)
            except grpc.RpcError as refused:
                if refused.code() != grpc.StatusCode.UNAUTHENTICATED:
                    raise
                return "that Ray has another token; set RAY_AUTH_TOKEN to the one that it was started with"
        if why := _other_version(reply.value):
            return why
        return _not_here(nodes.GetAllNodeInfo(GetAllNodeInfoRequest(), timeout=CALL_SECONDS, metadata=token))


def _other_version(metadata: bytes) -> str | None:
    there = json.loads(metadata or b"{}")
    for name, ours in (("ray", ray.__version__), ("python", platform.python_version())):
        if (theirs := there.get(f"{name}_version", ours)) != ours:
            return f"it runs with {name.capitalize()} {theirs}, this program with {ours}; use the same for both"
    return None


def _not_here(reply: Any) -> str | None:
    living = {node.node_id.hex() for node in reply.node_info_list if node.state == node.ALIVE}
    if living & set(services.find_node_ids()):
        return None
    return "this machine is no node of that Ray; run on one that is, join it with `ray start --address=...`"
