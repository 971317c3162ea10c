"""The Ray at RAY_ADDRESS: whether a search can run on it, looked at before Ray's library is let loose on it."""

from __future__ import annotations

import grpc
from ray._private import services

from tictactoe.errors import UserError
from tictactoe.process.ray_address import OWN, problem
from tictactoe.tuning import gcs


def require(address: str) -> str:
    """HOST:PORT of the Ray at `address` (perhaps `auto`). Raises UserError where a search cannot run on it."""
    try:
        found = services.canonicalize_bootstrap_address(address)
    except ConnectionError:
        raise UserError(f"RAY_ADDRESS {address}: no Ray runs on this machine; start one, or {OWN}") from None
    assert found is not None
    if why := problem(found):
        raise UserError(why)
    try:
        with gcs.connected(found) as there:
            if {node.node_id.hex() for node in there.living_nodes()} & set(services.find_node_ids()):
                return found
        why = "this machine is no node of that Ray; run on one that is, join it with `ray start --address=...`"
    except gcs.Unfit as unfit:
        why = str(unfit)
    except grpc.RpcError as error:
        why = f"what listens there does not answer as Ray does ({error.code().name.lower()}); set a Ray's address"
    raise UserError(f"RAY_ADDRESS {address}: {why}, or {OWN}")
