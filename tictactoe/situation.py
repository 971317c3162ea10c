"""Where the program runs, as far as that decides what a user has to do: to open the dashboard, to keep results, to go on."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

DEPLOYMENT, SERVICE, NODE_PORT, PORT = "mnist-ray-tune", "mnist-ray-tune-service", 30000, 8265
"""Names and ports of deployment.yaml and service.yaml."""
VOLUME = "ray-tune-results"
INIT = "tini"
"""The image's first process; it is not number 1 with `docker run --init` and where containers share their processes."""
_MARKS = {"docker": ".dockerenv", "podman": "run/.containerenv"}
_LAYERS = ("overlay", "fuse.fuse-overlayfs", "aufs", "tmpfs")
"""File systems that end with their container."""
_ANONYMOUS = re.compile(r"(^|/)volumes/[0-9a-f]{64}/_data|kubernetes\.io~empty-dir")
"""Folders behind volumes that nobody has named: `docker run --rm` and the end of a pod remove them."""
_POD = re.compile(rf"{DEPLOYMENT}-[a-z0-9]+-[a-z0-9]{{5}}")
"""A pod of the Deployment. Those of workers and of KubeRay begin like it."""
_HOSTNAME = re.compile(r"/([0-9a-f]{64})/(?:userdata/)?hostname$")
"""The file that engines mount at /etc/hostname; its path has the container's id, which --hostname and --network host hide."""


@dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo."""

    point: Path
    source: str
    """Its root within the file system."""
    kind: str
    """Of file system."""


@dataclass(frozen=True)
class Situation:
    """A machine, where the same command can be given again; or a container or pod, which ends with the program."""

    place: Literal["machine", "docker", "podman", "kubernetes"]
    name: str = ""
    """Of the container or pod, as `docker exec` and `kubectl exec` take it."""
    mounts: tuple[Mount, ...] = ()

    def keeps(self, folder: Path) -> bool:
        """Whether what is in the folder outlives the container, or the pod."""
        if self.place == "machine":
            return True
        over = [mount for mount in self.mounts if folder.is_relative_to(mount.point)]
        if not over:
            return False
        mount = max(over, key=lambda mount: len(mount.point.parts))
        layer = mount.point == Path("/") and mount.source != "/"  # engines that make no overlay
        return not (layer or mount.kind in _LAYERS or _ANONYMOUS.search(mount.source))

    def notes(self, results: Path) -> list[str]:
        """What to know at the start about the folder of results."""
        if self.keeps(results):
            return []
        if self.place == "kubernetes":
            return [f"results end with the pod: nothing keeps {results}; deployment.yaml shows how a volume claim does"]
        return [f"results end with the container: nothing is kept without a volume, as `-v {VOLUME}:{results}` gives one"]

    def go_on(self, results: Path, fresh: bool) -> str:
        """How an unfinished search is taken up again; it was started with `--fresh` or not."""
        without = " without --fresh" if fresh else ""
        if self.place == "kubernetes":
            return f"let Kubernetes start it again{without} to go on"
        if self.keeps(results):
            return f"run the same command again{without} to go on"
        if fresh:
            return "give it a volume and, after the first time, no --fresh to go on"
        return f"use `{self.place} start {self.name}` to go on, if it was run without --rm"

    def kept(self, results: Path, fresh: bool) -> str:
        """What becomes of finished trials when the program ends before its search, and how to go on."""
        if self.keeps(results):
            return f"finished trials are kept: {self.go_on(results, fresh)}"
        whole = "pod" if self.place == "kubernetes" else "container"
        return f"finished trials end with the {whole}, as nothing is kept without a volume; {self.go_on(results, fresh)}"

    def from_outside(self, here: str, within: str) -> str:
        """A command line as it is typed where the user sits: `here` on a machine, else `within` the container or pod."""
        if self.place == "machine":
            return here
        return (
            f"kubectl exec {self.name} -- {within}" if self.place == "kubernetes" else f"{self.place} exec {self.name} {within}"
        )

    def dashboard(self, url: str) -> str:
        """The address of the dashboard, and how to get there from outside where that is not the same."""
        address = urlsplit(url)
        if address.hostname != "localhost":  # which stands for all addresses
            return url
        if self.place == "kubernetes":
            ways = [f"`kubectl port-forward {self.name} {address.port}`"]
            if (self.name, address.port) == (f"deploy/{DEPLOYMENT}", PORT):
                ways = [f"port {NODE_PORT} of the node", f"`minikube service {SERVICE}`", *ways]
            return f"{url} in the pod (from outside: {', or '.join(ways)})"
        if self.place in _MARKS:
            return f"{url} (where `{self.place} run` has `-p {address.port}:{address.port}`)"
        return url


def here(root: Path = Path("/"), parent: int | None = None) -> Situation:
    """Where this process runs, by the files under `root` and the process id of its parent.

    In a container in which it is not the main process, as in a developer's, it is as on a machine.
    """
    parent = os.getppid() if parent is None else parent
    if 1 not in (parent, os.getpid()) and _name(root, parent) != INIT:
        return Situation("machine")
    mounts = _mounts(root / "proc/self/mountinfo")
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        pod = socket.gethostname()
        return Situation("kubernetes", f"deploy/{DEPLOYMENT}" if _POD.fullmatch(pod) else f"pod/{pod}", mounts)
    for place in ("docker", "podman"):
        if (root / _MARKS[place]).exists():
            ids = (found[1] for mount in mounts if (found := _HOSTNAME.search(mount.source)))
            return Situation(place, next(ids, socket.gethostname())[:12], mounts)
    return Situation("machine")


def _name(root: Path, process: int) -> str:
    try:
        return (root / f"proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _mounts(file: Path) -> tuple[Mount, ...]:
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ()
    fields = [(line.split(), line.partition(" - ")[2].split()) for line in lines]
    return tuple(Mount(Path(_plain(left[4])), _plain(left[3]), right[0]) for left, right in fields)


def _plain(text: str) -> str:
    """A path without the octal escapes that mountinfo has for spaces and the like."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
