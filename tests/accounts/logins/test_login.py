"""Logins: the same work for unknown, wrong and disabled; new hashes; one session per browser."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from argon2 import PasswordHasher

from service.accounts.audit import Audit
from service.accounts.logins.login import LoginAttempt, Logins
from service.accounts.logins.passwords import Passwords
from service.accounts.logins.throttle import LoginThrottle
from service.accounts.logins.web_sessions import WebSessions
from service.errors import RequestError
from service.store.accounts.attempts import DatabaseAttempts
from service.store.accounts.sessions import WebSessionStore
from service.store.accounts.users import UserStore
from service.store.audit.log import AuditLog
from service.store.database import Database
from service.store.migrate import migrate
from tests._support.accounts.records import NOW, make_user

_PASSWORD = "correct horse"
# Slow enough to be most of a login.
_HASHER = PasswordHasher(time_cost=3, memory_cost=19_456, parallelism=1)


@dataclass(frozen=True)
class _Parts:
    users: UserStore
    sessions: WebSessions
    passwords: Passwords
    logins: Logins


@pytest.fixture
async def parts(sqlite_url: str) -> AsyncIterator[_Parts]:
    await migrate(sqlite_url)
    database = Database(sqlite_url, timeout_s=60)
    users, passwords = UserStore(database), Passwords(_HASHER)
    sessions = WebSessions(WebSessionStore(database), users, idle_s=3_600, lifetime_s=3_600)
    throttle, audit = LoginThrottle(DatabaseAttempts(database)), Audit(AuditLog(database))
    yield _Parts(users, sessions, passwords, Logins(users, sessions, passwords, throttle, audit))
    sessions.close()
    passwords.close()
    await database.close()


async def _fail(parts: _Parts, account: str, password: str) -> tuple[int, float, str]:
    """Return the number of hashes, the seconds and the message of a failed login."""
    hashes, started = parts.passwords.hash_count, time.perf_counter()
    with pytest.raises(RequestError) as caught:
        await parts.logins.log_in(LoginAttempt(account=account, password=password))
    assert caught.value.code == "login_failed"
    seconds = time.perf_counter() - started
    return parts.passwords.hash_count - hashes, seconds, caught.value.message


async def test_unknown_wrong_disabled_and_without_password_do_the_same_work(parts: _Parts) -> None:
    hashed = await parts.passwords.hash(_PASSWORD)
    await parts.users.add(make_user("alice", password_hash=hashed))
    await parts.users.add(make_user("bob", password_hash=hashed, disabled_at=NOW))
    await parts.users.add(make_user("carol"))
    attempts = (
        ("alice", "wrong"), ("bob", _PASSWORD), ("carol", _PASSWORD), ("nobody", _PASSWORD),
        ("alice", "x" * 5_000), ("nul\0", "nul\0"), ("nobody@example.com", _PASSWORD),
    )  # fmt: skip
    results = [await _fail(parts, *attempt) for attempt in attempts]
    assert [hashes for hashes, _, _ in results] == [1] * len(attempts)
    assert len({message for _, _, message in results}) == 1
    fastest, slowest = (f(seconds for _, seconds, _ in results) for f in (min, max))
    assert fastest * 20 > slowest  # without the work, a login is a hundredth


async def test_a_login_replaces_a_hash_of_older_parameters(parts: _Parts) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(_PASSWORD)
    alice = await parts.users.add(make_user(password_hash=old))
    login = await parts.logins.log_in(LoginAttempt(account="alice", password=_PASSWORD))
    stored = await parts.users.find(alice.id)
    assert stored
    assert stored.password_hash not in (None, old)
    assert not parts.passwords.needs_rehash(stored.password_hash or "")
    again = LoginAttempt(account="alice", password=_PASSWORD, device=login.device)
    assert (await parts.logins.log_in(again)).device == login.device


async def test_a_login_ends_the_earlier_session_of_the_browser(parts: _Parts) -> None:
    hashed = await parts.passwords.hash(_PASSWORD)
    alice = await parts.users.add(make_user(password_hash=hashed))
    attempt = LoginAttempt(account="alice", password=_PASSWORD)
    first = await parts.logins.log_in(attempt)
    other = await parts.logins.log_in(attempt)
    second = await parts.logins.log_in(replace(attempt, session_token=first.session_token))
    assert await parts.sessions.resolve(first.session_token) is None
    for login in (other, second):
        active = await parts.sessions.resolve(login.session_token)
        assert active
        assert active.user.id == alice.id
    assert await parts.sessions.resolve("planted by another") is None
