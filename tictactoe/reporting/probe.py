"""Whether the W&B server will do: asked once, before any run, since a run that cannot reach it waits for minutes."""

from __future__ import annotations

import os
import threading
import time

from pydantic import SecretStr

PROBE_SECONDS = 2.0
ALIVE_SECONDS = 1.0
"""How long a server that has stalled may take to answer anything at all."""


class Probe:
    """Asks the server, in a thread beside Ray's start, whether it knows the key."""

    def __init__(self, key: SecretStr | None) -> None:
        self._key = None if key is None else key.get_secret_value()
        self._answer: tuple[str, str] | None = None
        self._result: tuple[str, str] | None = None
        self._asked = time.monotonic()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def result(self) -> tuple[str, str]:
        """(mode, message): "online", "offline" or "disabled", and what to tell the user about it."""
        self._thread.join(max(0.0, PROBE_SECONDS - (time.monotonic() - self._asked)))
        if self._result is None:  # decided once: a late answer changes nothing
            late = "W&B: the server does not answer; runs are kept offline, send them later with `wandb sync`"
            self._result = self._answer or ("offline", late)
        return self._result

    def _ask(self) -> None:
        wished = os.environ.get("WANDB_MODE", "").lower()
        if wished == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true"):
            self._answer = "disabled", "W&B: disabled"
        elif wished in ("offline", "dryrun"):
            self._answer = "offline", "W&B: offline, as WANDB_MODE says"
        elif self._key is None:
            self._answer = "offline", "W&B: no WANDB_API_KEY; runs are kept offline"
        else:
            self._answer = _ask_server(server(), self._key)


def server() -> str:
    """Its address."""
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def answers() -> bool:
    """Whether the server answers anything at all."""
    import requests

    try:
        requests.get(server(), timeout=ALIVE_SECONDS, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


def _ask_server(address: str, key: str) -> tuple[str, str]:
    import requests

    kept = "runs are kept offline, send them later with `wandb sync`"
    try:
        answer = requests.post(
            f"{address.rstrip('/')}/graphql",
            json={"query": "query { viewer { id } }"},
            auth=("api", key),
            timeout=PROBE_SECONDS,
        )
        if answer.status_code in (401, 403) or (answer.ok and not (answer.json().get("data") or {}).get("viewer")):
            return "offline", f"W&B: {address} refuses the key; mend WANDB_API_KEY; {kept}"
        if answer.ok:
            return "online", f"W&B: online at {address}"
        return "offline", f"W&B: {address} answers {answer.status_code}; {kept}"
    except (requests.RequestException, ValueError, AttributeError):
        return "offline", f"W&B: {address} cannot be reached; {kept}"
