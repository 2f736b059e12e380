"""The verdicts of an evaluation in sentences, with their intervals and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.evaluation.comparing.tables import Comparison, ComparisonTable, TableName
from service.evaluation.reports.figures import write_difference
from service.evaluation.reports.standings import Standing

OPPONENTS: Mapping[TableName, str] = {
    "best_member": "its best member",
    "equal_cost": "the same member at equal cost",
}
_VERDICTS = {
    "better": "is better than",
    "worse": "is worse than",
    "no difference": "shows no difference from",
}


def make_sentences(tables: Sequence[ComparisonTable], standings: Sequence[Standing]) -> list[str]:
    """Return one sentence for each comparison with members, then for ensembles."""
    costs = {each.contestant.name: each for each in standings}
    return [
        _make_sentence(table.name, row, costs)
        for table in tables
        for row in table.rows
        if row.tally.decided
    ]


def _make_sentence(table: TableName, row: Comparison, costs: Mapping[str, Standing]) -> str:
    opponent = row.opponent
    if table in OPPONENTS:
        opponent = f"{OPPONENTS[table]}, {row.opponent}"
    tally = row.tally
    return (
        f"{row.contestant} {_VERDICTS[row.difference.verdict]} {opponent}: "
        f"{write_difference(row.difference)} points, {tally.wins} wins, {tally.ties} ties, "
        f"{tally.losses} losses, {tally.undecided} undecided{_describe_cost(row, costs)}."
    )


def _describe_cost(row: Comparison, costs: Mapping[str, Standing]) -> str:
    """Return the ratio of the costs; of the tokens where prices are missing."""
    own = costs.get(row.contestant)
    opponents = [costs.get(each.opponent) for each in row.meetings]
    known = [each for each in opponents if each is not None]
    if own is None or not known or len(known) < len(opponents):
        return ""
    usd: list[float] = [each.mean_cost_usd for each in known if each.mean_cost_usd is not None]
    if own.mean_cost_usd is not None and len(usd) == len(known) and any(usd):
        return f", at {own.mean_cost_usd * len(usd) / sum(usd):.1f} times the cost"
    tokens = sum(each.mean_tokens for each in known)
    return f", with {own.mean_tokens * len(known) / tokens:.1f} times the tokens" if tokens else ""
