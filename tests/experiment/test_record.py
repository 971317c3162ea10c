"""Records, summaries and the fields that all others take from them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.support import records as made
from tests.support.strategies import entries
from tictactoe.errors import UserError
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.journal import checksum
from tictactoe.experiment.record import FORMAT, Progress, Record, Scores, from_json, names, part, to_json
from tictactoe.experiment.summary import Summary, Unfinished


@given(entries)
def test_a_record_is_the_same_after_json(entry: Any) -> None:
    content = to_json(entry)
    again = from_json(type(entry), json.loads(json.dumps(content, allow_nan=False)))
    assert again == entry
    assert repr(again) == repr(entry)


def test_infinite_medians_are_none() -> None:
    unsolved = made.record(0, (400, None, None))
    assert unsolved.median is None
    assert to_json(unsolved)["median"] is None
    assert to_json(unsolved)["games_to_optimal"] == [400, None, None]
    assert from_json(Record, to_json(unsolved)).median is None
    for value in (math.inf, math.nan):
        with pytest.raises(ValueError, match="JSON"):
            to_json(replace(unsolved, median=value))


@pytest.mark.parametrize(
    "change",
    [
        {"mean_log": None},
        {"par10": None},
        {"par10": "far"},
        {"solved": 1.5},
        {"solved": None},
        {"games_to_optimal": 5},
        {"games_to_optimal": ["a"]},
        {"history": [{}]},
        {"config": None},
        {"config": {"gamma": 2.0}},
        {"config": {"table": "flat"}},
        {"stopped": "perhaps"},
        {"index": [0]},
    ],
)
def test_wrong_types_are_refused(change: dict[str, Any]) -> None:
    content = to_json(made.record())
    assert from_json(Record, content) == made.record()
    with pytest.raises(ValueError, match=next(iter(change))):
        from_json(Record, content | change)


@pytest.mark.parametrize("content", [None, [], "record", 1, {}])
def test_what_is_no_object_of_its_fields_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match="Record"):
        from_json(Record, content)


def test_parts_have_the_fields_of_their_kind() -> None:
    record = made.record(3)
    assert names(Record)[: len(names(Progress))] == names(Progress)
    assert names(Progress)[: len(names(Scores))] == names(Scores)
    scores = part(record, Scores)
    assert type(scores) is Scores
    assert all(getattr(scores, name) == getattr(record, name) for name in names(Scores))


def test_kinds_and_ranks() -> None:
    solved, unsolved = made.record(0, (500, 500)), made.record(1, (400, None))
    stopped = made.record(2, (300, 300), stopped=True)
    same = made.record(3, (500, 500))
    later = made.record(5, (600, 600), stopped=True, round=2)
    assert [record.kind for record in (solved, unsolved, stopped)] == ["solved", "unsolved", "stopped"]
    ranked = sorted((stopped, unsolved, same, later, solved), key=lambda record: record.rank)
    assert ranked == [solved, same, unsolved, later, stopped]
    # By the mean logarithm, where PAR-10 has it the other way round.
    steady, uneven = made.record(6, (1_000, 1_000)), made.record(7, (100, 2_000))
    assert uneven.par10 > steady.par10 and uneven.rank < steady.rank
    assert uneven.geometric_mean == pytest.approx(math.sqrt(100 * 2_000), rel=1e-4)
    assert solved.seconds == 2.0
    assert solved.games_per_s == 10_000
    assert made.record(learner_cpu_s=0.0).games_per_s > 0


RECORDS = [made.record(0), made.record(1, (None, None)), made.record(2, (300, 300), stopped=True)]
SUMMARIES = {
    "finished": made.summary(RECORDS, [made.failure(7)]),
    "nothing on fresh seeds": made.summary(RECORDS[2:]),
    "never solved": made.summary(RECORDS[1:2], finalists=[made.finalist(RECORDS[1], interval=(300.0, None))]),
    "interrupted": made.unfinished(errors={3: "ValueError: x"}, num_errors=1),
    "failed": made.unfinished(status="failed", truncated=True),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    summary = SUMMARIES[name]
    summaries.write(tmp_path, summary)
    again = summaries.read(tmp_path)
    assert again == summary
    assert repr(again) == repr(summary)
    assert summaries.state(tmp_path) == summary.status
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["format"] == FORMAT
    assert {*content} == {"format", "crc32", *names(type(summary))}


def test_only_a_finished_summary_is_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results"):
        summaries.finished(tmp_path)
    summaries.write(tmp_path, SUMMARIES["finished"])
    assert summaries.finished(tmp_path) == SUMMARIES["finished"]
    for state in ("interrupted", "failed"):
        summaries.write(tmp_path, SUMMARIES[state])
        with pytest.raises(UserError, match=f"not finished but {state}"):
            summaries.finished(tmp_path)


def write(folder: Path, content: dict[str, Any]) -> None:
    """A summary.json of any content, whose checksum is right."""
    (folder / "summary.json").write_text(json.dumps(content | {"crc32": checksum(content)}))


def test_a_damaged_summary_is_none(tmp_path: Path) -> None:
    summaries.write(tmp_path, SUMMARIES["finished"])
    whole = (tmp_path / "summary.json").read_text()
    for text in ("", "{", "[]", "null", whole[:-20], whole.replace('"num_trials": 4', '"num_trials": 5')):
        assert text != whole
        (tmp_path / "summary.json").write_text(text)
        assert summaries.read(tmp_path) is None
        with pytest.raises(UserError, match="not finished but"):
            summaries.finished(tmp_path)
    assert summaries.state(tmp_path) == "damaged"
    content: dict[str, Any] = {"format": FORMAT, **to_json(SUMMARIES["finished"])}
    write(tmp_path, content)
    assert summaries.read(tmp_path) == SUMMARIES["finished"]
    for change in ({"best": None}, {"status": "nearly"}, {"num_trials": "many"}):
        write(tmp_path, content | change)
        assert summaries.read(tmp_path) is None


@pytest.mark.parametrize("content", [{"format": FORMAT - 1}, {"format": FORMAT + 1}, {"status": "finished"}])
def test_a_summary_of_another_version_says_so(tmp_path: Path, content: dict[str, Any]) -> None:
    write(tmp_path, content)
    assert summaries.read(tmp_path) is None
    assert summaries.state(tmp_path) == "of another version"
    with pytest.raises(UserError, match=r"another version of this program; .*--fresh"):
        summaries.finished(tmp_path)


def test_what_a_summary_tells_of_itself() -> None:
    records = [made.record(index, (400 + 10 * index, 500)) for index in range(3)]
    first, second, third = (made.finalist(records[index], tied=index != 2) for index in (1, 0, 2))
    assert made.summary(records, finalists=[first, second, third]).selection.tied == 2
    assert [replace(first, seeds=seeds).has_interval for seeds in (5, 6)] == [False, True]
    cost = made.summary(records).cost
    assert cost.last_attempt == ""
    assert replace(cost, attempts=3).last_attempt == "the last of 3 attempts"
    assert isinstance(SUMMARIES["finished"], Summary) and not isinstance(SUMMARIES["failed"], Summary)
    assert issubclass(Summary, Unfinished)
