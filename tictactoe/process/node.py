"""This machine as a node of a Ray of several machines: its address, the token that all have, and what Ray is told of it."""

from __future__ import annotations

import ipaddress
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tictactoe.errors import UserError
from tictactoe.process.environment import token_is_given
from tictactoe.settings import Settings

LOOPBACK = "127.0.0.1"
_FAR = ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses of other networks, reserved for documentation: nothing is sent there."""
_HEALTH = {"period_ms": "2000", "timeout_ms": "5000", "failure_threshold": "3"}
"""A node that says nothing is lost after 21 s at most. Ray's own patience is three times that."""


def address(named: str | None) -> str:
    """At which other nodes reach this one: `named`, else the address of the default route.

    Every loopback address is 127.0.0.1, as to Ray. Raises UserError for an address that this machine does not have.
    """
    if named is None:
        return _of_default_route()
    if is_loopback(named):
        return LOOPBACK
    try:
        with socket.socket(socket.AF_INET6 if ":" in named else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((named, 0))
    except OSError as error:
        raise UserError(
            f"--node-address {named}: this machine has no such address ({error.strerror}); name one that it has"
        ) from None
    return named


def is_loopback(text: str) -> bool:
    """Whether only the machine itself reaches an address."""
    return ipaddress.ip_address(text).is_loopback


def problems(settings: Settings) -> Iterator[str]:
    """What keeps this machine from being a node among others, head or worker, each with its remedy."""
    if (mode := os.environ.get("RAY_AUTH_MODE", "token")) != "token":
        yield f"RAY_AUTH_MODE {mode}: whoever reaches this machine could run code; unset it"
    elif not token_is_given():
        yield (
            "RAY_AUTH_TOKEN is not set: all machines of a search need the same token, and none is made; make one with "
            "`openssl rand -hex 32`, and set RAY_AUTH_TOKEN to it on each of them"
        )
    if shlex.quote(sys.executable) != sys.executable:
        yield (
            f"the Python environment is {sys.executable}: with several machines Ray cannot start from a path with blanks or "
            "other signs that mean something to a shell; use another folder"
        )
    try:
        address(settings.node_address)
    except UserError as error:
        yield str(error)


def notes(settings: Settings) -> Iterator[str]:
    """What to know of this machine's address."""
    with suppress(UserError):
        if is_loopback(found := address(settings.node_address)):
            why = "" if settings.node_address else ", as there is no default route"
            yield f"--node-address {found}{why}: only this machine reaches it; nodes on others cannot join"


def tell_ray_of_head(settings: Settings) -> None:
    """Put into the environment what makes a Ray of our own one that others can join; before Ray is imported."""
    own = address(settings.node_address)
    os.environ["RAY_GCS_SERVER_PORT"] = str(settings.cluster_port)
    # With "0" Ray's processes talk over 127.0.0.1, and with "1" it would make another address of that one.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0" if is_loopback(own) else "1"
    for name, value in _HEALTH.items():
        os.environ.setdefault(f"RAY_health_check_{name}", value)


def worker_variables() -> dict[str, str]:
    """The environment of a worker's Ray, which joins the head's."""
    root = str(Path(__file__).resolve().parents[2])
    ours = {
        # First, so that nobody looks for the code where the head has it.
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "2",  # so the head knows that this node leaves, and does not wait for it
    }
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | ours


def _of_default_route() -> str:
    for family, far in _FAR:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            return str(probe.getsockname()[0])
    return LOOPBACK
