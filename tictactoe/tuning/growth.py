"""A Ray that grows by itself: how many slots its autoscaler is asked for, and what it says to that."""

from __future__ import annotations

import math

from ray.autoscaler.sdk import request_resources
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined]
from ray.experimental.internal_kv import internal_kv_get_gcs_client

STEP_SECONDS = 10.0
"""From a request until it is known whether it was refused: Ray's autoscaler looks every five."""
STATUS_SECONDS = 5.0
"""For the question what is refused."""
RETRY_SECONDS = 300.0
"""So often a slot more than fits is asked for: a cluster's bound may have been raised."""
MOST = 1000
"""Slots that are asked for at most: the autoscaler goes through all of them each time it looks."""


class Growth:
    """How many slots are to be asked for, step by step, so that a cluster grows as far as it may and is needed.

    Ray's autoscaler takes a request whole or not at all: of one that exceeds its bound it starts nothing. Nor does it tell its
    bound. So this asks for more and more, twice the step each time, until it is refused, and then for what is between: what
    was taken need not have joined yet. In the end it asks for just as many as there may be. Older autoscalers take what fits
    of a request, and refuse none.

    What is asked for keeps nodes, idle ones too, and not those that have work, which stay anyhow. So where nothing
    waits, this asks for nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = min(most, MOST)
        self._asked = 0
        """By the last request."""
        self._fits, self._refused = 0, math.inf
        """The largest request that was taken, and the smallest that was not."""
        self._step = 1
        self._tried_at = -math.inf

    def next(self, slots: int, is_short: bool, refused: int | None, now: float) -> int:
        """How many to ask for from `now` on, by the monotonic clock.

        `slots`: there are now; `is_short`: whether work waited for one since the last step; `refused`: the request that the
        autoscaler refuses, if any.
        """
        if refused is not None:
            self._refused, self._step = min(self._refused, refused), 1
            if self._fits >= self._refused:  # taken once, but not any more
                self._fits = 0
        elif self._asked > self._fits:
            self._fits, self._step = self._asked, 2 * self._step
        self._fits = max(self._fits, slots)
        self._refused = max(self._refused, self._fits + 1)
        self._asked = self._more(now) if is_short else 0
        return self._asked

    def _more(self, now: float) -> int:
        """More than fits, or as much where more was refused of late."""
        if self._refused > self._fits + 1:
            self._tried_at = now
        elif now - self._tried_at > RETRY_SECONDS:
            self._refused, self._tried_at = math.inf, now
        more = self._fits + self._step if self._refused == math.inf else (self._fits + self._refused) // 2
        # Where nothing fits it goes on asking: the autoscaler's own log then tells what is in want of a node.
        return int(max(1, min(more, self._most)))


def ask(slots: int, share: dict[str, float]) -> None:
    """Ask the autoscaler of the Ray that is up for so many slots, each with a share of its resources. It forgets others."""
    request_resources(bundles=[share] * slots)


def refused() -> int | None:
    """How many slots were asked for where the autoscaler of the Ray that is up refuses that; None where it does not."""
    status = GetClusterStatusReply.FromString(internal_kv_get_gcs_client().get_cluster_status(timeout_s=STATUS_SECONDS))
    for constraint in status.autoscaling_state.infeasible_cluster_resource_constraints:
        return sum(int(request.count) for request in constraint.resource_requests)
    return None
