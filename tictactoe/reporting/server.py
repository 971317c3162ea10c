"""W&B's server: what it is asked before any run, and why it could not be asked."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tictactoe.text import reason

PROBE_SECONDS = 2.0
"""Longest wait for the server's answers."""
ALIVE_SECONDS = 1.0
"""How long a server that has stalled may take to answer anything at all."""

_VIEWER = "query Viewer { viewer { id entity username teams { edges { node { name } } } } }"
_RIGHTS = """query Rights ($entity: String!, $project: String!) {
  entity(name: $entity) { available readOnly } project(name: $project, entityName: $entity) { readOnly }
}"""


class Offline(Exception):
    """Why runs are kept offline, with the remedy."""


class UnknownEntity(Offline):
    """The entity that is named is not there."""


@dataclass(frozen=True)
class Server:
    """Where runs go, and how to get there."""

    address: str
    proxy: str | None
    verified: bool
    """Whether its certificate must be trusted."""
    headers: dict[str, str]

    def post(self, query: str, variables: dict[str, str], key: str) -> dict[str, Any]:
        """The data that the server answers a GraphQL query with.

        Raises OSError, HTTPException and ValueError where it does not.
        """
        credentials = base64.b64encode(f"api:{key}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - W&B takes no address but http and https
            f"{self.address}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {credentials}"} | self.headers,
        )
        with self._opener().open(request, timeout=PROBE_SECONDS) as answer:
            return dict(json.loads(answer.read())["data"])

    def answers(self) -> bool:
        """Whether it answers anything at all, within `ALIVE_SECONDS`."""
        try:
            self._opener().open(self.address, timeout=ALIVE_SECONDS).close()
        except urllib.error.HTTPError:
            return True
        except (OSError, HTTPException) as error:
            return isinstance(getattr(error, "reason", error), ssl.SSLError)
        return True

    def cause(self, error: Exception) -> str:
        """Why it could not be asked, with the remedy where there is one to name."""
        if isinstance(error, urllib.error.HTTPError):
            return f"{self.address} answers {error.code} {error.reason}{'; mend WANDB_BASE_URL' * (error.code == 404)}"
        if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
            error = error.reason
        proxy = (self.proxy or "").rpartition("@")[2].rpartition("/")[2]  # what is before may be a password
        by = f"the proxy {proxy}" if proxy else self.address
        if isinstance(error, socket.gaierror):
            return f"{by}: its name cannot be looked up ({error.strerror})"
        if isinstance(error, ConnectionRefusedError):
            return f"{by} refuses the connection"
        if isinstance(error, TimeoutError):
            return f"{by} does not answer within {PROBE_SECONDS:g} s"
        if isinstance(error, ssl.SSLCertVerificationError):
            missing = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if not Path(os.environ.get(name) or "/").exists()]
            remedy = f"{missing[0]} names what is not there" if missing else "SSL_CERT_FILE can name the one to trust"
            return f"{self.address}: its certificate is not trusted ({error.verify_message}); {remedy}"
        if isinstance(error, ssl.SSLError):
            return f"{self.address} does not speak TLS ({error.reason}); mend WANDB_BASE_URL"
        if isinstance(error, (ValueError, KeyError, TypeError)):
            return f"{self.address} does not answer as a W&B server does; mend WANDB_BASE_URL"
        return f"{by} cannot be reached ({reason(error)})"

    def _opener(self) -> urllib.request.OpenerDirector:
        scheme = urlsplit(self.address).scheme
        proxies = urllib.request.ProxyHandler({scheme: self.proxy} if self.proxy else {})
        if scheme == "http":
            return urllib.request.build_opener(proxies)
        import certifi

        context = ssl.create_default_context()  # the machine's certificates, as W&B's service process takes them
        context.load_verify_locations(certifi.where())  # for a Python that does not know where the machine has them
        if not self.verified:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context))


def ask(server: Server, key: str, entity: str | None, project: str) -> str:
    """The entity that runs go to: the one named, else the key's own. Raises Offline where they cannot go there."""
    try:
        viewer = server.post(_VIEWER, {}, key).get("viewer")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            viewer = None
        else:
            raise Offline(server.cause(error)) from None
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise Offline(server.cause(error)) from None
    if not viewer:
        raise Offline(f"{server.address} refuses the key; mend WANDB_API_KEY, or log in to W&B again")
    where = entity or viewer.get("entity")
    try:
        own = {viewer.get("entity"), viewer.get("username"), *(edge["node"]["name"] for edge in viewer["teams"]["edges"])}
        rights = server.post(_RIGHTS, {"entity": where, "project": project}, key)
        owner, existing = rights.get("entity") or {"available": True}, rights.get("project") or {}
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return str(where)  # a server that knows no such question: the first run tells
    if where not in own and owner.get("available"):
        raise UnknownEntity(f"{server.address} knows no entity {where!r}; mend WANDB_ENTITY")
    if existing.get("readOnly") or (where not in own and owner.get("readOnly")):
        raise Offline(f"the key may not write to {where}/{project}; mend WANDB_API_KEY, WANDB_ENTITY or WANDB_PROJECT")
    return str(where)
