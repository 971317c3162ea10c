"""Who ran when: rows of worker processes, grouped by nodes that join and are lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import made_up
from tests.support.records import node_event
from tictactoe.experiment.journal import nodes
from tictactoe.experiment.record import NodeEvent, Record
from tictactoe.experiment.results import Results
from tictactoe.experiment.slots import attempts
from tictactoe.reporting.report import timeline
from tictactoe.reporting.report.drawing import Plot, style

HOME, FIRST, SECOND = "127.0.0.1", "10.244.0.7", "10.244.1.8"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results") / "one"
    made_up.landscape(folder, trials=4)
    return Results.read(folder)


def ran(*trials: tuple[str, int, float, float], attempt: int = 1) -> list[Record]:
    """Trials by node, process, start and end, all of it learning."""
    return [
        made_up.record(
            index, attempt=attempt, node=node, worker=worker, started_s=start, ended_s=end, learner_cpu_s=end - start
        )
        for index, (node, worker, start, end) in enumerate(trials)
    ]


def of(results: Results, records: Sequence[Record], events: Sequence[NodeEvent]) -> Results:
    """Results of these trials on such nodes."""
    settings = replace(results.summary.settings, num_samples=1_000)
    return replace(results, rounds=list(records), nodes=list(events), summary=replace(results.summary, settings=settings))


def drawn(results: Results) -> Plot:
    with style():
        return timeline.timeline(results)


def texts(plot: Plot) -> list[str]:
    """All texts of a plot but the numbers of its axis."""
    found = re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)
    return [text for text in found if not text.isdigit()]


AXIS = "seconds since the first trial began"


def test_one_node_has_rows_of_workers_and_no_names(results: Results) -> None:
    records = ran((HOME, 7, 1, 3), (HOME, 8, 2, 5), (HOME, 7, 4, 6))
    plot = drawn(of(results, records, [node_event(0)]))
    assert texts(plot) == [AXIS, "worker 1", "worker 2"]
    assert "nodes" not in plot.caption
    assert plot.svg == drawn(of(results, records, [])).svg  # as where nothing is known of nodes


def test_rows_are_grouped_by_nodes_whose_changes_are_marked(results: Results) -> None:
    events = [
        node_event(0),
        node_event(1, at_s=12, node=FIRST, slots=1),
        node_event(2, at_s=14, node=SECOND, slots=1),
        node_event(3, at_s=40, node=SECOND, event="lost", slots=1),
    ]
    # Two nodes have given their processes the same id.
    records = ran((HOME, 7, 1, 60), (HOME, 8, 1, 60), (SECOND, 7, 16, 40), (FIRST, 7, 17, 50))
    shown = of(results, records, events)
    (attempt,) = attempts(records, events)
    assert timeline.processes([attempt]) == {HOME: [7, 8], FIRST: [7], SECOND: [7]}
    assert timeline.changes_by_node([attempt]) == {FIRST: [(11, "joined")], SECOND: [(13, "joined"), (39, "lost")]}
    plot = drawn(shown)
    assert sorted(texts(plot)) == sorted([AXIS, HOME, FIRST, SECOND, "joined", "joined", "lost"])
    assert "Rows are the worker processes of 3 nodes." in plot.caption
    assert "joined after the first trial had begun (2) or were lost (1)." in plot.caption
    # 59 s of two slots, 48 s and 26 s; learning 59 + 59 + 24 + 33.
    assert f"{175 / (59 * 2 + 48 + 26):.0%}".replace("%", " %") + " of the slots' time" in plot.caption


def test_a_node_that_ran_nothing_has_a_row_and_what_came_after_the_trials_has_none(results: Results) -> None:
    events = [node_event(0), node_event(1, at_s=2, node=FIRST), node_event(2, at_s=50, node=SECOND)]
    records = ran((HOME, 7, 1, 9))
    assert timeline.processes(attempts(records, events)) == {HOME: [7], FIRST: []}
    assert timeline.changes_by_node(attempts(records, events)) == {FIRST: [(1, "joined")]}
    assert sorted(texts(drawn(of(results, records, events)))) == sorted([AXIS, HOME, FIRST, "joined"])


def test_changes_of_a_later_attempt_are_on_the_common_clock(results: Results) -> None:
    events = [
        node_event(0),
        node_event(1, attempt=2, node=FIRST),  # there from the start: no change
        node_event(2, attempt=2, at_s=7, node=FIRST, event="lost"),
        node_event(3, attempt=3, node=SECOND),  # no trial ended in it
    ]
    records = [*ran((HOME, 7, 1, 5)), *ran((FIRST, 7, 4, 6), (FIRST, 8, 4, 9), attempt=2)]
    assert timeline.changes_by_node(attempts(records, events)) == {FIRST: [(4 + 3, "lost")]}
    assert timeline.processes(attempts(records, events)) == {HOME: [7], FIRST: [7, 8]}


def test_words_that_would_lie_over_each_other_are_left_out(results: Results) -> None:
    changes = [(5, "joined"), (6, "lost"), (50, "lost"), (52, "joined"), (99, "joined")]
    events = [node_event(0), *(node_event(i, at_s=at, node=FIRST, event=e) for i, (at, e) in enumerate(changes, 1))]
    plot = drawn(of(results, ran((HOME, 7, 0, 100)), events))
    assert [word for word in texts(plot) if word in ("joined", "lost")] == ["joined", "lost", "joined", "joined"]
    assert "(3) or were lost (2)" in plot.caption  # all have their ticks


def test_many_nodes_have_no_names_and_long_names_are_cut(results: Results) -> None:
    def many(number: int) -> Plot:
        names = [f"2001:db8:85a3::8a2e:370:{7_000 + index}" for index in range(number)]
        records = ran(*((node, worker, 0, 10) for node in names for worker in range(4)))
        return drawn(of(results, records, [node_event(i, node=node, at_s=3.0 * (i > 0)) for i, node in enumerate(names)]))

    few, more = many(timeline.NAMED), many(timeline.NAMED + 1)
    assert {len(text) for text in texts(few)} == {len(AXIS), timeline.LETTERS, len("joined")}
    assert "…:8a2e:370:7000" in texts(few)
    assert texts(more) == [AXIS]
    heights = [float(re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', plot.svg)[0]) for plot in (few, more)]
    assert heights[1] == timeline.ROWS + 75 < heights[0] == timeline.ROWS + 75 + 23 * timeline.STRIP


def test_a_report_reads_the_nodes_of_its_search(tmp_path: Path) -> None:
    made_up.landscape(tmp_path, trials=4)
    assert Results.read(tmp_path).nodes == []
    nodes(tmp_path).append(node_event(0), node_event(1, node=FIRST))
    assert Results.read(tmp_path).nodes == [node_event(0), node_event(1, node=FIRST)]
