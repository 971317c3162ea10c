"""Numbers, counts and names as text: the same words on the console, in the report and in W&B."""

from __future__ import annotations

import math
from typing import Any


def trial_name(index: int) -> str:
    """As Ray's dashboard, W&B and the logs call it."""
    return f"trial_{index:05d}"


def games(value: float | None) -> str:
    """A number of games; None, as in JSON, is infinite."""
    return "never" if value is None or math.isinf(value) else f"{value:,.0f}"


def count(number: int, noun: str) -> str:
    """A number of things, in the singular or the plural."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def millions(number: float) -> str:
    """A large number of things."""
    return f"{number / 1e6:,.1f} million"


def times(ratio: float) -> str:
    """How many times as much."""
    return f"{ratio:.2f} ×"


def percent(share: float, decimals: int = 0) -> str:
    """A share of 1, or a probability."""
    return f"{100 * share:.{decimals}f} %"


def seconds(value: float) -> str:
    """A length of time."""
    return f"{value:,.1f} s"


def plain_name(name: str) -> str:
    """A hyperparameter's name, as people read it."""
    return name.replace("_", " ")


def is_number(value: Any) -> bool:
    """Whether a hyperparameter's value is a number (True and False are not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def short(value: Any) -> str:
    """A hyperparameter's value."""
    return str(value) if not is_number(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def one_line(text: str, lines: slice = slice(1)) -> str:
    """The first line of a text that is not empty (or those of `lines`), of at most 300 characters."""
    return " ".join([line.strip() for line in text.splitlines() if line.strip()][lines])[:300]


def reason(error: BaseException, lines: slice = slice(1)) -> str:
    """Why something failed, in one line: that of the error's text (see `one_line`), else the error's name."""
    return one_line(str(error), lines) or type(error).__name__


def minutes(seconds: float) -> str:
    """A time as "2:05"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
