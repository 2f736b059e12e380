"""Rounds in which two services on one database stop, continue, die and have clocks that step."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from random import Random

import httpx

from tests._support.clients.api import Api, client_of, follow
from tests._support.recovery.installation import Installation
from tests._support.recovery.observers import QUICK_LEASE
from tests._support.recovery.witness import Witness
from tests._support.servers.faketime import SteppingClock
from tests._support.servers.processes import Process

_CLIENTS = 3  # of each service
_ENSEMBLES = ("steady", "long", "endless")


class PauseCampaign:
    """Rounds on one installation, and what the clients of all rounds have received."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self.installation = installation
        self.rng = Random(seed)
        self.witnesses: list[Witness] = []
        self._round = 0

    async def round(self, *, apart: bool) -> None:
        """Ask both services, disturb them, and check both; `apart`: each has a spool folder."""
        self._round += 1
        clock = SteppingClock(
            self.installation.folder / f"clock-{self._round}",
            with_monotonic=self.rng.random() < 0.5,
        )
        one = self._serve("one", apart=apart, more=clock.settings)
        other = self._serve("other", apart=apart)
        witnesses = [Witness() for _ in range(2 * _CLIENTS)]
        async with client_of(one.url) as first, client_of(other.url) as second:
            async with asyncio.TaskGroup() as group:
                for number, witness in enumerate(witnesses):
                    here, there = (first, second) if number % 2 else (second, first)
                    group.create_task(self._watch(witness, here, there))
                group.create_task(self._disturb(one, clock))
            started = [witness for witness in witnesses if witness.run_id]
            await self._finish(started, one, second, apart=apart)
        self.witnesses += started
        for process in (one, other):
            process.end()

    def _serve(self, name: str, *, apart: bool, more: Mapping[str, str] | None = None) -> Process:
        spools = self.installation.folder / (f"spool-{name}" if apart else "spool")
        settings = {**QUICK_LEASE, "SPOOL_DIR": str(spools), **(more or {})}
        return self.installation.serve(**settings)

    async def _watch(self, witness: Witness, here: Api, there: Api) -> None:
        """Read a run where it was started, and at the other service behind some event."""
        with suppress(httpx.TransportError):
            async with here.asked(ensemble=self.rng.choice(_ENSEMBLES)) as response:
                events = follow(response)
                await witness.read(events, self.rng.randint(5, 60))
                address = f"/api/runs/{witness.run_id}/events?starting_after={witness.last_seq}"
                async with there.http.stream("GET", address) as second:
                    both = witness.read(events, 250), witness.read(follow(second), 250)
                    await asyncio.gather(*both)

    async def _disturb(self, process: Process, clock: SteppingClock) -> None:
        """Stop and continue the process, shorter or longer than others wait; step its clock."""
        await asyncio.sleep(self.rng.uniform(0.2, 1))
        for _ in range(2):
            clock.step(self.rng.choice([-40, 0, 60]))
            process.signal(signal.SIGSTOP)
            await asyncio.sleep(self.rng.choice([0.5, 5]))
            process.signal(signal.SIGCONT)
            await asyncio.sleep(self.rng.uniform(0, 1))
        if self.rng.random() < 0.5:
            process.crash()

    async def _finish(
        self, witnesses: list[Witness], one: Process, second: Api, *, apart: bool
    ) -> None:
        """Wait for the ends of all runs, with the first service started anew if it was killed."""
        if one.popen.poll() is not None:
            one = self._serve("one", apart=apart)
        async with client_of(one.url) as first:
            for witness in witnesses:
                await second.http.post(f"/api/runs/{witness.run_id}/cancel")
            for witness in witnesses:
                await second.ended(witness.run_id)
                await witness.check_soon(first)
                await witness.check_soon(second)
