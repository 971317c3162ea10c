"""The folder of one search: whose it is, who holds it, and what in it is damaged."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tictactoe import files
from tictactoe.errors import UserError
from tictactoe.experiment import journal, summary
from tictactoe.experiment.fingerprint import fingerprint
from tictactoe.experiment.record import FORMAT, latest
from tictactoe.experiment.results import all_failed, unfinished, write_unfinished
from tictactoe.experiment.summary import Summary, Unfinished
from tictactoe.settings import Settings
from tictactoe.text import count

LOOKS, LOOK_SECONDS = 3, 0.02
"""So often, and so long apart, a lock is tried that somebody may hold who only looks whether it is held."""
REMEDY = "choose another --name, or --fresh to move it aside"


class Folder:
    """The folder of one search, locked while this object holds it.

    Raises UserError when another process holds it, or another search's results are in it.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self._settings = settings
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UserError(f"{path} is a file, not a folder; choose another --name, or move it away") from None
        self._lock = _lock(path)
        self._aside: Path | None = None
        """Where --fresh has moved earlier results."""
        if settings.fresh and any(child.name != "lock" for child in path.iterdir()):
            self._move_aside()
        self.notes: list[str] = []
        """What is damaged and will be mended, in words."""
        try:
            self.created = self._identify()
            """When the search was begun, in digits; with the name it tells it from all others."""
            self._look()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def require_hope(self) -> None:
        """Raise RuntimeError where all trials have failed, and none is to be run again."""
        if len(self._failures) == self._settings.num_samples and all(self._final):
            raise RuntimeError(all_failed(self._failures))

    @contextmanager
    def unfinished_until_written(self, interrupted: Callable[[], bool]) -> Iterator[None]:
        """summary.json says "interrupted" unless and until the results are written; "failed" after an error."""
        if self.finished:
            yield
            return
        summary.write(self.path, unfinished(self._settings, self._num_finished, self._failures, False, "interrupted"))
        try:
            yield
        except UserError:  # nothing has been run
            if self._aside is not None:
                shutil.rmtree(self.path)
                self._aside.rename(self.path)
            raise
        except Exception as error:
            if interrupted():
                with suppress(OSError):
                    write_unfinished(self.path, self._settings, "interrupted")
            else:
                self.write_failed()
            if isinstance(error, OSError):
                place, reason = error.filename or self.path, error.strerror or error
                raise RuntimeError(
                    f"{place}: {reason}; what is finished is safe: mend that, then {self._settings.go_on}"
                ) from error
            raise

    def write_failed(self) -> None:
        """Say in summary.json that the search has failed, where it can be written: a full disk may be the reason."""
        with suppress(OSError):
            write_unfinished(self.path, self._settings, "failed")

    def _move_aside(self) -> None:
        """Move earlier results to NAME.old-TIME, and begin with an empty folder."""
        self._aside = _free_name(self.path)
        self.path.rename(self._aside)
        self._lock.close()
        self.path.mkdir(exist_ok=True)  # another process may have begun there just now: then it holds the lock
        self._lock = _lock(self.path)
        with suppress(FileNotFoundError):  # which the reaper of a killed run may still hold
            (self._aside / "lock.reaper").rename(self.path / "lock.reaper")

    def _identify(self) -> str:
        """When the search was begun. Raises UserError where the folder is another search's.

        search.json is written where it is not there, or is damaged while the folder's name says what it would say.
        """
        path = self.path / "search.json"
        wanted: dict[str, Any] = json.loads(json.dumps(fingerprint(self._settings)))
        there = files.read_json(path)
        if there is not None and there.get("format", 1) != FORMAT:
            raise UserError(f"{self.path} holds a search of another version of this program; {REMEDY}")
        if there is not None and there.pop("crc32", None) == journal.checksum(there):
            if there["fingerprint"] != wanted:
                other = there["fingerprint"]
                differing = sorted(name for name in {*other, *wanted} if other.get(name) != wanted.get(name))
                raise UserError(f"{self.path} holds a search with another {', '.join(differing)}; {REMEDY}")
            return str(there["created"])
        if path.exists() or (self.path / "journal.jsonl").exists():
            if self._settings.name is not None:
                raise UserError(f"{path}: missing or damaged; start over with --fresh, which keeps the old results aside")
            self.notes.append("search.json is missing or damaged: written again")
        created = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        content = {"format": FORMAT, "fingerprint": wanted, "created": created}
        files.write(path, json.dumps(content | {"crc32": journal.checksum(content)}, indent=1))
        return created

    def _look(self) -> None:
        """See how far the search is. Large journals take their time to read, so this is done once."""
        trials, fresh, nodes = journal.trials(self.path), journal.replays(self.path), journal.nodes(self.path)
        entries = trials.read()
        lines = _mend(trials, "its trial is run again")
        fresh.read()
        lines += _mend(fresh, "its replicates are run again")
        nodes.read()
        lines += _mend(nodes, "when a node joined or was lost is not known")
        content = summary.read(self.path)
        damage = self._damage(content, len(entries))
        self.notes += lines or damage
        finished, self._failures = latest(entries)
        self._num_finished = len(finished)
        self._final = [failure.is_final(self._settings) for failure in self._failures]
        self.finished = isinstance(content, Summary) and not damage and all(self._final) and not self._has_more_time(content)
        """Whether this search had been carried through when it was opened, and its files were as they were written.

        One that a time budget has cut short goes on when it is given a larger one or none, and one with failed trials when
        they are to be run again.
        """

    def _has_more_time(self, content: Summary) -> bool:
        """Whether a time budget has cut the search short, and it now has a larger one or none."""
        before, now = content.settings.time_budget, self._settings.time_budget
        return content.truncated and (now is None or (before is not None and now > before))

    def _damage(self, content: Summary | Unfinished | None, entries: int) -> list[str]:
        """What is damaged in the files of a finished search with so many journal entries, and what will be done about it."""
        if content is None:
            return ["summary.json is damaged: written again"] if (self.path / summary.FILE).exists() else []
        if not isinstance(content, Summary):
            return []
        missing = sum(one.trials for one in content.rounds) + content.num_errors - entries
        notes = [f"journal.jsonl lacks {count(missing, 'trial')}: run again"] if missing > 0 else []
        damaged = [name for name, digest in content.files.items() if files.sha256(self.path / name) != digest]
        return notes + [f"{name} is missing or damaged: written again" for name in damaged]


