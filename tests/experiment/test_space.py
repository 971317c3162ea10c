"""The search space: what names it, and what is drawn from it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial
from ray import tune

from tests.support.program import ROOT
from tictactoe.errors import UserError
from tictactoe.experiment import space

DISTRIBUTIONS: list[tuple[Any, Any]] = [
    (FloatDistribution(0, 1), FloatDistribution(0, 2)),
    (FloatDistribution(1, 100, log=True), FloatDistribution(1, 1000, log=True)),
    (FloatDistribution(1, 100, log=True), FloatDistribution(1, 100)),
    (FloatDistribution(0, 1, step=0.1), FloatDistribution(0, 1, step=0.2)),
    (IntDistribution(0, 9), IntDistribution(0, 10)),
    (IntDistribution(0, 9, step=3), IntDistribution(0, 9)),
    (IntDistribution(1, 9, log=True), IntDistribution(1, 99, log=True)),
    (CategoricalDistribution(["a", "b"]), CategoricalDistribution(["b", "a"])),
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


def test_large_boards_have_a_space_of_their_own() -> None:
    assert space.of("3x4x3") == space.of("2x6x3") == space.SPACE
    for board in ("4x4x4", "1x13x3"):
        assert space.of(board) == space.SPACE | space.LARGE
        assert space.distributions(board).keys() == space.distributions().keys() - space.LARGE.keys()
        assert all(one.table == "afterstate" and one.symmetry for one in space.sample(20, 0, board))
    small = space.sample(20, 0)
    assert {(one.table, one.symmetry) for one in small} == {
        (t, s) for t in ("afterstate", "state-action") for s in (True, False)
    }
    assert space.describe("4x4x4") == space.describe() | {"table": "'afterstate'", "symmetry": "True"}


def test_conditions_hold_for_whatever_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = space.sample(200, 0)
    assert {one.bootstrap for one in drawn} == {"2-ply", "negamax"}
    for one in drawn:
        assert (one.q_init == 0.0) == (one.bootstrap == "negamax")
    sampled = drawn[0].as_dict()
    assert space.hyperparameters(sampled | {"bootstrap": "negamax", "q_init": 0.5}).q_init == 0.0
    assert space.hyperparameters(sampled | {"bootstrap": "2-ply", "q_init": 0.5}).q_init == 0.5
    before = space.describe()
    monkeypatch.setattr(space, "CONDITIONS", [("replay", "forward", {"gamma": 1.0})])
    assert {name for name, text in space.describe().items() if text != before[name]} == {"conditions"}
    assert all(one.gamma == 1.0 for one in space.sample(50, 0) if one.replay == "forward")
    monkeypatch.setattr(space, "CONDITIONS", [("replay", "forward", {"gamma": 7.0})])
    with pytest.raises(UserError, match="gamma must lie in"):
        space.validate()


def test_a_space_is_called_the_same_in_every_process() -> None:
    code = "from tictactoe.experiment import space; print(space.describe())"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(space.describe())


def test_the_first_configurations_are_the_same_for_every_number() -> None:
    few, many = space.sample(5, 3), space.sample(9, 3)
    assert many[:5] == few
    assert space.sample(5, 4) != few
    for configuration in many:
        assert all(float(f"{value:.6g}") == value for value in configuration.as_dict().values() if isinstance(value, float))


@pytest.mark.parametrize(
    ("entry", "possible"),
    [
        (FloatDistribution(0.25, 0.75, step=0.25), {0.25, 0.5, 0.75}),
        (IntDistribution(1, 7, step=3), {1.0, 4.0, 7.0}),
        (IntDistribution(1, 3, log=True), {1.0, 2.0, 3.0}),
    ],
)
def test_stepped_and_whole_numbers(monkeypatch: pytest.MonkeyPatch, entry: Any, possible: set[float]) -> None:
    monkeypatch.setitem(space.SPACE, "alpha_decay" if 7.0 in possible or 2.0 in possible else "gamma", entry)
    name = "alpha_decay" if 7.0 in possible or 2.0 in possible else "gamma"
    assert {getattr(configuration, name) for configuration in space.sample(100, 0)} == possible


@pytest.mark.parametrize(
    ("name", "entry", "part"),
    [
        ("gamma", FloatDistribution(0.5, 1.5), "gamma must lie in"),
        ("gamma", 2.0, "gamma must lie in"),
        ("table", CategoricalDistribution(["afterstate", "other"]), "table must be one of"),
        ("gama", 1.0, "gama"),
        ("epsilon_start", object(), "epsilon_start must be"),
        ("epsilon_start", tune.uniform(0.0, 1.0), "epsilon_start must be"),
        ("gamma", FloatDistribution(0.1234567, 1.0), "0.1234567 has more than 6 digits"),
        ("gamma", FloatDistribution(0.0, 0.9999999), "0.9999999 has more than 6 digits"),
        ("gamma", FloatDistribution(0.0, 1.0, step=1e-7), "0.9999999 has more than 6 digits"),
        ("alpha_decay", FloatDistribution(1e5, 2e5, step=0.5), "100000.5 has more than 6 digits"),
        ("gamma", CategoricalDistribution([0.5, 0.9999999]), "0.9999999 has more than 6 digits"),
    ],
)
def test_a_space_that_no_learner_takes_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, entry: Any, part: str) -> None:
    space.validate()
    monkeypatch.setitem(space.SPACE, name, entry)
    with pytest.raises(UserError, match=r"the search space, .*space\.py") as caught:
        space.validate()
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_rounded_values_stay_in_the_space_of_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        FloatDistribution(0.3, 0.9, step=0.1),
        FloatDistribution(0.100001, 0.100009, log=True),
        FloatDistribution(0.5, 0.5),
    ]
    for entry in entries:
        monkeypatch.setitem(space.SPACE, "gamma", entry)
        space.validate()
        for configuration in space.sample(50, 0):
            create_trial(value=0.0, params={"gamma": configuration.gamma}, distributions={"gamma": entry})
