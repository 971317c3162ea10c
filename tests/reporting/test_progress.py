"""What one sees while a search runs."""

from __future__ import annotations

import io

from rich.console import Console

from tests.support import records as made
from tictactoe.experiment.record import Progress, Record
from tictactoe.reporting.progress import Reporter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def halfway(share: float) -> Progress:
    return made.progress(games_to_optimal=(1_000, None), share=share, par10=1000.0)


def record(index: int, par10: float = 1000.0, stopped: bool = False) -> Record:
    return made.record(index, (1, None), par10=par10, stopped=stopped)


def reporter(clock: Clock, terminal: bool = False) -> tuple[Reporter, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=120, soft_wrap=True, highlight=False)
    return Reporter(console, 4, lambda progress: f"{progress.share:.0%} done", clock), output


def test_one_line_in_three_seconds_for_each_running_trial_and_always_one_at_its_end() -> None:
    clock = Clock()
    shown, output = reporter(clock)
    with shown:
        shown.search_started([], [])
        for index in (0, 1):
            shown.trial_started(index, made.config(index))
        for second in range(1, 11):
            clock.now = second
            for index in (0, 1):
                shown.trial_reported(index, halfway(second / 10), final=second == 10)
        shown.trial_finished(record(0))
        shown.trial_failed(made.failure(1))
    lines = output.getvalue().splitlines()
    for index in (0, 1):
        running = [line for line in lines if line.startswith(f"trial_{index:05d}") and "done" in line]
        assert running == [f"trial_{index:05d}  {share}% done" for share in (30, 60, 90)]
    assert sum("trial_00000  finished [1/4]" in line for line in lines) == 1
    assert sum("trial_00001  failed: ValueError: broken" in line for line in lines) == 1
    assert "\x1b" not in output.getvalue()


def test_time_left_counts_running_trials_and_not_the_resumed_ones() -> None:
    clock = Clock()
    shown, output = reporter(clock)
    shown.search_started([record(0)], [])
    assert "1 of 4 trials are finished already" in output.getvalue()
    assert shown.time_left() == ""
    shown.trial_started(1, made.config(1))
    clock.now = 30.0
    shown.trial_reported(1, halfway(0.5), final=False)
    assert shown.time_left() == "2:30 left"
    shown.trial_finished(record(1))
    clock.now = 60.0
    assert shown.time_left() == "2:00 left"


def test_the_best_so_far_used_its_whole_budget() -> None:
    shown, _ = reporter(Clock())
    shown.search_started([], [])
    for index, (par10, stopped) in enumerate([(900.0, False), (100.0, True), (500.0, False), (700.0, False)]):
        shown.trial_finished(record(index, par10, stopped))
    assert shown.best is not None
    assert shown.best.index == 2


def test_a_terminal_gets_a_live_table() -> None:
    clock = Clock()
    shown, output = reporter(clock, terminal=True)
    with shown:
        shown.search_started([], [])
        shown.trial_started(0, made.config(0))
        shown.trial_reported(0, halfway(0.5), final=False)
        shown.trial_finished(record(1))
        assert shown._live is not None
        shown._live.refresh()
    text = output.getvalue()
    for part in ("1/4 trials", "trial_00000", "50 %", "best", "PAR-10"):
        assert part in text


def test_time_left_goes_by_the_trials_and_not_by_what_went_before_them() -> None:
    clock = Clock()
    shown, _ = reporter(clock)
    shown.search_started([], [])
    clock.now = 100
    for index in (0, 1):
        shown.trial_started(index, made.config(index))
    clock.now = 110
    for index in (0, 1):
        shown.trial_finished(record(index))
    shown.trial_started(2, made.config(2))
    assert shown.time_left() == "0:10 left"


def test_trials_that_failed_earlier_are_told_and_count_as_ended() -> None:
    clock = Clock()
    shown, output = reporter(clock)
    shown.search_started([record(0)], [made.failure(1), made.failure(2)])
    assert output.getvalue().splitlines() == [
        "1 of 4 trials are finished already",
        "2 trials failed earlier; --retry-failed runs them again",
    ]
    shown.trial_started(3, made.config(3))
    clock.now = 10
    shown.trial_reported(3, halfway(0.5), final=False)
    assert shown.time_left() == "0:10 left"
    shown.trial_finished(record(3))
    assert shown.time_left() == ""
    assert "finished [2/4]" in output.getvalue()


def test_notes_are_told_at_once() -> None:
    shown, output = reporter(Clock())
    shown.trial_noted(3, "is tried again: its process died")
    assert output.getvalue() == "trial_00003  is tried again: its process died\n"
