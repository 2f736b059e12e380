"""Observation of other workers: which of them have sent no heartbeat for too long.

A worker's heartbeat is a number that changes. The worker is stale when this one has seen the same
number for long enough, by its own monotonic clock and without a break. The times of two machines,
and those of the database, are never compared: any of these clocks can step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.runs.recovery.lease import BEATS_PER_LEASE, STALE_FACTOR
from service.store.workers import WorkerBeat

_LONGEST_BREAK = 2 / BEATS_PER_LEASE  # of a lease: two heartbeats


@dataclass(slots=True)
class _Sighting:
    beat: WorkerBeat
    since: float  # a time of the observer's clock


class Observation:
    """The heartbeats that this worker has seen. `lease_s` is the length of its own lease."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[str, _Sighting] = {}
        self._last_at: float | None = None

    def restart(self) -> None:
        """Forget all heartbeats: an observation has failed, and others may not have sent any."""
        self._last_at = None

    def find_stale(
        self, beats: Sequence[WorkerBeat], asked_at: float, answered_at: float
    ) -> list[WorkerBeat]:
        """Note heartbeats that were read from the database; return those that are too old.

        `asked_at` and `answered_at` are times of the clock before and after the read. A longer
        break since the read before starts the observation anew: this process was stopped, the
        machine asleep, or the database away.
        """
        if self._last_at is None or asked_at - self._last_at > self._lease_s * _LONGEST_BREAK:
            self._seen.clear()
        self._last_at = asked_at
        self._seen = {each.worker_id: self._find_sighting(each, answered_at) for each in beats}
        return [
            sighting.beat
            for sighting in self._seen.values()
            if asked_at - sighting.since >= STALE_FACTOR * self._get_lease_s(sighting.beat)
        ]

    def _find_sighting(self, beat: WorkerBeat, now: float) -> _Sighting:
        known = self._seen.get(beat.worker_id)
        return known if known is not None and known.beat == beat else _Sighting(beat, now)

    def _get_lease_s(self, beat: WorkerBeat) -> float:
        return beat.lease_s or self._lease_s
