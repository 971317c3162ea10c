"""The image, built once for all tests that use it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.support.containers import SECRET
from tests.support.program import ROOT


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image built from a copy of this folder with secrets lying about in it, or the one that IMAGE names."""
    if name := os.environ.get("IMAGE"):
        return name
    context = tmp_path_factory.mktemp("context") / "clone"
    needless = shutil.ignore_patterns(".venv", ".git", "results", "wandb", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, context, ignore=needless)
    (context / ".git").mkdir()
    for name in (".env", "tictactoe/.env", ".git/config"):
        (context / name).write_text(f"WANDB_API_KEY={SECRET}\n")
    build = subprocess.run(
        ["docker", "build", "-t", "mnist-ray-tune:latest", *os.environ.get("DOCKER_BUILD_OPTIONS", "").split(), "."],
        cwd=context, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    return "mnist-ray-tune:latest"
