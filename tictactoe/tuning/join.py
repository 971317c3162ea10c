"""`ray start`, but addresses are taken as they are given: of 127.0.0.1 Ray would make another one of this machine's."""

from __future__ import annotations

from ray._private import services
from ray.scripts.scripts import main

if __name__ == "__main__":
    services.resolve_ip_for_localhost = lambda host: host
    main()
