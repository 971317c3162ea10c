"""Ports to listen on: which are free, and what takes the place of one that is not."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Collection

PORT_SECONDS = 3.0
"""How long a named port is waited for, which a run that was killed just now may still hold."""
NEXT = 50
"""So many ports are tried where nobody has named one."""
_claims: dict[int, socket.socket] = {}


def first_free(host: str, port: int, named: bool) -> int | None:
    """This port, or the next free one where nobody has `named` it; None where there is none.

    Raises OSError where the address cannot be listened on at all, TypeError or UnicodeError where it is no host's name.
    """
    if named:
        becomes_free(host, port)
    return next((one for one in _candidates(port, named) if is_free(host, one)), None)


def claim(host: str, port: int, named: bool, but: Collection[int] = ()) -> int | None:
    """As `first_free`, and no other process of this program takes the port: who listens there does so only seconds later.

    Ports that this process has another use for are in `but`. The claim is good until it ends, for all containers and users that
    share the network.
    """
    if named:
        becomes_free(host, port)
    return next((one for one in _candidates(port, named) if one not in but and is_free(host, one) and _is_ours(one)), None)


def becomes_free(host: str, port: int) -> bool:
    """Wait a little for a named port; whether it is free then. Raises OSError as `is_free`."""
    end = time.monotonic() + PORT_SECONDS
    while not (free := is_free(host, port)) and time.monotonic() < end:
        time.sleep(0.1)
    return free


def is_free(host: str, port: int) -> bool:
    """Raises OSError when it cannot be listened on whoever else does."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def _candidates(port: int, named: bool) -> range:
    return range(port, min(port + (1 if named else NEXT), 65536))


def _is_ours(port: int) -> bool:
    """Whether this process has claimed a port. A claim is a name that Linux keeps for one socket, without any file."""
    if port not in _claims:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0tictactoe-port-{port}")
        except OSError:
            name.close()
            return False
        _claims[port] = name
    return True
