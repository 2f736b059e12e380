"""Two services that stop, continue, die and have clocks that step, in random order."""

from __future__ import annotations

import os
from random import SystemRandom

import pytest

from tests._support.recovery.installation import Installation
from tests._support.recovery.kill_campaign import FACTOR, rounds
from tests._support.recovery.pause_campaign import PauseCampaign

pytestmark = pytest.mark.timeout(300 + 600 * FACTOR)


@pytest.mark.parametrize("apart", [False, True], ids=["one machine", "two machines"])
async def test_a_run_has_one_end_whatever_stops_or_steps(
    installation: Installation, apart: bool
) -> None:
    seed = int(os.environ.get("KILL_SEED") or SystemRandom().getrandbits(32))
    campaign = PauseCampaign(installation, seed)
    try:
        for _ in rounds(1):
            await campaign.round(apart=apart)
    except BaseException as error:
        error.add_note(f"KILL_SEED={seed}")
        raise
    assert campaign.witnesses
