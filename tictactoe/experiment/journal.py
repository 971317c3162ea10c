"""The journal of finished trials: the only truth that a search resumes from."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from tictactoe import files


class Journal:
    """Finished trials, one JSON line each, on disk before anybody hears of them.

    A line carries a CRC-32 of the rest of it. Reading leaves out damaged lines and names them: their trials
    are as good as never run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: list[int] = []
        """Numbers of the lines that the last `read` could not use, the first being 1."""

    def read(self) -> list[dict[str, Any]]:
        """All whole records, in index order."""
        self.damaged = []
        records = {}
        for number, line in enumerate(self.path.read_bytes().splitlines() if self.path.exists() else [], start=1):
            try:
                record = json.loads(line)
                if record.pop("crc32") != checksum(record):
                    raise ValueError("checksum")
                records[int(record["index"])] = record
            except (ValueError, TypeError, KeyError, AttributeError):
                self.damaged.append(number)
        return [records[index] for index in sorted(records)]

    @staticmethod
    def line(record: dict[str, Any]) -> str:
        """A record as it stands in the file."""
        return json.dumps(record | {"crc32": checksum(record)}, allow_nan=False) + "\n"

    def append(self, record: dict[str, Any]) -> None:
        """Write one record through to the disk. Raises OSError; then nothing but a damaged line is left behind."""
        files.append(self.path, self.line(record))


def checksum(record: dict[str, Any]) -> int:
    """CRC-32 of a record's canonical JSON."""
    return zlib.crc32(json.dumps(record, sort_keys=True, allow_nan=False).encode())
