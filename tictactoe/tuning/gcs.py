"""A Ray's GCS, spoken to without Ray's library, which would wait for minutes and then end the process."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import ray
from ray._common.tls_utils import load_certs_from_env
from ray._private.authentication.grpc_authentication_client_interceptor import _get_authentication_metadata_tuple
from ray.core.generated import gcs_service_pb2_grpc
from ray.core.generated.gcs_service_pb2 import (  # type: ignore[attr-defined]
    GetAllNodeInfoRequest,
    InternalKVGetRequest,
    InternalKVPutRequest,
    UnregisterNodeRequest,
)

UNEXPECTED_TERMINATION = UnregisterNodeRequest().node_death_info.UNEXPECTED_TERMINATION
CALL_SECONDS = 5.0
LOOK_SECONDS = 4.0
"""For one look at whether a GCS still answers."""
_ABOUT = InternalKVGetRequest(key=b"CLUSTER_METADATA", namespace=b"cluster")


class Unfit(Exception):
    """Why this program and a Ray do not fit, with the remedy."""


class Tokenless(Unfit):
    """That Ray was started without tokens."""


class Gcs:
    """One that answers, and fits: `connected` makes it. Each call raises grpc.RpcError where it does not answer any more."""

    def __init__(self, channel: grpc.Channel, token: tuple[tuple[str, str], ...]) -> None:
        self._values = gcs_service_pb2_grpc.InternalKVGcsServiceStub(channel)
        self._nodes = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        self._given: dict[str, Any] = {"timeout": CALL_SECONDS, "metadata": token}

    def get(self, namespace: bytes, key: bytes) -> bytes:
        """The value of a key; empty where there is none."""
        reply = self._values.InternalKVGet(InternalKVGetRequest(key=key, namespace=namespace), **self._given)
        return bytes(reply.value)

    def put(self, namespace: bytes, key: bytes, value: bytes) -> None:
        """Give a key a value."""
        request = InternalKVPutRequest(key=key, value=value, overwrite=True, namespace=namespace)
        self._values.InternalKVPut(request, **self._given)

    def give_up(self, node: str) -> None:
        """Have Ray take the node of this id for dead. If it lives it ends, as soon as it hears of that."""
        request = UnregisterNodeRequest(node_id=bytes.fromhex(node))
        request.node_death_info.reason = UNEXPECTED_TERMINATION
        request.node_death_info.reason_message = "nobody answers at its address"
        self._nodes.UnregisterNode(request, **self._given)

    def living_nodes(self) -> list[Any]:
        """Ray's `GcsNodeInfo` of each node that is up."""
        nodes = self._nodes.GetAllNodeInfo(GetAllNodeInfoRequest(), **self._given).node_info_list
        return [node for node in nodes if node.state == node.ALIVE]


@contextmanager
def connected(target: str, refuse: Callable[[Gcs, str], None] = lambda there, why: None) -> Iterator[Gcs]:
    """The GCS that listens at HOST:PORT. One of another version is given to `refuse`, with the reason.

    Raises Unfit where it has another token or another version of Ray or Python, grpc.RpcError where no GCS answers.
    """
    with _channel(target) as channel:
        token = _token(channel)
        there = Gcs(channel, token)
        if why := _other_version(there.get(_ABOUT.namespace, _ABOUT.key)):
            refuse(there, why)
            raise Unfit(why)
        yield there


def answers(target: str) -> bool:
    """Whether a GCS that was there still answers, if only that it has another token now."""
    with _channel(target) as channel:
        try:
            _values(channel).InternalKVGet(_ABOUT, timeout=LOOK_SECONDS)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return True


def _channel(target: str) -> grpc.Channel:
    options = [("grpc.enable_http_proxy", 0)]
    if os.environ.get("RAY_USE_TLS", "").lower() not in ("1", "true"):
        return grpc.insecure_channel(target, options)
    certificate, key, authority = load_certs_from_env()
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(authority, key, certificate), options)


def _values(channel: grpc.Channel) -> Any:
    return gcs_service_pb2_grpc.InternalKVGcsServiceStub(channel)


def _token(channel: grpc.Channel) -> tuple[tuple[str, str], ...]:
    """What goes with each call: nothing, or this program's token, as that Ray asks for none or this one. Raises Unfit else."""
    ours = os.environ.get("RAY_AUTH_MODE") == "token"
    token: tuple[tuple[str, str], ...] = ()
    for given in (False, True):
        token = _get_authentication_metadata_tuple() if given else ()
        try:
            _values(channel).InternalKVGet(_ABOUT, timeout=CALL_SECONDS, metadata=token)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
            if not ours:
                raise Unfit("that Ray asks for a token; unset RAY_AUTH_MODE, set RAY_AUTH_TOKEN to that Ray's") from None
            continue
        if ours and not given:
            raise Tokenless(
                "that Ray was started without tokens, and its workers could not answer this program; "
                "start it with RAY_AUTH_MODE=token and this machine's token, set RAY_AUTH_MODE=disabled here too"
            )
        return token
    raise Unfit("that Ray has another token; set RAY_AUTH_TOKEN to the one that it was started with")


def _other_version(metadata: bytes) -> str | None:
    there = json.loads(metadata or b"{}")
    for name, ours in (("ray", ray.__version__), ("python", platform.python_version())):
        if (theirs := there.get(f"{name}_version", ours)) != ours:
            return f"it runs with {name.capitalize()} {theirs}, this program with {ours}; use the same for both"
    return None
