"""Kill a search with SIGKILL at random times until it is finished, and see that it ends as if it had been left alone.

Each round starts the same search afresh, kills its driver after a random number of seconds, starts it again at
once, and so on until an attempt gets through. Its digest must be that of an undisturbed run, and nothing that a
killed attempt had started may live 15 seconds after the last one.
"""

from __future__ import annotations

import sys
import time

from benchmarks.common import arguments, show, write
from tests.support.chaos import chaos


def main() -> None:
    options = arguments(__doc__, rounds=20, seed=0)
    began = time.monotonic()
    expected, rows = chaos(options.rounds, options.seed)
    for row in rows:
        row["digest"] = "same" if row["digest"] == expected else row["digest"]
    write(options.json, show(f"Searches killed at random times, {time.monotonic() - began:.0f} s", rows))
    same, left = sum(row["digest"] == "same" for row in rows), sum(row["left behind"] for row in rows)
    print(f"{same} of {len(rows)} with the digest of an undisturbed search, {sum(row['kills'] for row in rows)} kills, "
          f"{left} processes left behind")  # fmt: skip
    if same < len(rows) or left:
        sys.exit(1)


if __name__ == "__main__":
    main()
