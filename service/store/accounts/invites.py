"""Invitations to register, and the codes for the first administrator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.accounts.admins import count_admins
from service.store.accounts.changes import count_change, write_audited
from service.store.accounts.records import CREATED_AT_START, Invite, InviteRefusedError, StoredUser
from service.store.accounts.tables import invites
from service.store.audit.entries import AuditEntry
from service.store.database import Database


class InviteStore:
    """All invitations. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, invite: Invite, audit: Sequence[AuditEntry] = ()) -> None:
        """Store an invitation, and forget those that have expired."""

        async def work(connection: AsyncConnection) -> bool:
            expired = invites.c.expires_at < invite.created_at
            await connection.execute(sa.delete(invites).where(expired))
            await connection.execute(sa.insert(invites).values(asdict(invite)))
            return True

        await write_audited(self._database, work, audit)


async def use_invite(
    connection: AsyncConnection, user: StoredUser, token_hash: bytes
) -> StoredUser:
    """Return `user` as the invitation describes it, which is used from now on.

    Raises InviteRefusedError. A code for the first administrator is refused once there is one.
    """
    is_open = sa.and_(
        invites.c.token_hash == token_hash,
        invites.c.used_at.is_(None),
        invites.c.expires_at > user.created_at,
    )
    used = await connection.execute(
        sa.update(invites).where(is_open).values(used_at=user.created_at)
    )
    if not used.rowcount:
        raise InviteRefusedError
    query = sa.select(invites).where(invites.c.token_hash == token_hash)
    invite = (await connection.execute(query)).one()
    if invite.created_by == CREATED_AT_START:
        await count_change(connection)  # two first administrators wait for each other here
        if await connection.scalar(count_admins()):
            raise InviteRefusedError
    fields = asdict(user)
    return StoredUser(**{**fields, "role": invite.role, "email": user.email or invite.email})
