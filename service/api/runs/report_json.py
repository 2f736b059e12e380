"""Reports of agents, and their token counts, as JSON."""

from __future__ import annotations

from typing import Any

from service.domain import AgentReport, Usage


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return the token counts as JSON; `estimated` is present only when true."""
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }
    return {**counts, "estimated": True} if usage.estimated else counts


def report_json(report: AgentReport) -> dict[str, Any]:
    """Return an agent's report without its text: usage, cost in US dollars, times in ms.

    `finish_reason` when its model's server has sent one. `reused` only when it is so: then the
    times are those of the run that was paid. `left_out` only when parameters were left out.
    """
    account: dict[str, Any] = {
        "usage": usage_json(report.usage),
        "cost": report.cost,
        "elapsed_ms": report.elapsed_ms,
        "first_token_ms": report.first_token_ms,
    }
    if report.left_out:
        account["left_out"] = report.left_out
    if report.finish_reason:
        account["finish_reason"] = report.finish_reason
    return {**account, "reused": True} if report.reused else account
