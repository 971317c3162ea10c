"""A Ray that runs already: a search that joins it is spared the start of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.program import clean_environment

# It ends with whoever holds the other end of its input, however that one ends.
KEEP = """
import ray, sys
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=10**8, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def running_ray(**variables: str) -> Iterator[dict[str, str]]:
    """Keep a Ray of two CPUs, started with these variables; yields those with which the program joins it."""
    with tempfile.TemporaryDirectory(prefix="t") as temporary:  # with a short name, for Ray's sockets
        own = {"RAY_TMPDIR": temporary, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_prestart_worker_first_driver": "0"}
        with subprocess.Popen(
            [sys.executable, "-c", KEEP], env=clean_environment(Path(temporary), **own, **variables),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as keeper:  # fmt: skip
            assert keeper.stdout is not None
            address = keeper.stdout.readline().strip()
            assert address
            yield {"RAY_ADDRESS": address} | variables
