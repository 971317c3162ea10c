"""Disturb searches at random times until they are finished, and see that each ends as if it had been left alone.

`driver`: each round starts the same search afresh, kills its driver after a random number of seconds, starts it again at
once, and so on until an attempt gets through. Its digest must be that of an undisturbed run, and nothing that a
killed attempt had started may live 15 seconds after the last one.

`nodes`: the same of a search on several machines, all of which are processes on this one. Workers join it at random times. They
leave (`stop`), all of their processes are killed at once (`power off`), or their node of Ray alone (`raylet`). The head's
driver is killed, too, and started again. Its digest must be that of an undisturbed run on one machine. No worker may end by
itself; each must leave with 0 within 5 seconds after it is asked to, and nothing be left behind.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from benchmarks.common import parser, show, write
from tests.support.chaos import chaos
from tests.support.node_chaos import node_chaos

PARTS = {"driver": (chaos, "Searches killed"), "nodes": (node_chaos, "Searches on several machines disturbed")}


def main() -> None:
    commands = parser(__doc__, rounds=20, seed=0)
    commands.add_argument("--part", nargs="+", choices=PARTS, default=[*PARTS], help="default: both")
    options = commands.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without ending what was started
    tables, bad = [], 0
    for part in options.part:
        run, title = PARTS[part]
        began = time.monotonic()
        expected, rows = run(options.rounds, options.seed)
        for row in rows:
            row["digest"] = "same" if row["digest"] == expected else row["digest"]
        tables.append(show(f"{title} at random times, {time.monotonic() - began:.0f} s", rows))
        print(f"{sum(row['digest'] == 'same' for row in rows)} of {len(rows)} with the digest of an undisturbed search, "
              f"{sum(row['left behind'] for row in rows)} processes left behind")  # fmt: skip
        bad += sum(map(is_bad, rows))
    write(options.json, *tables)
    if bad:
        sys.exit(1)


def is_bad(row: dict[str, Any]) -> bool:
    """Whether a round did not end as it must."""
    return bool(row["digest"] != "same" or row["exit"] or row["left behind"] or row.get("wrong"))


if __name__ == "__main__":
    main()
