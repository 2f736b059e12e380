"""Alembic's environment: runs the migrations on the connection from `store/migrate.py`."""

from __future__ import annotations

from alembic import context

from service.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # also in SQLite, if no statement commits in between
)
context.run_migrations()
