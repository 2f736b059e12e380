"""The parts that the commands `users` and `keys` work with, on the configured database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.accounts.keys import KeyAdministration
from service.accounts.logins.passwords import Passwords
from service.accounts.logins.registration import create_first_admin_code
from service.accounts.users import UserAdministration
from service.settings import Settings, SettingsError
from service.store.accounts.invites import InviteStore
from service.store.accounts.keys import KeyStore
from service.store.accounts.ownership import Ownership
from service.store.accounts.users import UserStore
from service.store.database import Database
from service.store.migrate import check, migrate

COMMAND_LINE: Final = "command-line"
"""The actor of the commands in the audit log."""

_TIMEOUT_S = 3_600.0  # to transfer many rows


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTools:
    """The administration of users and keys, and the invitations."""

    users: UserAdministration
    keys: KeyAdministration
    invites: InviteStore
    passwords: Passwords
    database: Database

    async def close(self) -> None:
        """Disconnect from the database."""
        self.passwords.close()
        await self.database.close()


async def create_code(settings: Settings) -> str | None:
    """Return a code for the first administrator; None when there is one, or AUTH is not required.

    Raises StorageUnavailable.
    """
    if settings.auth != "required":
        return None
    database = Database(settings.database, timeout_s=settings.store_timeout_s)
    try:
        return await create_first_admin_code(UserStore(database), InviteStore(database))
    finally:
        await database.close()


async def open_accounts(settings: Settings) -> AccountTools:
    """Open the database for commands; a service may use it at the same time.

    A missing SQLite file is created as `serve` would. Raises SettingsError, StorageUnavailable.
    """
    if settings.migrates_on_start:
        await migrate(settings.database)
    elif fault := await check(settings.database, settings.store_timeout_s):
        raise SettingsError(fault)
    database, passwords = Database(settings.database, timeout_s=_TIMEOUT_S), Passwords()
    users = UserStore(database)
    return AccountTools(
        users=UserAdministration(users, passwords, Ownership(database)),
        keys=KeyAdministration(KeyStore(database), users),
        invites=InviteStore(database),
        passwords=passwords,
        database=database,
    )
