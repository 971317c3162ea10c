"""Whether anybody listens at RAY_ADDRESS: a bounded look, without Ray."""

from __future__ import annotations

import os
import re
import socket
import threading

CONNECT_SECONDS = 2.0
NAME_SECONDS = 4.0
"""How long the look may take in all: what resolves a host's name has no bound of its own."""
OWN = "unset RAY_ADDRESS for a Ray of the program's own"


def existing() -> str | None:
    """The address of a running Ray that RAY_ADDRESS names; None where a Ray of our own is to be started."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return address if address not in ("", "local") else None


def problem(address: str) -> str | None:
    """Why no Ray can be at an address, with the remedy; None where somebody listens there.

    `auto` leaves it to Ray to find one on this machine.
    """
    if address == "auto":
        return None
    if address.startswith("ray://"):
        return (
            f"RAY_ADDRESS {address}: an address of Ray Client, over which a search cannot run; on a machine of that Ray set it "
            f"to HOST:PORT as `ray start --head` has printed it, or {OWN}"
        )
    if address.startswith(("http://", "https://")):
        return (
            f"RAY_ADDRESS {address}: the address of a dashboard, which takes jobs; on a machine of that Ray set it to "
            f"HOST:PORT as `ray start --head` has printed it, or {OWN}"
        )
    match = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+):(?P<port>\d{1,5})", address)
    if match is None or not 1024 <= int(match["port"]) <= 65535:
        return f"RAY_ADDRESS {address}: no HOST:PORT as `ray start --head` prints it; set that, or {OWN}"
    error = unreachable(match["host"].strip("[]"), int(match["port"]))
    return error and f"RAY_ADDRESS {address}: nobody answers there ({error}); start that Ray, set the right address, or {OWN}"


def unreachable(host: str, port: int) -> str | None:
    """Why a host cannot be connected to; None where it can."""
    found: list[str | None] = []

    def look() -> None:
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
            found.append(None)
        except (OSError, UnicodeError) as error:
            found.append(getattr(error, "strerror", None) or str(error))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(NAME_SECONDS)
    return found[0] if found else "its name is not resolved"
