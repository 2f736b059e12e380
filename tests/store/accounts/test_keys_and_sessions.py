"""API keys and web sessions in the store."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.store.accounts.changes import AccountChanges
from service.store.accounts.keys import KeyStore
from service.store.accounts.sessions import WebSessionStore
from service.store.accounts.users import UserStore
from service.store.database import Database
from tests._support.accounts.records import NOW, make_api_key, make_session, make_user


@pytest.fixture
async def keys(database: Database) -> KeyStore:
    for name in ("alice", "bob"):
        await UserStore(database).add(make_user(name))
    return KeyStore(database)


@pytest.fixture
async def sessions(database: Database) -> WebSessionStore:
    await UserStore(database).add(make_user())
    return WebSessionStore(database)


async def test_a_key_is_listed_for_its_user_until_it_is_revoked(keys: KeyStore) -> None:
    key = make_api_key(scopes=["run"], limits={"streams": 1}, expires_at=NOW + timedelta(days=1))
    await keys.add(key)
    await keys.add(make_api_key("bbbbbbbbbbbb", user_id="id-bob"))
    assert (await keys.list_page("id-alice", 10, 0)).items == [key]
    assert (await keys.list_page(None, 10, 0)).total == 2
    assert await keys.change("id-alice", key.id, {"revoked_at": NOW})
    assert (await keys.list_page("id-alice", 10, 0)).items == []
    assert await keys.change("id-alice", key.id, {"name": "again"}) is None


async def test_a_key_of_another_user_is_not_found(keys: KeyStore) -> None:
    await keys.add(make_api_key())
    assert await keys.find("id-bob", "0123456789ab") is None
    assert await keys.change("id-bob", "0123456789ab", {"revoked_at": NOW}) is None
    assert await keys.find("id-alice", "0123456789ab")


async def test_a_replaced_key_expires_at_the_earlier_time(keys: KeyStore) -> None:
    soon, late = NOW + timedelta(minutes=1), NOW + timedelta(days=1)
    old = make_api_key(expires_at=soon)
    await keys.add(old)
    new = make_api_key("nnnnnnnnnnnn")
    assert await keys.replace(old, new, late)
    replaced = await keys.find(None, old.id)
    assert replaced
    assert (replaced.expires_at, replaced.replaced_by) == (soon, new.id)
    await keys.change(None, old.id, {"revoked_at": NOW})
    assert not await keys.replace(old, make_api_key("mmmmmmmmmmmm"), late)
    assert await keys.find(None, "mmmmmmmmmmmm") is None


async def test_a_change_of_a_key_is_counted(keys: KeyStore, database: Database) -> None:
    await keys.add(make_api_key())
    before = await AccountChanges(database).read_number()
    await keys.change(None, "0123456789ab", {"revoked_at": NOW})
    assert await AccountChanges(database).read_number() == before + 1


async def test_a_session_is_found_by_its_token_and_ended_by_its_id(
    sessions: WebSessionStore, database: Database
) -> None:
    await sessions.add(make_session())
    before = await AccountChanges(database).read_number()
    assert await sessions.find_many([b"token", b"unknown"]) == [make_session()]
    assert not await sessions.delete("id-bob", "session-token")
    assert await sessions.delete("id-alice", "session-token")
    assert await sessions.find_many([b"token"]) == []
    assert await AccountChanges(database).read_number() == before + 1


async def test_a_user_has_a_limited_number_of_sessions(sessions: WebSessionStore) -> None:
    for number in range(60):
        at = NOW + timedelta(seconds=number)
        await sessions.add(make_session(b"%d" % number, created_at=at, last_seen_at=at))
    listed = await sessions.list_of("id-alice")
    assert len(listed) == 50
    assert listed[0].id == "session-59"


async def test_expired_sessions_are_removed_by_the_next_login(sessions: WebSessionStore) -> None:
    await sessions.add(make_session(b"old"))
    later = NOW + timedelta(days=2)
    await sessions.add(make_session(b"new", created_at=later, expires_at=later))
    assert [each.id for each in await sessions.list_of("id-alice")] == ["session-new"]
