"""Users in the store: unique names, the last administrator, passwords, invitations."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from service.store.accounts.changes import AccountChanges
from service.store.accounts.invites import InviteStore
from service.store.accounts.keys import KeyStore
from service.store.accounts.records import (
    CREATED_AT_START,
    Invite,
    InviteRefusedError,
    LastAdminError,
    NameTakenError,
)
from service.store.accounts.sessions import WebSessionStore
from service.store.accounts.users import UserStore
from service.store.audit.entries import AuditEntry
from service.store.audit.tables import audit
from service.store.database import Database
from tests._support.accounts.records import NOW, make_api_key, make_session, make_user
from tests._support.runs.stored_rows import select_rows


@pytest.fixture
def users(database: Database) -> UserStore:
    return UserStore(database)


async def test_a_user_is_found_by_id_by_name_and_by_address(users: UserStore) -> None:
    alice = await users.add(make_user(email="Alice@Example.com", limits={"streams": 2}))
    assert await users.find(alice.id) == alice
    assert await users.find_by_name("ＡLICE") == alice
    assert await users.find_by_email("alice@example.COM") == alice
    assert await users.find_by_name("bob") is None


async def test_a_name_that_differs_only_in_case_is_taken(users: UserStore) -> None:
    await users.add(make_user())
    with pytest.raises(NameTakenError, match="name"):
        await users.add(make_user("Alice"))


async def test_an_address_that_another_user_has_is_taken(users: UserStore) -> None:
    await users.add(make_user(email="a@example.com"))
    with pytest.raises(NameTakenError, match="email"):
        await users.add(make_user("bob", email="A@example.com"))
    await users.add(make_user("bob"))
    with pytest.raises(NameTakenError, match="email"):
        await users.change("id-bob", NOW, {"email": "a@EXAMPLE.com"})


async def test_of_many_concurrent_users_with_one_name_one_is_added(users: UserStore) -> None:
    names = ("alice", "Alice", "ALICE", "aLice")
    added = await asyncio.gather(
        *(users.add(make_user(name)) for name in names), return_exceptions=True
    )
    assert sorted(isinstance(each, NameTakenError) for each in added) == [False, True, True, True]
    assert (await users.list_page(10, 0)).total == 1


async def test_two_administrators_cannot_remove_each_other(users: UserStore) -> None:
    await users.add(make_user(role="admin"))
    await users.add(make_user("bob", role="admin"))
    results = await asyncio.gather(
        users.change("id-alice", NOW, {"role": "user"}),
        users.change("id-bob", NOW, {"disabled_at": NOW}),
        return_exceptions=True,
    )
    assert sorted(isinstance(each, LastAdminError) for each in results) == [False, True]
    assert await users.has_admin()


async def test_the_last_administrator_cannot_be_deleted(users: UserStore) -> None:
    await users.add(make_user(role="admin"))
    await users.add(make_user("bob"))
    with pytest.raises(LastAdminError):
        await users.delete("id-alice")
    assert await users.delete("id-bob")
    assert not await users.delete("id-bob")


async def test_users_can_change_where_there_is_no_administrator(users: UserStore) -> None:
    await users.add(make_user())
    assert await users.change("id-alice", NOW, {"disabled_at": NOW})
    assert await users.delete("id-alice")


async def test_a_change_is_counted_and_audited_in_one_transaction(
    users: UserStore, database: Database
) -> None:
    await users.add(make_user(role="admin"))
    changes = AccountChanges(database)
    before = await changes.read_number()
    entry = AuditEntry(action="user.changed", actor="system", target="id-alice")
    await users.change("id-alice", NOW, {"limits": {"streams": 1}}, [entry])
    with pytest.raises(LastAdminError):
        await users.change("id-alice", NOW, {"role": "viewer"}, [entry])
    assert await users.change("id-nobody", NOW, {"role": "viewer"}, [entry]) is None
    assert await changes.read_number() > before
    assert await select_rows(database, audit.c.action) == [("user.changed",)]


async def test_a_new_password_ends_the_other_sessions(users: UserStore, database: Database) -> None:
    await users.add(make_user())
    sessions = WebSessionStore(database)
    for token in (b"mine", b"other", b"third"):
        await sessions.add(make_session(token))
    assert await users.set_password("id-alice", "hash", "session-mine")
    assert [each.id for each in await sessions.list_of("id-alice")] == ["session-mine"]


async def test_a_hash_is_replaced_unless_the_password_changed(users: UserStore) -> None:
    await users.add(make_user(password_hash="old"))
    await users.rehash_password("id-alice", "another", "wrong")
    await users.rehash_password("id-alice", "old", "new")
    assert (await users.find("id-alice") or make_user()).password_hash == "new"


async def test_deleting_a_user_deletes_their_keys_and_sessions(
    users: UserStore, database: Database
) -> None:
    await users.add(make_user())
    keys, sessions = KeyStore(database), WebSessionStore(database)
    await keys.add(make_api_key())
    await sessions.add(make_session())
    assert await users.delete("id-alice")
    assert await keys.find(None, "0123456789ab") is None
    assert await sessions.find_many([b"token"]) == []


@pytest.fixture
def invites(database: Database) -> InviteStore:
    return InviteStore(database)


def _invite(**fields: Any) -> Invite:
    expires_at = NOW + timedelta(days=1)
    invite = Invite(token_hash=b"secret", role="viewer", created_at=NOW, expires_at=expires_at)
    return replace(invite, **fields)


async def test_an_invitation_gives_its_role_once(users: UserStore, invites: InviteStore) -> None:
    await invites.add(_invite(email="a@example.com"))
    added = await users.add(make_user(), b"secret")
    assert (added.role, added.email) == ("viewer", "a@example.com")
    assert await users.find("id-alice") == added
    with pytest.raises(InviteRefusedError):
        await users.add(make_user("bob"), b"secret")


async def test_an_invitation_remains_when_the_name_is_taken(
    users: UserStore, invites: InviteStore
) -> None:
    await users.add(make_user())
    await invites.add(_invite())
    with pytest.raises(NameTakenError):
        await users.add(make_user(), b"secret")
    assert (await users.add(make_user("bob"), b"secret")).role == "viewer"


async def test_an_expired_or_unknown_invitation_is_refused(
    users: UserStore, invites: InviteStore
) -> None:
    await invites.add(_invite(expires_at=NOW))
    for token in (b"secret", b"unknown"):
        with pytest.raises(InviteRefusedError):
            await users.add(make_user(), token)


async def test_of_two_first_administrators_one_is_added(
    users: UserStore, invites: InviteStore
) -> None:
    for token in (b"one", b"two"):
        await invites.add(_invite(token_hash=token, role="admin", created_by=CREATED_AT_START))
    results = await asyncio.gather(
        users.add(make_user(), b"one"), users.add(make_user("bob"), b"two"), return_exceptions=True
    )
    assert sorted(isinstance(each, InviteRefusedError) for each in results) == [False, True]
