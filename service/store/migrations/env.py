"""Alembic's way in: runs the migrations on the connection that `store/migrate.py` gives it."""

from __future__ import annotations

from alembic import context

from service.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's is, too, as long as nobody commits in between
)
context.run_migrations()
