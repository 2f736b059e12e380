"""The command `agents`: what each agent of an ensemble contributes, and which one to drop."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from service.cli.administration.accounts import AccountTools
from service.cli.output import CommandOutput, escape_text, make_table
from service.evaluation.agents.report import make_report
from service.evaluation.agents.tally import EnsembleTally, add_run
from service.store.accounts.users import UserStore
from service.store.agents.reader import AgentRunReader
from service.store.agents.records import RunFilter

_CALL_COLUMNS = (
    "agent", "calls", "failed", "retries", "hedges", "first_token_s", "total_s", "total_p95_s",
    "cost_usd", "wasted_usd", "score", "preferred",
)  # fmt: skip
_PART_COLUMNS = (
    "agent", "has_part", "text_share", "alone", "mean_rank_score", "changed_without", "not_known",
    "alone_late", "sooner_s", "saved_usd_per_run",
)  # fmt: skip
_NOTE = (
    "Shares, times and scores are followed by their intervals at 95 %. docs/agents.md explains the "
    "columns."
)

Json = Mapping[str, Any]


async def run_agents(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    """Return the report, by default of all users in the last 30 days. Raises StorageUnavailable."""
    now = datetime.now(UTC)
    since = options.since
    if isinstance(since, timedelta):
        since = max(now - since, datetime(1970, 1, 1, tzinfo=UTC))
    wanted = RunFilter(
        since=since, ensemble=options.ensemble, owner=await _find_owner(options.user, tools)
    )
    reader = AgentRunReader(tools.database, wanted)
    ensembles: dict[str, EnsembleTally] = {}
    while part := await reader.read_part():
        for run in part:
            add_run(ensembles, run)
    report = make_report(since, now, ensembles.values())
    data = {**report, "ensemble": options.ensemble, "user": options.user}
    return CommandOutput("\n\n".join(_describe(report)), data, _NOTE if ensembles else "")


async def _find_owner(user: str | None, tools: AccountTools) -> str | None:
    """Return the id of a user by id or name; None stands for all users."""
    if user is None:
        return None
    found = await UserStore(tools.database).find_by_name(user)
    return found.id if found else user


def _describe(report: Json) -> Iterator[str]:
    """Yield the paragraphs of the report for a terminal."""
    if not report["ensembles"]:
        yield f"No run has ended since {report['since']}."
    for ensemble in report["ensembles"]:
        strategies = ", ".join(name or "unknown" for name in ensemble["strategies"])
        yield escape_text(
            f"{ensemble['ensemble']} ({strategies}): {ensemble['runs']} runs, "
            f"{ensemble['failed_runs']} without an answer; {_format_feedback(ensemble['feedback'])}"
        )
        called = [*ensemble["agents"], *ensemble["roles"]]
        yield make_table(_CALL_COLUMNS, [_make_call_row(each) for each in called], "No calls.")
        if failures := [*_list_failures(called)]:
            yield make_table(("agent", "failure", "share"), failures, "")
        if ensemble["agents"]:
            rows = [_make_part_row(each) for each in ensemble["agents"]]
            yield make_table(_PART_COLUMNS, rows, "")
        yield from _explain_unknown(ensemble["agents"])
        yield escape_text(ensemble["drop"]["text"])


def _make_call_row(agent: Json) -> dict[str, Any]:
    uncounted = agent["calls_without_counts"]
    return {
        "agent": agent["agent"],
        "calls": agent["calls"],
        "failed": _format_share(agent["failed"]),
        "retries": f"{agent['retries']}{'+' if uncounted else ''}",
        "hedges": f"{agent['hedges']}{'+' if uncounted else ''}",
        "first_token_s": _format_seconds(agent["first_token_ms"], "p50"),
        "total_s": _format_seconds(agent["elapsed_ms"], "p50"),
        "total_p95_s": _format_seconds(agent["elapsed_ms"], "p95"),
        "cost_usd": _format_money(agent["cost"], agent),
        "wasted_usd": _format_money(agent["wasted_cost"], agent),
        "score": _format_score(agent["feedback"]),
        "preferred": agent["feedback"]["preferred"],
    }


def _make_part_row(agent: Json) -> dict[str, Any]:
    without, provenance = agent["without"], agent.get("provenance")
    return {
        "agent": agent["agent"],
        "has_part": _format_share(agent["part"]),
        "text_share": f"{provenance['share']:.0%}" if provenance else None,
        "alone": f"{provenance['alone_share']:.0%}" if provenance else None,
        "mean_rank_score": f"{agent['ranking']['mean_score']:.2f}" if "ranking" in agent else None,
        "changed_without": _format_share(without["changed"]),
        "not_known": without["unknown"],
        "alone_late": _format_share(without["later"]),
        "sooner_s": _format_seconds(without["sooner_ms"], "p50"),
        "saved_usd_per_run": _format_money(without["saved_cost_per_run"] or 0.0, agent),
    }


def _list_failures(agents: Sequence[Json]) -> Iterator[dict[str, Any]]:
    for agent in agents:
        for code, share in agent["failures"].items():
            yield {"agent": agent["agent"], "failure": code, "share": _format_share(share)}


def _explain_unknown(agents: Sequence[Json]) -> Iterator[str]:
    """Yield the reason why the effect of dropping an agent is not known, once."""
    reasons = {each["without"].get("unknown_reason") for each in agents} - {None}
    for reason in sorted(reasons):
        yield f"Not known: {reason}."


def _format_share(share: Json) -> str | None:
    if share["share"] is None:
        return None
    limits = f"{share['low']:.0%}-{share['high']:.0%}"
    return f"{share['count']}/{share['total']} ({limits})"


def _format_seconds(percentiles: Json, name: str) -> str | None:
    found = percentiles.get(name)
    if found is None:
        return None
    value, low, high = (found[each] / 1000 for each in ("value", "low", "high"))
    return f"{value:.2f} ({low:.2f}-{high:.2f})"


def _format_money(value: float, agent: Json) -> str | None:
    """Return an amount; None where no call has a price."""
    is_priced = agent["calls"] > agent["unpriced_calls"]
    return f"{value:.6f}" if is_priced else None


def _format_score(feedback: Json) -> str | None:
    if feedback["mean_score"] is None:
        return None
    limits = f"{feedback['low']:.2f}-{feedback['high']:.2f}"
    return f"{feedback['mean_score']:.2f} ({limits}, n={feedback['ratings']})"


def _format_feedback(feedback: Json) -> str:
    score = _format_score(feedback)
    return f"ratings of answers: {score}" if score else "no ratings of answers"