def _mend(entries: journal.Journal[Any], lost: str) -> list[str]:
    """Take the lines out of a journal that were damaged when it was read, and name them."""
    damaged = entries.damaged
    if damaged:
        entries.mend()
    return [f"{entries.path.name}, line {number}, was damaged: {lost}" for number in damaged]


def in_use_since(path: Path) -> float | None:
    """When the search that has the folder at the moment took it, in seconds since 1970; None where none has."""
    with suppress(OSError), (path / "lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.fstat(file.fileno()).st_mtime
    return None


def _take(file: IO[str]) -> None:
    """Lock a file. Raises BlockingIOError where another search has it: who but looks has it for no time."""
    for _ in range(LOOKS):
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(LOOK_SECONDS)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(path: Path) -> IO[str]:
    try:
        file = (path / "lock").open("a")
    except OSError as error:
        raise UserError(
            f"{path} cannot be written to ({error.strerror}); run as the user it belongs to, or choose another --name"
        ) from None
    try:
        _take(file)
        if not os.path.samestat(os.fstat(file.fileno()), (path / "lock").stat()):  # moved aside by another just now
            raise BlockingIOError
        os.utime(file.fileno())  # when it was taken, which who is refused leaves as it is
    except BlockingIOError:
        file.close()
        raise UserError(f"{path} is in use by another search; wait for it, or choose another --name") from None
    except OSError as error:
        file.close()
        raise UserError(f"--results-dir: {path} cannot be locked ({error.strerror}); name another file system") from None
    return file


def _free_name(path: Path) -> Path:
    """NAME.old-TIME, with a number where that is taken."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside, number = path.with_name(f"{path.name}.old-{stamp}"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.old-{stamp}-{number}")
    return aside
