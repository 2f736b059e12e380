"""`/web/admin`: users, usage of all, the health of agents, limits, the audit log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from quart import Blueprint, Response

from service.access.principal import ANONYMOUS_OWNER
from service.access.scopes import ROLES
from service.api.health import check_health
from service.api.http.principal import needs_scope
from service.api.http.query import IntParam
from service.pages.admin.agents import list_agents
from service.pages.admin.audit import read_audit
from service.pages.admin.rules import describe_rules
from service.pages.dependencies import PageDependencies
from service.pages.usage.period import read_period
from service.pages.usage.report import UsageTable, UsageView, read_usage
from service.store.accounts.users import UserStore

_USERS_PER_PAGE: Final = 50
_USERS = IntParam("users", "The number of users to skip.", 0, 0, 999_999)


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the page of administrators."""
    api = pages.api

    @blueprint.get("/web/admin")
    @needs_scope("admin")
    async def admin_page() -> Response:
        usage = await read_usage(api.store.usage, None, read_period())
        return pages.render(
            "admin/admin.html",
            usage=await _name_users(pages, usage),
            health=check_health(api),
            agents=await list_agents(api),
            workers=pages.settings.workers,
            rules=describe_rules(api.limiter.rules),
            audit=await read_audit(pages),
            **await _read_users(pages),
        )


async def _read_users(pages: PageDependencies) -> dict[str, Any]:
    """Return the values of the list of users; `users` is None with AUTH=off."""
    offset = _USERS.read()
    if not pages.accounts_on:
        return {"users": None}
    page = await pages.api.account_services.users.list_page(_USERS_PER_PAGE, offset)
    end = offset + len(page.items)
    return {
        "users": page.items,
        "roles": ROLES,
        "earlier_users": max(0, offset - _USERS_PER_PAGE) if offset else None,
        "later_users": end if end < page.total else None,
    }


async def _name_users(pages: PageDependencies, usage: UsageView) -> UsageView:
    """Return the usage with the names of users in place of their ids."""
    users = UserStore(pages.api.store.database)
    tables: list[UsageTable] = []
    for table in usage.tables:
        rows = table.rows
        if table.title == "User":
            found = await users.find_many([row.name for row in rows])
            names = {each.id: each.name for each in found.values()}
            names[ANONYMOUS_OWNER] = "without an account"
            rows = [replace(row, name=names.get(row.name, row.name)) for row in rows]
        tables.append(replace(table, rows=rows))
    return replace(usage, tables=tables)
