"""The known migrations, and the comparison of a database with them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

FOLDER = Path(__file__).parent / "migrations"

_version = sa.table("alembic_version", sa.column("version_num"))


def list_revisions() -> list[str]:
    """Return the ids of all migrations, oldest first: the first four digits of their files."""
    return sorted(path.name[:4] for path in (FOLDER / "versions").glob("[0-9]*.py"))


async def read_applied_revision(connection: AsyncConnection) -> str | None:
    """Return the last migration applied to the database, None for a database without tables."""
    has_table = await connection.run_sync(
        lambda sync: sa.inspect(sync).has_table("alembic_version")
    )
    return (await connection.scalar(sa.select(_version.c.version_num))) if has_table else None


def describe_mismatch(applied: str | None) -> str | None:
    """Return why a database at revision `applied` cannot be used, None if it can."""
    known = list_revisions()
    if applied == known[-1]:
        return None
    if applied is None:
        return "The database has no tables yet; run `python -m service migrate`."
    if applied not in known:
        return (
            f"The database was migrated to {applied} by a newer version of the service, "
            f"and this version knows migrations up to {known[-1]} only; run the newer version."
        )
    return f"The database is at {applied}, not {known[-1]}; run `python -m service migrate`."
