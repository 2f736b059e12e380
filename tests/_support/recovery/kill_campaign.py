"""Rounds of requests that end in `kill -9`, and checks after each round."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random, SystemRandom

from tests._support.clients.api import Api, client_of
from tests._support.recovery.budget_state import set_budget, wait_for_settlement
from tests._support.recovery.installation import Installation
from tests._support.recovery.ledger import (
    Question,
    check,
    check_not_paid_twice,
    history,
    make_question,
)
from tests._support.servers.processes import Process

CLIENTS = 5
_MOST_TOKENS = 60_000  # of a run in the worst case: three answers of 7,000, two of them read again
FACTOR = float(os.environ.get("KILL_ROUNDS", "1"))

Kill = Callable[[Process, Random], None]


def rounds(count: int) -> range:
    """Return so many rounds, times the setting KILL_ROUNDS."""
    return range(max(1, round(count * FACTOR)))


def kill_all(process: Process, _rng: Random) -> None:
    process.crash()


def kill_a_worker(process: Process, rng: Random) -> None:
    os.kill(rng.choice(process.workers), signal.SIGKILL)


class Campaign:
    """Many rounds on one installation; the ledger of all of them."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self.installation = installation
        self.rng = Random(seed)
        self.questions: list[Question] = []
        self._unchecked: list[Question] = []

    async def round(self, service: Process, kill: Kill) -> None:
        """Ask, check what earlier rounds left, and kill in the midst of it."""
        async with client_of(service.url) as api, asyncio.TaskGroup() as group:
            asking = [group.create_task(self._client(api)) for _ in range(CLIENTS)]
            if self.rng.random() < 0.8:  # else the kill hits the recovery itself
                await self._check(api)
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            kill(service, self.rng)
            await asyncio.gather(*asking)

    async def finish(self, service: Process) -> None:
        """Check everything that was ever acknowledged."""
        async with client_of(service.url) as api:
            await self._check(api)
            for question in self.questions:
                await check(api, question)
                await check_not_paid_twice(api, question, self.installation.models)
            await self._check_history(api)
        await self._check_budget()

    async def _check_budget(self) -> None:
        """All runs are settled: with their usage, and the worst case of interrupted calls."""
        totals = await wait_for_settlement(self.installation.database_url)
        assert totals.reserved == 0
        unknown = totals.spent - totals.stored_tokens
        assert 0 <= unknown <= totals.interrupted * _MOST_TOKENS, totals

    async def _client(self, api: Api) -> None:
        """Act as clients do: read all, disconnect, reconnect, repeat or follow up a question."""
        rng, conversation = self.rng, f"conv-{self.rng.getrandbits(64):016x}"
        await asyncio.sleep(rng.uniform(0, 0.2))
        for turn in range(2):
            question = make_question(rng, len(self.questions), conversation if turn else None)
            self.questions.append(question)
            self._unchecked.append(question)
            patience = rng.choice([1, 3, 10, 1000, 1000, 1000])
            await question.ask(api, patience)
            if question.latest is None:
                return  # killed
            if rng.random() < 0.5 and not question.latest.ended:
                await question.follow(api)

    async def _check(self, api: Api) -> None:
        """Check what is due, and ask again about half of what has no whole answer."""
        due, self._unchecked = self._unchecked, []
        await asyncio.gather(*(check(api, question) for question in due if question.attempts))
        again = [each for each in due if self.rng.random() < 0.5]
        await asyncio.gather(*(question.ask(api) for question in again))
        await asyncio.gather(*(check(api, question) for question in again))

    async def _check_history(self, api: Api) -> None:
        """Every question that was acknowledged, or cost a call, is there exactly once."""
        counted = Counter(item["prompt"] for item in await history(api))
        for question in self.questions:
            is_known = bool(question.attempts or self.installation.models.of(question.text))
            assert counted[question.text] <= 1, question
            assert counted[question.text] == 1 or not is_known, question
        assert len(counted) <= len(self.questions)


@contextmanager
def campaign(installation: Installation) -> Iterator[Campaign]:
    """Start a campaign that reports its seed when it fails; set `KILL_SEED` to repeat one."""
    seed = int(os.environ.get("KILL_SEED") or SystemRandom().getrandbits(32))
    set_budget(installation)
    begun = Campaign(installation, seed)
    try:
        yield begun
    except BaseException as error:
        error.add_note(f"KILL_SEED={seed}, after {len(begun.questions)} questions")
        raise
