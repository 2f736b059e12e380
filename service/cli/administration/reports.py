"""The commands `usage` and `audit`: reports of the configured database."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from service.cli.administration.accounts import AccountTools
from service.cli.output import CommandOutput, make_table
from service.errors import RequestError
from service.store.accounts.users import UserStore
from service.store.audit.log import AuditFilter, AuditLog
from service.store.feedback.report import FeedbackReport
from service.store.usage.figures import FIGURES, show_all, show_groups
from service.store.usage.records import UsageGroup, UsageSums
from service.store.usage.report import DIMENSIONS, UsageQuery, UsageStore

_MAX_GROUPS = 1_000_000
_AUDIT_COLUMNS = ("number", "at", "actor", "action", "target", "address", "details")


async def run_usage(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    """Return usage, by default of all users in the last 30 days. Raises RequestError."""
    until = options.until or datetime.now(UTC).date()
    since = options.since or until - timedelta(days=30)
    by = [name.strip() for name in options.by.split(",")] if options.by else []
    dimensions = [name for name in DIMENSIONS if name in by]
    if len(dimensions) != len(by):
        raise RequestError("bad_request", f"--by takes some of {', '.join(DIMENSIONS)}.")
    dimensions.sort(key=by.index)
    owner = await _find_owner(options.user, tools)
    usage, feedback = UsageStore(tools.database), FeedbackReport(tools.database)
    query = UsageQuery(owner=owner, since=since, until=until, by=dimensions)
    total = UsageQuery(owner=owner, since=since, until=until)
    groups = await usage.list_groups(query, _MAX_GROUPS) if by else []
    sums = [*await usage.list_groups(total, 1), UsageGroup((), UsageSums())][0].sums
    items = show_groups(by, groups, await feedback.list_sums(query)) if by else []
    figures = show_all(sums, (await feedback.list_sums(total)).get(()))
    rows = [*items, {**dict.fromkeys(by[:1], "total"), **figures}]
    table = make_table((*by, *FIGURES), rows, "")
    span = {"from": since.isoformat(), "to": until.isoformat(), "by": by}
    return CommandOutput(table, {**span, "items": items, "total": figures})


async def run_audit(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    """Run an action of `audit`. Raises StorageUnavailable."""
    return await _ACTIONS[options.action](options, AuditLog(tools.database))


async def _find_owner(user: str | None, tools: AccountTools) -> str | None:
    """Return the id of a user by id or name; None stands for all users."""
    if user is None:
        return None
    found = await UserStore(tools.database).find_by_name(user)
    return found.id if found else user


async def _list(options: argparse.Namespace, log: AuditLog) -> CommandOutput:
    filter_ = AuditFilter(
        since=options.since, until=options.until, actor=options.actor, action=options.only
    )
    rows = [row.to_json() for row in await log.list_rows(filter_, options.limit)]
    return CommandOutput(make_table(_AUDIT_COLUMNS, rows, "There are no rows."), {"items": rows})


async def _verify(options: argparse.Namespace, log: AuditLog) -> CommandOutput:
    report = await log.verify(options.since)
    faults = [fault.sentence for fault in report.faults]
    data: Mapping[str, Any] = {
        "rows": report.rows,
        "hash": report.head.hash,
        "faults": [
            {"kind": each.kind, "number": each.number, "message": each.sentence}
            for each in report.faults
        ],
    }
    if faults:
        return CommandOutput("\n".join(faults), data, exit_code=1)
    text = f"The audit log is complete: {report.rows} rows.\n{report.head.hash}"
    note = "Store this hash elsewhere: `audit verify --since HASH` shows that the log still has it."
    return CommandOutput(text, data, note)


_ACTIONS: Mapping[str, Callable[[argparse.Namespace, AuditLog], Awaitable[CommandOutput]]] = {
    "list": _list,
    "verify": _verify,
}
