"""The journal: what was written comes back, and what is damaged is noticed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import records as made
from tests.support.strategies import entries
from tictactoe.experiment.journal import Journal, checksum, nodes, read_rounds, read_trials, replays, trials
from tictactoe.experiment.record import FORMAT, Failure, NodeEvent, Record, Replay, to_json

RECORDS: list[Record | Failure] = [
    made.failure(index) if index == 2 else made.record(index, (400 + index, None), exploitability=index / 3)
    for index in range(5)
]


@pytest.fixture
def journal(tmp_path: Path) -> Journal[Record | Failure]:
    result = trials(tmp_path)
    for record in (RECORDS[3], *RECORDS[:3]):
        result.append(record)
    return result


def test_records_come_back_in_index_order(journal: Journal[Record | Failure]) -> None:
    assert journal.read() == RECORDS[:4]
    assert journal.damaged == []
    finished, failed = read_trials(journal.path.parent)
    assert finished == [RECORDS[0], RECORDS[1], RECORDS[3]]
    assert failed == [RECORDS[2]]


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert trials(tmp_path).read() == []
    assert read_trials(tmp_path) == ([], [])


@given(entries)
def test_what_was_written_comes_back(tmp_path_factory: pytest.TempPathFactory, entry: Any) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journals: dict[Any, Journal[Any]] = {Replay: replays(folder), NodeEvent: nodes(folder)}
    journal = journals.get(type(entry), trials(folder))
    journal.append(entry)
    (read,) = journal.read()
    assert read == entry
    assert repr(read) == repr(entry)  # 1 is not 1.0, nor True
    assert journal.damaged == []


@given(st.data())
def test_any_changed_or_missing_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("journal")
    whole = "".join(map(Journal.line, RECORDS)).encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    if cut:
        changed = whole[:at]
    else:
        byte = data.draw(st.integers(0, 255).filter(lambda b: b not in (whole[at], 10, 13)))
        changed = whole[:at] + bytes([byte]) + whole[at + 1 :]
    journal = trials(folder)
    journal.path.write_bytes(changed)
    read = journal.read()
    assert all(record in RECORDS for record in read)
    missing = len(RECORDS) - len(read)
    # A cut between two lines, with or without the break, looks like a shorter journal; the last break may be missing.
    between = at == 0 or b"\n" in (whole[at - 1 : at], whole[at : at + 1])
    assert journal.damaged or missing == 0 or (cut and between)


def test_a_torn_line_spoils_no_other(journal: Journal[Record | Failure]) -> None:
    with journal.path.open("ab") as file:
        file.write(Journal.line(RECORDS[4]).encode()[:-9])
    journal.append(RECORDS[4])
    assert journal.read() == RECORDS
    assert journal.damaged == [5]
    journal.mend()
    assert journal.read() == RECORDS
    assert journal.damaged == []
    assert len(journal.path.read_text().splitlines()) == len(RECORDS)


def test_of_two_with_the_same_index_the_later_counts(journal: Journal[Record | Failure]) -> None:
    """As after --retry-failed."""
    success = made.record(2, attempt=2)
    journal.append(success)
    assert journal.read()[2] == success
    assert read_trials(journal.path.parent) == ([RECORDS[0], RECORDS[1], success, RECORDS[3]], [])
    journal.append(made.failure(0, attempt=3))
    assert read_trials(journal.path.parent) == ([RECORDS[1], success, RECORDS[3]], [made.failure(0, attempt=3)])


def test_rounds_of_one_trial_stand_beside_each_other(tmp_path: Path) -> None:
    early, late = [made.record(index, stopped=True) for index in range(3)], made.record(1, attempt=2, round=2)
    middle, failed = made.record(1, stopped=True, round=1), made.failure(2, round=1)
    journal, replaced = trials(tmp_path), made.record(1, attempt=5, stopped=True, round=1)
    written: list[Record | Failure] = [late, failed, *reversed(early), replaced, middle]
    for entry in written:
        journal.append(entry)
    assert read_rounds(tmp_path) == ([early[0], early[1], middle, late, early[2]], [failed])
    assert read_trials(tmp_path) == ([early[0], late], [failed])
    journal.append(made.failure(2))  # takes the place of that round's record alone
    assert read_rounds(tmp_path) == ([early[0], early[1], middle, late], [made.failure(2), failed])
    assert read_trials(tmp_path) == ([early[0], late], [failed])
    journal.mend()
    assert [(entry.index, entry.round) for entry in journal.read()] == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]


def test_only_what_is_wanted_is_left(journal: Journal[Record | Failure]) -> None:
    with journal.path.open("a") as file:
        file.write("damaged\n")
    journal.rewrite([RECORDS[2], RECORDS[0]])
    assert journal.read() == [RECORDS[0], RECORDS[2]]
    assert journal.damaged == []
    journal.append(RECORDS[4])
    assert journal.read() == [RECORDS[0], RECORDS[2], RECORDS[4]]
    assert [*journal.path.parent.iterdir()] == [journal.path]


def signed(content: dict[str, Any]) -> str:
    return json.dumps(content | {"crc32": checksum(content)}) + "\n"


WHOLE = {"format": FORMAT, **to_json(made.record(0))}


@pytest.mark.parametrize(
    "content",
    [
        WHOLE | {"format": FORMAT - 1},
        WHOLE | {"format": FORMAT + 1},
        {name: value for name, value in WHOLE.items() if name != "format"},
        {name: value for name, value in WHOLE.items() if name != "mean_log"},
        WHOLE | {"more": 1},
        WHOLE | {"mean_log": None},
        WHOLE | {"config": WHOLE["config"] | {"gamma": 7.0}},
        {"format": FORMAT, **to_json(made.replay(0))},
        {},
    ],
    ids=["earlier format", "later format", "no format", "less", "more", "no number", "out of range", "another kind", "empty"],
)
def test_a_whole_line_of_anything_else_is_damaged(tmp_path: Path, content: dict[str, Any]) -> None:
    journal = trials(tmp_path)
    journal.path.write_text(signed(WHOLE) + signed(content))
    assert journal.read() == [made.record(0)]
    assert journal.damaged == [2]


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"1", b'"text"', b"\xff\xfe", b"{", b"[" * 100_000, b'{"crc32": 0}'])
def test_a_line_of_any_bytes_is_damaged(tmp_path: Path, line: bytes) -> None:
    journal = trials(tmp_path)
    journal.path.write_bytes(line + b"\n" + Journal.line(RECORDS[0]).encode())
    assert journal.read() == RECORDS[:1]
    assert journal.damaged == [1]


def test_numbers_that_json_has_not_are_never_written(tmp_path: Path) -> None:
    journal = trials(tmp_path)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            journal.append(made.record(0, exploitability=value))
    assert not journal.path.exists()
