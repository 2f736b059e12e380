"""The report as JSON, with everything that the other forms show, and every answer.

`schema` is the version of its structure: it changes when a field changes its meaning or is removed.
docs/evaluation.md describes the fields.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from service.evaluation.comparing.outcomes import Results
from service.evaluation.comparing.tables import Comparison, compare_contestants
from service.evaluation.reports.standings import Spread, Standing, make_standings
from service.evaluation.results import Evaluation
from service.evaluation.statistics.judge_biases import JudgeBiases, Share, measure_biases

SCHEMA = 1


def make_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the report as a JSON object."""
    results = Results(evaluation)
    return {
        "schema": SCHEMA,
        "inputs": msgspec.to_builtins(evaluation.inputs),
        "stopped": evaluation.stopped,
        "spent_usd": evaluation.spent_usd,
        "requests": {"sent": evaluation.sent, "reused": evaluation.reused},
        "notes": list(evaluation.notes),
        "contestants": [_describe_standing(each) for each in make_standings(evaluation)],
        "comparisons": {
            table.name: [_describe_comparison(results, row) for row in table.rows]
            for table in compare_contestants(evaluation)
        },
        "judge": _describe_judge(evaluation) if evaluation.pairs else None,
        "questions": msgspec.to_builtins(evaluation.questions),
        "answers": msgspec.to_builtins(evaluation.answers),
        "pairs": [
            {**msgspec.to_builtins(each), "outcome": each.outcome} for each in evaluation.pairs
        ],
    }


def write_json(evaluation: Evaluation) -> str:
    """Return the report as indented JSON in ASCII, which is harmless in a terminal."""
    return json.dumps(make_document(evaluation), indent=2, allow_nan=False) + "\n"


def _describe_standing(standing: Standing) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(standing.contestant),
        "answered": standing.answered,
        "right": _describe_share(standing.right),
        "undecided": standing.undecided,
        "failed": standing.failed,
        "judged": standing.judged,
        "cost_usd": {"mean": standing.mean_cost_usd, "total": standing.total_cost_usd},
        "tokens": {
            "mean_input": standing.mean_input_tokens,
            "mean_output": standing.mean_output_tokens,
        },
        "first_token_ms": _describe_spread(standing.first_token_ms),
        "total_ms": _describe_spread(standing.total_ms),
    }


def _describe_spread(spread: Spread) -> dict[str, float | None]:
    return {"p50": spread.p50, "p95": spread.p95}


def _describe_share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {
        "count": share.count,
        "total": share.total,
        "share": share.value,
        "low": low,
        "high": high,
    }


def _describe_comparison(results: Results, row: Comparison) -> dict[str, Any]:
    difference = row.difference
    return {
        "contestant": row.contestant,
        "opponent": row.opponent,
        "wins": row.tally.wins,
        "ties": row.tally.ties,
        "losses": row.tally.losses,
        "undecided": row.tally.undecided,
        "difference": difference.value,
        "low": difference.interval.low,
        "high": difference.interval.high,
        "p": difference.p,
        "p_corrected": difference.p_corrected,
        "verdict": difference.verdict,
        "meetings": [
            {
                "question_id": each.question.id,
                "opponent": each.opponent,
                "outcome": each.outcome,
                "run_ids": [
                    answer.run_id
                    for name in (row.contestant, each.opponent)
                    if (answer := results.find_answer(name, each.question)) and answer.run_id
                ],
            }
            for each in row.meetings
        ],
    }


def _describe_judge(evaluation: Evaluation) -> dict[str, Any]:
    biases: JudgeBiases = measure_biases(evaluation)
    return {
        "name": evaluation.inputs.judge,
        "model": evaluation.inputs.judge_model,
        "family": biases.family,
        "pairs": biases.pairs,
        "undecided": biases.undecided,
        "repeated": biases.repeated,
        "orders_differ": _describe_share(biases.orders_differ),
        "first_won": _describe_share(biases.first_won),
        "longer_won": _describe_share(biases.longer_won),
        "own_family_won": _describe_share(biases.own_family_won),
    }
