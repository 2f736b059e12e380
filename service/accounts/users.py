"""Administration of users: create, change, disable, delete with their data, transfer data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from service.access.principal import ANONYMOUS_OWNER, Principal, Role
from service.accounts.audit import make_entry
from service.accounts.logins.login import check_password_field
from service.accounts.logins.passwords import Passwords
from service.accounts.logins.registration import (
    make_new_user,
    name_taken,
    parse_email_field,
    parse_name_field,
)
from service.errors import FieldError, RequestError
from service.store.accounts.ownership import Ownership, StillRunningError, TransferredData
from service.store.accounts.records import LastAdminError, NameTakenError, StoredUser
from service.store.accounts.users import UserStore
from service.store.lists.pages import Page

_TAKES_EFFECT_S: Final = 1.0
_STOP_POLL_S: Final = 0.1
_STOP_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A user to create. Without a password there is no login; keys work all the same."""

    name: str
    email: str = ""
    password: str | None = field(default=None, repr=False)
    role: Role = "user"
    limits: Mapping[str, Any] | None = None


StopRuns = Callable[[str, Sequence[str]], Awaitable[None]]
"""Requests the end of runs of an owner, by their ids."""


class UserAdministration:
    """Changes users on behalf of an administrator, whom `by` names for the audit log.

    Every method raises StorageUnavailable, and RequestError: 404 for an unknown user, 400 for an
    unsuitable field, 409 for a taken name and where no administrator would remain.
    """

    def __init__(
        self,
        users: UserStore,
        passwords: Passwords,
        ownership: Ownership,
        stop_runs: StopRuns | None = None,
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._ownership = ownership
        self._stop_runs = stop_runs or ownership.request_stops

    async def find(self, user: str) -> StoredUser:
        """Return the user with this id or name."""
        found = await self._users.find(user) or await self._users.find_by_name(user)
        if found is None:
            raise RequestError("user_not_found", "There is no such user.")
        return found

    async def list_page(self, limit: int, offset: int) -> Page[StoredUser]:
        """Return a page of the users, oldest first."""
        return await self._users.list_page(limit, offset)

    async def create(self, new: NewUser, by: Principal | str) -> StoredUser:
        """Add a user."""
        name = parse_name_field(new.name)
        email = parse_email_field(new.email) if new.email.strip() else None
        password_hash = None
        if new.password is not None:
            password = check_password_field("password", new.password, name)
            password_hash = await self._passwords.hash(password)
        user = make_new_user(name, email, password_hash, new.role)
        user = replace(user, limits=new.limits)
        entries = [make_entry("user.created", by, user.id, role=new.role)]
        try:
            return await self._users.add(user, audit=entries)
        except NameTakenError as error:
            raise name_taken(error) from None

    async def change(self, user: str, by: Principal | str, values: Mapping[str, Any]) -> StoredUser:
        """Change `role`, `email`, `limits`, `password` or `disabled` of a user."""
        found, now = await self.find(user), datetime.now(UTC)
        columns = {name: values[name] for name in ("role",) if name in values}
        if "email" in values:
            columns["email"] = parse_email_field(values["email"]) if values["email"] else None
        if "limits" in values:
            columns["limits"] = values["limits"]
        if "disabled" in values:
            columns["disabled_at"] = (found.disabled_at or now) if values["disabled"] else None
        if "password" in values:
            await self._set_password(found, by, values["password"])
        if not columns:
            return await self.find(found.id)
        entry = make_entry("user.changed", by, found.id, **_describe(values))
        try:
            changed = await self._users.change(found.id, now, columns, [entry])
        except NameTakenError as error:
            raise name_taken(error) from None
        except LastAdminError:
            raise _last_admin() from None
        if changed is None:
            raise RequestError("user_not_found", "There is no such user.")
        return changed

    async def delete(self, user: str, by: Principal | str, transfer_to: str | None = None) -> None:
        """Delete a user with all their data, or transfer the data to another user first.

        Their running runs are cancelled. The data is deleted in parts; when that is interrupted,
        the user remains, disabled, and the deletion can be repeated.
        """
        found = await self.find(user)
        heir = await self.find(transfer_to) if transfer_to is not None else None
        if heir and heir.id == found.id:
            raise RequestError(
                "bad_request",
                "The request is not valid: transfer_to: is the deleted user.",
                [FieldError("transfer_to", "is the deleted user")],
            )
        if found.disabled_at is None:
            await self.change(found.id, by, {"disabled": True})
            await asyncio.sleep(_TAKES_EFFECT_S)  # then no process accepts a request of theirs
        await self._end_runs(found.id)
        if heir:
            try:
                await self._transfer(found.id, heir.id, by)
            except RequestError:  # runs have not ended: nothing was changed
                await self.change(found.id, by, {"disabled": found.disabled_at is not None})
                raise
        else:
            await self._ownership.delete(found.id)
        entry = make_entry("user.deleted", by, found.id, transferred=heir is not None)
        try:
            await self._users.delete(found.id, [entry])
        except LastAdminError:
            raise _last_admin() from None

    async def adopt(self, user: str, by: Principal | str) -> TransferredData:
        """Transfer the data of the anonymous owner to a user.

        Raises RequestError 409 while runs of the anonymous owner are running.
        """
        heir = await self.find(user)
        return await self._transfer(ANONYMOUS_OWNER, heir.id, by)

    async def _transfer(self, owner: str, heir: str, by: Principal | str) -> TransferredData:
        entries = [make_entry("data.adopted", by, heir, owner=owner)]
        try:
            return await self._ownership.transfer(owner, heir, entries)
        except StillRunningError:
            raise RequestError(
                "runs_running",
                "The data cannot be transferred while runs are running: wait for their end.",
            ) from None

    async def _set_password(self, user: StoredUser, by: Principal | str, password: str) -> None:
        normal = check_password_field("password", password, user.name)
        entries = [make_entry("password.changed", by, user.id)]
        await self._users.set_password(user.id, await self._passwords.hash(normal), "", entries)

    async def _end_runs(self, owner: str) -> None:
        """Request the end of all running runs, and wait for it a while."""
        deadline = asyncio.get_running_loop().time() + _STOP_WITHIN_S
        while running := await self._ownership.list_running(owner):
            await self._stop_runs(owner, running)
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_STOP_POLL_S)


def _describe(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changed values for the audit log, without a password and an address."""
    shown = {name: values[name] for name in ("role", "disabled") if name in values}
    return {**shown, "fields": tuple(sorted(values))}


def _last_admin() -> RequestError:
    return RequestError(
        "last_admin", "This is the last administrator, without whom no user could manage others."
    )
