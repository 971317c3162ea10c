"""What decides the results of a search, and the name that follows from it."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import Any

from tictactoe.experiment.record import FORMAT
from tictactoe.experiment.rounds import lags
from tictactoe.experiment.space import describe
from tictactoe.settings import Settings


def fingerprint(settings: Settings) -> dict[str, Any]:
    """What decides the results, and so names a search, and must be equal for a search to go on; JSON types."""
    packages = ["ray", "numpy", *(["optuna"] if settings.search == "optuna" else [])]
    decisive = {"board", "num_samples", "seeds", "games", "seed", "search", "scheduler"}
    if lags(settings):
        decisive.add("lag")
    return settings.model_dump(include=decisive) | {
        "format": FORMAT,
        "space": describe(settings.board),
        "versions": {package: version(package) for package in packages},
    }


def search_name(settings: Settings) -> str:
    """`--name`, or the board and 8 hexadecimal digits of the fingerprint."""
    text = json.dumps(fingerprint(settings), sort_keys=True)
    return settings.name or f"{settings.board}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
