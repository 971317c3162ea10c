"""Containers of the Docker engine that is there."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

import pytest

SECRET = "0123456789abcdef" * 2 + "01234567"
"""What lies about where the image is built, and must not get into it."""


def docker(*arguments: str, check: bool = True) -> str:
    """What a command of the engine's client prints."""
    ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or ran.returncode == 0, ran.stderr
    return ran.stdout + (ran.stderr if arguments[0] == "logs" else "")


def state(container: str) -> dict[str, Any]:
    """A container's state, as the engine has it."""
    content: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return content


def wait_for(container: str, pattern: str, seconds: float = 180) -> str:
    """The container's output once `pattern` is in it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        output = docker("logs", container)
        if re.search(pattern, output):
            return output
        if docker("inspect", "--format", "{{.State.Running}}", container).strip() != "true":
            break
        time.sleep(0.5)
    pytest.fail(f"{pattern!r} did not come: {docker('logs', container)[-3000:]}")
