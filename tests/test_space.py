"""The search space: what names it, and what is drawn from it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT
from ray import tune

from tictactoe.tuning import space

DISTRIBUTIONS: list[tuple[Any, Any]] = [
    (tune.uniform(0, 1), tune.uniform(0, 2)),
    (tune.loguniform(1, 100), tune.loguniform(1, 1000)),
    (tune.loguniform(1, 100), tune.uniform(1, 100)),
    (tune.quniform(0, 1, 0.1), tune.quniform(0, 1, 0.2)),
    (tune.qloguniform(2, 100, 1), tune.qloguniform(2, 100, 2)),
    (tune.randn(0, 1), tune.randn(5, 2)),
    (tune.qrandn(0, 1, 0.1), tune.qrandn(0, 1, 0.2)),
    (tune.randint(0, 9), tune.randint(0, 10)),
    (tune.qrandint(0, 9, 3), tune.qrandint(0, 9, 1)),
    (tune.lograndint(1, 9), tune.lograndint(1, 99)),
    (tune.choice(["a", "b"]), tune.choice(["b", "a"])),
    ("2-ply", "negamax"),
]


@pytest.mark.parametrize(("one", "other"), DISTRIBUTIONS)
def test_every_change_of_a_distribution_is_another_space(monkeypatch: pytest.MonkeyPatch, one: Any, other: Any) -> None:
    texts = []
    for entry in (one, other):
        monkeypatch.setitem(space.SPACE, "gamma", entry)
        texts.append(space.describe()["gamma"])
    assert texts[0] != texts[1]
    assert not any(" at 0x" in text for text in texts)


def test_a_space_is_called_the_same_in_every_process() -> None:
    code = "from ray import tune; from tictactoe.tuning import space; print(space.describe())"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(space.describe())


def test_the_first_configurations_are_the_same_for_every_number() -> None:
    few, many = space.sample(5, 3), space.sample(9, 3)
    assert many[:5] == few
    assert space.sample(5, 4) != few
    for configuration in many:
        assert all(float(f"{value:.6g}") == value for value in configuration.as_dict().values() if isinstance(value, float))
