"""A journal: one line a record, on the disk before anybody hears of it. Of trials it is the only truth to resume from."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tictactoe import files
from tictactoe.experiment.record import (
    FORMAT,
    Failure,
    NodeEvent,
    Record,
    Replay,
    by_kind,
    from_json,
    latest,
    names,
    required,
    to_json,
)


class Entry(Protocol):
    """What a journal holds: a dataclass that has a number, and a `round` where one number comes in several."""

    @property
    def index(self) -> int: ...


E = TypeVar("E", bound=Entry)


class Journal(Generic[E]):
    """Records of some kinds, one JSON line each; of two with the same index and round the later one counts.

    A line carries the format of its record and a CRC-32 of the rest of it. Reading leaves out damaged lines and names them:
    their records are as good as never made.
    """

    def __init__(self, path: Path, *kinds: type[E]) -> None:
        self.path = path
        self._kinds = [(kind, set(required(kind)), set(names(kind))) for kind in kinds]
        self.damaged: list[int] = []
        """Numbers of the lines that the last `read` could not use, the first being 1."""

    def read(self) -> list[E]:
        """All whole records, in the order of index and round."""
        self.damaged = []
        records: dict[tuple[int, int], E] = {}
        for number, line in enumerate(self.path.read_bytes().splitlines() if self.path.exists() else [], start=1):
            try:
                record = self._parse(line)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self.damaged.append(number)
            else:
                records[record.index, getattr(record, "round", 0)] = record
        return [records[key] for key in sorted(records)]

    def append(self, *records: E) -> None:
        """Write records through to the disk. Raises OSError; then nothing but a damaged line is left behind."""
        files.append(self.path, "".join(map(self.line, records)))

    def mend(self) -> None:
        """Take the damaged lines out of the file."""
        self.rewrite(self.read())

    def rewrite(self, records: Sequence[E]) -> None:
        """Leave these records in the file, and no others."""
        files.write(self.path, "".join(map(self.line, records)))

    @staticmethod
    def line(record: Entry) -> str:
        """A record as it stands in the file."""
        content = {"format": FORMAT, "index": record.index, **to_json(record)}
        return json.dumps(content | {"crc32": checksum(content)}, allow_nan=False) + "\n"

    def _parse(self, line: bytes) -> E:
        """The record of a line. Raises one of several errors where it is damaged."""
        content = json.loads(line)
        if content.pop("crc32") != checksum(content) or content.pop("format") != FORMAT:
            raise ValueError("checksum or format")
        for kind, needed, known in self._kinds:
            if needed <= content.keys() <= known:
                return from_json(kind, content)
        raise ValueError("fields of no kind that this journal holds")


def trials(folder: Path) -> Journal[Record | Failure]:
    """The journal of a search's trials, finished and failed."""
    return Journal(folder / "journal.jsonl", Record, Failure)


def replays(folder: Path) -> Journal[Replay]:
    """The journal of replicates on seeds of the race and of the confirmation."""
    return Journal(folder / "fresh.jsonl", Replay)


def nodes(folder: Path) -> Journal[NodeEvent]:
    """The journal of nodes that joined a search and were lost."""
    return Journal(folder / "nodes.jsonl", NodeEvent)


def read_trials(folder: Path) -> tuple[list[Record], list[Failure]]:
    """The finished and the failed trials of a search, each in index order, and each by its latest round."""
    return latest(trials(folder).read())


def read_rounds(folder: Path) -> tuple[list[Record], list[Failure]]:
    """All rounds of the trials of a search, finished and failed, each in the order of index and round."""
    return by_kind(trials(folder).read())


def checksum(content: dict[str, Any]) -> int:
    """CRC-32 of an object's canonical JSON."""
    return zlib.crc32(json.dumps(content, sort_keys=True, allow_nan=False).encode())
