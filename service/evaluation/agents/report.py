"""The report about the agents of ensembles, as JSON. No I/O.

Shares have Wilson's interval and percentiles their own, both at 95 %, as `low` and `high`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from service.evaluation.agents.decision import (
    PairComparison,
    compare_agents,
    count_changed,
    decide,
)
from service.evaluation.agents.parts import UNKNOWN_REASONS, find_main_basis
from service.evaluation.agents.sketch import PercentileSketch
from service.evaluation.agents.tally import AgentTally, EnsembleTally
from service.evaluation.statistics.intervals import wilson_interval
from service.store.feedback.records import FeedbackSums

Json = dict[str, Any]
_PERCENTS = (50, 95)


def make_report(since: datetime, until: datetime, ensembles: Iterable[EnsembleTally]) -> Json:
    """Return the report about runs that started in a time; the ensembles are sorted by name."""
    listed = sorted(ensembles, key=lambda each: each.name)
    return {
        "since": since.isoformat(timespec="seconds"),
        "until": until.isoformat(timespec="seconds"),
        "runs": sum(each.runs for each in listed),
        "ensembles": [_show_ensemble(each) for each in listed],
    }


def _show_ensemble(ensemble: EnsembleTally) -> Json:
    comparisons = compare_agents(ensemble)
    decision = decide(ensemble)
    return {
        "ensemble": ensemble.name,
        "strategies": dict(ensemble.strategies.most_common()),
        "runs": ensemble.runs,
        "failed_runs": ensemble.failed_runs,
        "answers": ensemble.answers,
        "cost": ensemble.cost_usd,
        "feedback": _show_feedback(ensemble.feedback),
        "agents": [
            {"agent": name, **_show_agent(name, each, ensemble, comparisons)}
            for name, each in sorted(ensemble.agents.items())
        ],
        "roles": [
            {"agent": name, **_show_calls(each, ensemble)}
            for name, each in sorted(ensemble.roles.items())
        ],
        "drop": {
            "agent": decision.agent,
            "reasons": list(decision.reasons),
            "text": decision.text,
            "runs": decision.runs,
        },
    }


def _show_agent(
    name: str, agent: AgentTally, ensemble: EnsembleTally, comparisons: list[PairComparison]
) -> Json:
    basis = find_main_basis(ensemble.bases)
    shown: Json = {
        **_show_calls(agent, ensemble),
        "part": {"basis": basis, **share(agent.has_part, agent.runs)},
        "without": _show_loss(agent, ensemble),
        "compared": [
            _show_comparison(name, each) for each in comparisons if name in (each.agent, each.other)
        ],
    }
    if ensemble.provenance_chars:
        total = ensemble.provenance_chars
        shown["provenance"] = {
            "chars": agent.chars,
            "share": agent.chars / total,
            "alone_chars": agent.alone_chars,
            "alone_share": agent.alone_chars / total,
        }
    if agent.ranked:
        shown["ranking"] = {
            "mean_score": agent.scores / agent.ranked,
            "first": share(agent.ranked_first, agent.ranked),
        }
    return shown


def _show_calls(agent: AgentTally, ensemble: EnsembleTally) -> Json:
    total = ensemble.cost_usd
    return {
        "models": [name for name, _ in agent.models.most_common()],
        "calls": agent.calls,
        "failed": share(agent.failed, agent.calls),
        "failures": {
            code: share(count, agent.calls) for code, count in agent.failures.most_common()
        },
        "retries": agent.retries,
        "hedges": agent.hedges,
        "calls_without_counts": agent.uncounted,
        "first_token_ms": _show_percentiles(agent.first_token_ms),
        "elapsed_ms": _show_percentiles(agent.elapsed_ms),
        "cost": agent.cost_usd,
        "wasted_cost": agent.wasted_usd,
        "cost_share": agent.cost_usd / total if total else None,
        "unpriced_calls": agent.unpriced,
        "feedback": _show_feedback(agent.feedback),
    }


def _show_loss(agent: AgentTally, ensemble: EnsembleTally) -> Json:
    """Return how the results would have changed without an agent."""
    changed = count_changed(agent)
    shown: Json = {
        "changed": share(changed.count, changed.known),
        "ties": agent.changes["tie"],
        "unknown": changed.unknown,
        "later": share(agent.late, agent.waits),
        "sooner_ms": _show_percentiles(agent.sooner_ms),
        "saved_cost_per_run": agent.cost_usd / ensemble.runs if ensemble.runs else None,
    }
    if changed.unknown:
        shown["unknown_reason"] = UNKNOWN_REASONS[find_main_basis(ensemble.bases, is_unknown=True)]
    return shown


def _show_comparison(name: str, comparison: PairComparison) -> Json:
    """Return a comparison as seen from one of its agents."""
    tally, difference = comparison.tally, comparison.difference
    low, high = difference.interval
    is_first = comparison.agent == name
    verdict = difference.verdict
    if not is_first and verdict != "no difference":
        verdict = "worse" if verdict == "better" else "better"
    return {
        "with": comparison.other if is_first else comparison.agent,
        "wins": tally.wins if is_first else tally.losses,
        "ties": tally.ties,
        "losses": tally.losses if is_first else tally.wins,
        "difference": difference.value if is_first else -difference.value,
        "low": low if is_first else -high,
        "high": high if is_first else -low,
        "p_corrected": difference.p_corrected,
        "verdict": verdict,
    }


def _show_feedback(sums: FeedbackSums) -> Json:
    """Return ratings; the mean of scores from 0 to 1 never varies more than a proportion."""
    low, high = wilson_interval(round(sums.score), sums.ratings)
    mean = sums.mean_score
    limits = {} if mean is None else {"low": min(low, mean), "high": max(high, mean)}
    return {"ratings": sums.ratings, "mean_score": mean, **limits, "preferred": sums.preferred}


def _show_percentiles(sketch: PercentileSketch) -> Mapping[str, Json]:
    found = {f"p{percent}": sketch.find(percent) for percent in _PERCENTS}
    return {
        name: {
            "value": round(each.value, 1),
            "low": round(each.interval.low, 1),
            "high": round(each.interval.high, 1),
        }
        for name, each in found.items()
        if each is not None
    }


def share(count: int, total: int) -> Json:
    """Return a count of a total with its share and interval; null for none of nothing."""
    low, high = wilson_interval(count, total)
    value = count / total if total else None
    return {"count": count, "total": total, "share": value, "low": low, "high": high}
