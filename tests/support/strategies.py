"""Any record that a search can write, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.record import CurvePoint, Failure, NodeEvent, Record, Replay

unit = st.floats(0, 1)
number = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(0, 10**13)
games_to_optimal = st.lists(st.none() | whole, max_size=4).map(tuple)
quantiles = st.tuples(number, number, number)

hyperparameters = st.builds(
    Hyperparameters,
    alpha_start=st.floats(0.01, 1),
    alpha_end=st.floats(0.01, 1),
    alpha_decay=st.floats(1, 1000),
    gamma=unit,
    epsilon_start=unit,
    epsilon_end=unit,
    epsilon_decay=st.floats(1, 1000),
    q_init=st.floats(-2, 2),
    bootstrap=st.sampled_from(["2-ply", "negamax"]),
    replay=st.sampled_from(["forward", "backward"]),
    table=st.sampled_from(["state-action", "afterstate"]),
    symmetry=st.booleans(),
)
curve_points = st.builds(
    CurvePoint, games=whole, optimal=whole, exploitability=quantiles, loss_vs_random=quantiles, mean_loss=number
)
records = st.builds(
    Record,
    mean_log=number,
    par10=number,
    median=st.none() | number,
    solved=whole,
    exploitability=number,
    loss_vs_random=number,
    games=whole,
    learner_cpu_s=number,
    games_to_optimal=games_to_optimal,
    played=whole,
    share=number,
    earlier_cpu_s=number,
    history=st.lists(curve_points, max_size=2).map(tuple),
    index=whole,
    attempt=whole,
    config=hyperparameters,
    started_s=number,
    ended_s=number,
    node=st.text(),
    worker=whole,
    stopped=st.booleans(),
    round=whole,
)
failures = st.builds(Failure, index=whole, attempt=whole, config=hyperparameters, error=st.text(), round=whole)
replays = st.builds(
    Replay,
    index=whole,
    stream=st.sampled_from(Stream),
    trial=whole,
    config=hyperparameters,
    first=whole,
    games_to_optimal=games_to_optimal,
    learner_cpu_s=number,
)
node_events = st.builds(
    NodeEvent,
    index=whole,
    attempt=whole,
    at_s=number,
    node=st.text(),
    event=st.sampled_from(["joined", "lost"]),
    cpus=number,
    slots=whole,
)
entries = records | failures | replays | node_events
