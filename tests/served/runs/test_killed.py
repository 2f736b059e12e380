"""`kill -9` at any moment: acknowledged data remains, nothing is duplicated or paid twice."""

from __future__ import annotations

import pytest

from tests._support.clients.worker_clients import wait_for_two_workers
from tests._support.recovery.installation import Installation
from tests._support.recovery.kill_campaign import FACTOR, campaign, kill_a_worker, kill_all, rounds

pytestmark = pytest.mark.timeout(300 + 600 * FACTOR)


async def test_acknowledged_data_survives_a_kill_at_any_moment(
    installation: Installation,
) -> None:
    with campaign(installation) as killing:
        for _ in rounds(3 if installation.is_postgres else 6):
            await killing.round(installation.serve(), kill_all)
        await killing.finish(installation.serve())


async def test_acknowledged_data_survives_the_kill_of_one_worker_of_two(
    installation: Installation,
) -> None:
    with campaign(installation) as killing:
        service = installation.serve("--workers", "2")
        for _ in rounds(2):
            await wait_for_two_workers(service)
            await killing.round(service, kill_a_worker)
        await killing.finish(service)


async def test_acknowledged_data_survives_the_kill_of_all_workers(
    installation: Installation,
) -> None:
    with campaign(installation) as killing:
        for _ in rounds(2):
            service = installation.serve("--workers", "2")
            await wait_for_two_workers(service)
            await killing.round(service, kill_all)
        await killing.finish(installation.serve("--workers", "2"))
