"""Optuna's lag is told of where it leaves slots free, once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.records import settings, standing
from tictactoe.reporting.lag import LagNote

WHOLE = {"search": "optuna", "scheduler": "none"}


def said(slots: list[int], **options: Any) -> list[str]:
    """What is said of a search in which so many slots there are, one after another."""
    lines = list[str]()
    note = LagNote(settings(**options), lines.append)
    note.search_started(standing())
    for number in slots:
        note.slots_changed(number)
    return lines


@pytest.mark.parametrize(
    ("slots", "options", "expected"),
    [
        ([2, 8], {}, []),
        ([2, 8, 9, 8, 10], {}, ["note: at most 8 trials can run at a time: --lag 8"]),
        ([2], {"max_concurrent": 8}, []),
        ([9, 10], {"max_concurrent": 10}, ["note: at most 8 trials can run at a time: --lag 8"]),
        ([1, 2], {"lag": 1}, ["note: at most 1 trial can run at a time: --lag 1"]),
        ([64], {"lag": 16, "num_samples": 16}, []),
        ([64], {"search": "random"}, []),
        ([64], {"scheduler": "race"}, []),
    ],
)
def test_it_is_told_once_where_it_leaves_slots_free(slots: list[int], options: dict[str, Any], expected: list[str]) -> None:
    assert said(slots, **{**WHOLE, **options}) == expected
