"""The folder of one search: whose it is, who holds it, and what in it is damaged."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tictactoe import files
from tictactoe.errors import UserError
from tictactoe.experiment.fingerprint import fingerprint
from tictactoe.experiment.journal import Journal
from tictactoe.experiment.results import is_whole, write_unfinished
from tictactoe.settings import Settings


class Folder:
    """The folder of one search, locked while this object holds it.

    Raises UserError when another process holds it, or another search's results are in it.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self._settings = settings
        path.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path)
        self._aside: Path | None = None
        """Where --fresh has moved earlier results."""
        if settings.fresh and any(child.name != "lock" for child in path.iterdir()):
            self._aside = _aside(path)
            path.rename(self._aside)
            self._lock.close()
            path.mkdir()
            self._lock = _lock(path)
            with suppress(FileNotFoundError):  # which the reaper of a killed run may still hold
                (self._aside / "lock.reaper").rename(path / "lock.reaper")
        self.notes: list[str] = []
        """What was found damaged and will be mended, in words."""
        known = self._identity()
        wanted = json.loads(json.dumps(fingerprint(settings)))
        if known["fingerprint"] != wanted:
            differing = sorted(k for k in {*known["fingerprint"], *wanted} if known["fingerprint"].get(k) != wanted.get(k))
            raise UserError(
                f"{path} holds a search with another {', '.join(differing)}; choose another --name, or --fresh to move it aside"
            )
        self.created: str = known["created"]
        """When the search was begun, in digits; with the name it tells it from all others."""
        self.notes += self._mended_journal() or self._damage()

    def _identity(self) -> dict[str, Any]:
        """What search.json says; written where it is not there, or where the folder's name says the same."""
        path = self.path / "search.json"
        known = files.read_json(path)
        if known is not None and {"fingerprint", "created"} <= known.keys():
            return known
        if path.exists() or (self.path / "journal.jsonl").exists():
            if self._settings.name is not None:
                raise UserError(f"{path}: missing or damaged; start over with --fresh, which keeps the old results aside")
            self.notes.append("search.json is missing or damaged: written again")
        known = {"fingerprint": fingerprint(self._settings), "created": datetime.now(UTC).strftime("%Y%m%d%H%M%S")}
        files.write(path, json.dumps(known, indent=1))
        return json.loads(json.dumps(known))

    def _mended_journal(self) -> list[str]:
        """Take damaged lines out of the journals, and name them."""
        found = []
        for name, lost in (("journal.jsonl", "its trial is run again"), ("fresh.jsonl", "its replicates are run again")):
            journal = Journal(self.path / name)
            whole = journal.read()
            if journal.damaged:
                files.write(journal.path, "".join(map(Journal.line, whole)))
            found += [f"{name}, line {number}, was damaged: {lost}" for number in journal.damaged]
        return found

    def _damage(self) -> list[str]:
        """What is damaged in the files of a finished search, and what will be done about it."""
        summary = self.summary()
        if summary is None or not is_whole(summary):
            return ["summary.json is damaged: written again"] if (self.path / "summary.json").exists() else []
        if summary.get("status") != "finished":
            return []
        wanted = summary.get("num_trials", 0) - summary.get("num_errors", 0)
        missing = wanted - len(Journal(self.path / "journal.jsonl").read())
        found = [f"journal.jsonl lacks {missing} trials: they are run again"] if missing else []
        damaged = [name for name, known in summary.get("files", {}).items() if files.sha256(self.path / name) != known]
        return found + [f"{name} is missing or damaged: written again" for name in damaged]

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether this search has been carried through, and its files are as they were written.

        One that a time budget has cut short goes on when it is given all the time it takes.
        """
        summary = self.summary() or {}
        cut = summary.get("truncated") and self._settings.time_budget is None
        return summary.get("status") == "finished" and not cut and not self._damage()

    @contextmanager
    def unfinished_until_written(self, interrupted: Callable[[], bool]) -> Iterator[None]:
        """summary.json says "interrupted" unless and until the results are written; "failed" after an error."""
        if self.finished:
            yield
            return
        write_unfinished(self.path, self._settings, "interrupted")
        try:
            yield
        except UserError:  # nothing has been run
            if self._aside is not None:
                shutil.rmtree(self.path)
                self._aside.rename(self.path)
            raise
        except Exception as error:
            with suppress(OSError):  # a full disk may be the reason; then it stays "interrupted"
                write_unfinished(self.path, self._settings, "interrupted" if interrupted() else "failed")
            if isinstance(error, OSError):
                place, reason = error.filename or self.path, error.strerror or error
                raise RuntimeError(
                    f"{place}: {reason}; what is finished is safe: mend that, then {self._settings.go_on}"
                ) from error
            raise

    def write_failed(self) -> None:
        """Say that the search has failed."""
        with suppress(OSError):
            write_unfinished(self.path, self._settings, "failed")

    def summary(self) -> dict[str, Any] | None:
        """summary.json, None where there is none that can be read."""
        return files.read_json(self.path / "summary.json")


def _lock(path: Path) -> IO[str]:
    file = (path / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), (path / "lock").stat()):  # moved aside by another just now
            raise BlockingIOError
    except BlockingIOError:
        file.close()
        raise UserError(f"{path} is in use by another search; wait for it, or choose another --name") from None
    except OSError as error:
        file.close()
        raise UserError(f"--results-dir: {path} cannot be locked ({error.strerror}); name another file system") from None
    return file


def _aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.old-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.old-{stamp}-{number}")
    return aside
