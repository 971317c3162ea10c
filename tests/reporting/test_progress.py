"""What one sees while a search runs."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.support import records as made
from tictactoe.experiment.record import Progress, Record
from tictactoe.experiment.rounds import Round
from tictactoe.reporting.progress import LINE_SECONDS, Reporter

ONE = (Round(trials=4, seeds=2, games=made.BUDGET),)
RACE = (Round(trials=40, seeds=1, games=100), Round(trials=10, seeds=2, games=500), Round(trials=2, seeds=4, games=1_000))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def halfway(share: float) -> Progress:
    return made.progress(games_to_optimal=(1_000, None), share=share)


def record(index: int, mean_log: float = 7.0, stopped: bool = False) -> Record:
    return made.record(index, (1, None), mean_log=mean_log, stopped=stopped)


def of_round(number: int, index: int, mean_log: float = 6.0) -> Record:
    """A trial of a round of the race."""
    one, last = RACE[number], number == len(RACE) - 1
    numbers = {"games": one.games, "played": one.seeds * one.games, "stopped": not last, "round": number}
    return made.record(index, (80,) * one.seeds, budget=one.games, mean_log=mean_log, **numbers)


def reporter(clock: Clock, terminal: bool = False, rounds: tuple[Round, ...] = ONE) -> tuple[Reporter, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=120, soft_wrap=True, highlight=False)
    shown = Reporter(console, rounds, lambda progress: f"{progress.share:.0%} done", clock)
    shown.slots_changed(2)
    return shown, output


def run_round(shown: Reporter, clock: Clock, number: int, seconds: float) -> None:
    """Run all of a round, one trial after another; the lower its index the better a trial is."""
    shown.round_started(number, RACE[number], len(RACE))
    records = [of_round(number, index, 6.0 + index / 100) for index in range(RACE[number].trials)]
    for one in records:
        shown.trial_started(one.index, one.config)
        clock.now += seconds
        shown.trial_reported(one.index, halfway(1.0), final=True)
        shown.trial_finished(one)
    shown.round_finished(number, [replace(one, history=(), games_to_optimal=()) for one in records])


def test_one_line_in_three_seconds_for_each_running_trial_and_always_one_at_its_end() -> None:
    clock = Clock()
    shown, output = reporter(clock)
    with shown:
        shown.search_started(made.standing())
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
    shown.search_started(made.standing([record(0)]))
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
    shown.search_started(made.standing())
    for index, (mean_log, stopped) in enumerate([(7.0, False), (5.0, True), (6.0, False), (6.5, False)]):
        shown.trial_finished(record(index, mean_log, stopped))
    assert shown.best is not None
    assert shown.best.index == 2


def test_a_terminal_gets_a_live_table() -> None:
    clock = Clock()
    shown, output = reporter(clock, terminal=True)
    with shown:
        shown.search_started(made.standing())
        shown.trial_started(0, made.config(0))
        shown.trial_reported(0, halfway(0.5), final=False)
        shown.trial_finished(record(1))
        assert shown._live is not None
        shown._live.refresh()
    text = output.getvalue()
    for part in ("1/4 trials", "trial_00000", "50 %", "best", "geometric mean", "1,097"):
        assert part in text
    assert "round" not in text


def test_time_left_goes_by_the_trials_and_not_by_what_went_before_them() -> None:
    clock = Clock()
    shown, _ = reporter(clock)
    shown.search_started(made.standing())
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
    shown.search_started(made.standing([record(0)], [made.failure(1), made.failure(2)]))
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
    assert "finished [4/4]" in output.getvalue()


def test_notes_are_told_at_once() -> None:
    shown, output = reporter(Clock())
    shown.trial_noted(3, "is tried again: its process died")
    assert output.getvalue() == "trial_00003  is tried again: its process died\n"


def test_a_race_has_two_lines_a_round_and_lines_of_trials_in_the_last_one_only() -> None:
    clock = Clock()
    shown, output = reporter(clock, rounds=RACE)
    with shown:
        shown.search_started(made.standing())
        for number in range(3):
            run_round(shown, clock, number, 0.01)
    lines = output.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "round 1 of 3: 40 trials x 1 seed x 100 games",
        "round 1 of 3 ended after 0.4 s: 10 go on, best trial_00000, geometric mean 403 games",
        "round 2 of 3: 10 trials x 2 seeds x 500 games",
        "round 2 of 3 ended after 0.1 s: 2 go on, best trial_00000, geometric mean 403 games",
        "round 3 of 3: 2 trials x 4 seeds x 1,000 games",
        "trial_00000",
        "trial_00001",
        "round 3 of 3 ended after 0.0 s: best trial_00000, geometric mean 403 games",
    ]
    assert "finished [2/2]  solved 4/4  median 80  geometric mean 407  best trial_00000 403" in lines[6]


def test_the_best_of_a_round_in_which_nobody_is_solved_on_every_seed_has_a_lower_bound() -> None:
    shown, output = reporter(Clock(), rounds=RACE)
    shown.search_started(made.standing())
    shown.round_started(0, RACE[0], 3)
    shown.round_finished(0, [replace(of_round(0, 7), solved=0)])
    assert output.getvalue().endswith("1 go on, best trial_00007, geometric mean at least 403 games\n")


def test_a_long_round_says_how_far_it_is() -> None:
    clock = Clock()
    shown, output = reporter(clock, rounds=RACE)
    shown.search_started(made.standing())
    run_round(shown, clock, 0, 1.0)
    told = output.getvalue().splitlines()[1:-1]
    assert len(told) == 40 // LINE_SECONDS
    assert told[0].startswith("round 1 of 3  [3/40]  ") and told[-1].startswith("round 1 of 3  [39/40]  ")


def test_time_left_of_a_race_goes_by_games() -> None:
    clock = Clock()
    shown, _ = reporter(clock, rounds=RACE)
    shown.search_started(made.standing())
    run_round(shown, clock, 0, 1.0)
    assert shown.time_left() == f"{18_000 // 100 // 60}:{18_000 // 100 % 60:02d} left"  # 4,000 games took 40 s
    shown.round_started(1, RACE[1], 3)
    shown.trial_started(0, made.config(0))
    shown.trial_reported(0, halfway(0.5), final=False)
    clock.now = 45.0
    assert shown.time_left() == f"{17_500 // 100 // 60}:{17_500 // 100 % 60:02d} left"


def test_at_the_beginning_nobody_knows_how_long_it_takes() -> None:
    clock = Clock()
    shown, _ = reporter(clock, rounds=RACE)
    shown.search_started(made.standing())
    shown.round_started(0, RACE[0], 3)
    for index in range(20):
        shown.trial_started(index, made.config(index))
        clock.now += 1.0
        shown.trial_finished(of_round(0, index))
        assert bool(shown.time_left()) == (100 * (index + 1) >= 0.05 * 22_000)


@pytest.mark.parametrize("ended", [0, 3, 10])
def test_a_race_goes_on_where_it_was(ended: int) -> None:
    clock = Clock()
    shown, output = reporter(clock, rounds=RACE)
    before = [of_round(1 if index < ended else 0, index) for index in range(39)]
    shown.search_started(made.standing(before, [made.failure(39)]))
    shown.round_started(0, RACE[0], 3)
    shown.round_finished(0, before)
    shown.round_started(1, RACE[1], 3)
    lines = output.getvalue().splitlines()[1:]
    title = "round 2 of 3: 10 trials x 2 seeds x 500 games"
    assert lines == {0: [title], 3: [f"{title}, 3 trials of it finished already"], 10: []}[ended]
    shown.trial_started(9, made.config(9))
    clock.now = 10.0
    shown.trial_finished(of_round(1, 9))
    left = 1_000 * (10 - (ended + 1)) + 8_000
    assert ended == 10 or shown.time_left() == f"{left // 100 // 60}:{left // 100 % 60:02d} left"


def test_the_live_table_of_a_race_says_which_round_runs() -> None:
    clock = Clock()
    shown, output = reporter(clock, terminal=True, rounds=RACE)
    with shown:
        shown.search_started(made.standing())
        run_round(shown, clock, 0, 0.01)
        shown.round_started(1, RACE[1], 3)
        assert shown._live is not None
        shown._live.refresh()
    assert "0/10 trials" in output.getvalue() and "of round 2 of 3" in output.getvalue()


def test_time_left_goes_by_the_slots_that_there_were_and_those_that_there_are() -> None:
    clock = Clock()
    shown, output = reporter(clock, rounds=(Round(trials=10, seeds=2, games=made.BUDGET),))
    shown.search_started(made.standing())
    shown.slots_changed(1)
    clock.now = 100.0
    shown.trial_started(0, made.config(0))
    clock.now = 110.0
    shown.trial_finished(record(0))
    assert shown.time_left() == "1:30 left"  # 9 trials of 10 slot seconds
    shown.slots_changed(3)
    assert shown.time_left() == "0:30 left"
    for index in (1, 2, 3):
        shown.trial_started(index, made.config(index))
    clock.now = 120.0
    for index in (1, 2, 3):
        shown.trial_finished(record(index))
    assert shown.time_left() == "0:20 left"  # 6 trials
    shown.slots_changed(0)
    clock.now = 1_000.0
    assert shown.time_left() == "waiting for a node"
    shown.slots_changed(6)
    assert shown.time_left() == "0:10 left"  # nothing was to be had in between
    assert "slot" not in output.getvalue() and "node" not in output.getvalue()  # whoever watches the nodes says that


def test_the_live_table_says_how_many_slots_there_are() -> None:
    clock = Clock()
    shown, output = reporter(clock, terminal=True)
    with shown:
        shown.search_started(made.standing())
        for slots, words in ((1, "1 slot "), (12, "12 slots "), (0, "waiting for a node")):
            shown.slots_changed(slots)
            assert shown._live is not None
            shown._live.refresh()
            assert words in output.getvalue()
    assert "0 slots" not in output.getvalue()


def test_a_trial_that_waits_to_be_run_again_does_not_run() -> None:
    shown, output = reporter(Clock(), terminal=True)
    with shown:
        shown.search_started(made.standing())
        shown.trial_started(0, made.config(0))
        shown.trial_reported(0, halfway(0.5), final=False)
        shown.trial_retried(0, "node")
        assert shown._live is not None
        shown._live.refresh()
        assert "trial_00000" not in output.getvalue().splitlines()[-1] and not shown.running
        shown.trial_started(0, made.config(0))
        shown._live.refresh()
    assert "starting" in output.getvalue()


def test_before_anything_is_known_of_slots_nothing_is_said() -> None:
    output = io.StringIO()
    with Reporter(Console(file=output, force_terminal=True, width=120), ONE, str) as shown:
        assert (shown.slot_clock.slots, shown.time_left()) == (None, "")
    assert "slot" not in output.getvalue() and "waiting" not in output.getvalue()
