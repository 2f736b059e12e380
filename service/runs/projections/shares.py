"""The usage of a run by agent, for the sums of usage. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from service.domain import Usage
from service.runs.projections.summary import RunSummary
from service.store.usage.records import UsageShare


def make_shares(run: RunSummary) -> tuple[UsageShare, ...]:
    """Return the share of each agent of an ended run, and that of the run itself.

    The latter has the usage that no agent reports. Reused answers belong to an earlier run.
    """
    shares = tuple(_make_agent_shares(run))
    usage, cost = run.usage, run.cost or 0.0
    for share in shares:
        usage = _subtract(usage, share.usage)
        cost -= share.cost_usd or 0.0
    is_wasted = run.state != "completed"
    rest = UsageShare(agent="", model="", usage=usage, cost_usd=max(0.0, cost), is_wasted=is_wasted)
    return (*shares, rest)


def _make_agent_shares(run: RunSummary) -> Iterator[UsageShare]:
    for agent in run.agents.values():
        report = agent.report
        if report and not report.reused:
            yield UsageShare(
                agent=report.agent,
                model=report.model,
                usage=report.usage,
                cost_usd=report.cost,
                is_wasted=run.state != "completed" or agent.state != "answered",
            )


def _subtract(total: Usage, part: Usage) -> Usage:
    return Usage(
        max(0, total.input_tokens - part.input_tokens),
        max(0, total.output_tokens - part.output_tokens),
        max(0, total.cached_tokens - part.cached_tokens),
        max(0, total.reasoning_tokens - part.reasoning_tokens),
    )
