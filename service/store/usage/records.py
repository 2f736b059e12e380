"""Records of usage: the share of each agent of a run, and sums of many shares. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from operator import add
from typing import NamedTuple

from service.domain import Usage
from service.store.budgets.units import NANO_PER_USD


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageShare:
    """The usage of one agent of a run; agent "" has the run itself, and what no agent reported.

    `cost_usd` is None when the model has no price. A share is wasted when it led to no answer: the
    run was cancelled or failed, or the agent failed or was cut off.
    """

    agent: str
    model: str
    usage: Usage
    cost_usd: float | None
    is_wasted: bool = False


class UsageSums(NamedTuple):
    """Sums of shares. Costs are in billionths of a US dollar.

    `runs` counts runs, `calls` agents of runs, `unpriced` those whose model has no price.
    """

    runs: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0
    wasted_nano: int = 0
    unpriced: int = 0

    @staticmethod
    def of_share(share: UsageShare) -> UsageSums:
        """Return the sums of one share, of an agent or with agent "" of the run itself."""
        cost = round((share.cost_usd or 0.0) * NANO_PER_USD)
        is_agent = bool(share.agent)
        return UsageSums(
            runs=int(not is_agent),
            calls=int(is_agent),
            input_tokens=share.usage.input_tokens,
            output_tokens=share.usage.output_tokens,
            cached_tokens=share.usage.cached_tokens,
            reasoning_tokens=share.usage.reasoning_tokens,
            cost_nano=cost,
            wasted_nano=cost if share.is_wasted else 0,
            unpriced=int(is_agent and share.cost_usd is None),
        )

    def plus(self, other: UsageSums) -> UsageSums:
        """Return the sums of both."""
        return UsageSums(*map(add, self, other))


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The sums of one group, and its value of each dimension in the order of the query."""

    values: tuple[str, ...]
    sums: UsageSums
