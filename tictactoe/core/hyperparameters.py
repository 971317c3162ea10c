"""What defines a learner, each value with its range."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal, get_args, get_type_hints


@dataclass(frozen=True)
class Hyperparameters:
    """What defines a learner. Raises ValueError, naming the field, for values out of range."""

    alpha_start: float = 0.9
    """Learning rate of the first game, in (0, 1]."""
    alpha_end: float = 0.9
    """Learning rate reached after `alpha_decay` games, in (0, 1]."""
    alpha_decay: float = 1.0
    """Games over which the learning rate moves linearly from start to end, at least 1."""
    gamma: float = 1.0
    """Discount factor per own move ("2-ply") or per move ("negamax"), in [0, 1]."""
    epsilon_start: float = 0.0
    """Probability of a uniformly random move in the first game, in [0, 1]."""
    epsilon_end: float = 0.0
    """Exploration probability reached after `epsilon_decay` games, in [0, 1]."""
    epsilon_decay: float = 1.0
    """Games over which exploration moves linearly from start to end, at least 1."""
    q_init: float = 0.05
    """Initial value of every entry, in [-2, 2]; above 0 is optimistic, since a draw is worth 0."""
    bootstrap: Literal["2-ply", "negamax"] = "2-ply"
    """Where a target looks: the mover's own next position, or the opponent's reply with its sign turned."""
    replay: Literal["forward", "backward"] = "forward"
    """Order of a game's updates: as they are played, or from the last move to the first after the game."""
    table: Literal["state-action", "afterstate"] = "afterstate"
    """One entry for each (position, move), or one for each position that a move leads to."""
    symmetry: bool = True
    """Share one entry among moves that a rotation or reflection of the board maps onto each other."""

    def __post_init__(self) -> None:
        for field, hint in _types().items():
            value = getattr(self, field)
            if hint is float:
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                    raise ValueError(f"{field} must be a finite number, not {value!r}")
                object.__setattr__(self, field, float(value))
            elif hint is bool:
                if not isinstance(value, bool):
                    raise ValueError(f"{field} must be true or false, not {value!r}")
            elif value not in get_args(hint):
                raise ValueError(f"{field} must be one of {', '.join(get_args(hint))}, not {value!r}")
        for name, low, high in (
            ("alpha_start", 0.0, 1.0),
            ("alpha_end", 0.0, 1.0),
            ("gamma", 0.0, 1.0),
            ("epsilon_start", 0.0, 1.0),
            ("epsilon_end", 0.0, 1.0),
            ("q_init", -2.0, 2.0),
            ("alpha_decay", 1.0, math.inf),
            ("epsilon_decay", 1.0, math.inf),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie in [{low:g}, {high:g}], not {getattr(self, name):g}")
        for name in ("alpha_start", "alpha_end"):
            if getattr(self, name) == 0.0:
                raise ValueError(f"{name} must be above 0")

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON types."""
        return asdict(self)


@cache
def _types() -> dict[str, Any]:
    """The type of each field: reading them takes longer than all the rest of making a configuration."""
    return get_type_hints(Hyperparameters)
