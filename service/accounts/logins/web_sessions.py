"""Web sessions: started by a login, found by the token in a cookie, ended by a logout.

A session is read from the database at most once a minute per process. `forget` empties the cache
whenever accounts have changed, so a session that was ended is refused within a second everywhere.
The time of its last request is stored once a minute, together with those of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.access.opaque_tokens import hash_token, new_token
from service.access.principal import Principal
from service.access.scopes import ROLE_SCOPES
from service.accounts.lookup import CachedLookup
from service.errors import StorageUnavailable
from service.ids import new_id
from service.store.accounts.records import StoredUser, WebSession
from service.store.accounts.sessions import WebSessionStore
from service.store.accounts.users import UserStore
from service.store.audit.entries import AuditEntry

_EPOCH = datetime.fromtimestamp(0, UTC)
_NOTE_EVERY = timedelta(minutes=1)
_MOST_SEEN = 50_000
_USER_AGENT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Visit:
    """The client of a request to the pages or the API of logins: its address and its program."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """A session that is valid now, and its user."""

    session: WebSession
    user: StoredUser

    @property
    def principal(self) -> Principal:
        """The caller of a request with this session."""
        return make_principal(self.user)


def make_principal(user: StoredUser, address: str = "") -> Principal:
    """Return a user as the caller of a request with a web session."""
    return Principal(
        owner=user.id,
        user=user.name,
        role=user.role,
        scopes=ROLE_SCOPES[user.role],
        method="session",
        address=address,
        user_limits=user.limits,
    )


class WebSessions:
    """The web sessions of all users. Every method raises StorageUnavailable.

    A session ends after `idle_s` without a request, and `lifetime_s` after the login.
    """

    def __init__(
        self, store: WebSessionStore, users: UserStore, *, idle_s: float, lifetime_s: float
    ) -> None:
        self._store = store
        self._users = users
        self._idle = timedelta(seconds=idle_s)
        self._lifetime = timedelta(seconds=lifetime_s)
        self._lookup = CachedLookup(self._load)
        self._seen: dict[str, datetime] = {}  # by id, since the session was read

    @property
    def lifetime_s(self) -> int:
        """The seconds after which a cookie can be forgotten."""
        return int(self._lifetime.total_seconds())

    async def start(self, user: StoredUser, visit: Visit, audit: Sequence[AuditEntry] = ()) -> str:
        """Start a session of `user` and return its token, which is not stored."""
        token, now = new_token(), datetime.now(UTC)
        session = WebSession(
            id=new_id("session"),
            token_hash=hash_token(token),
            user_id=user.id,
            created_at=now,
            last_seen_at=now,
            expires_at=now + self._lifetime,
            address=visit.address,
            user_agent=visit.user_agent[:_USER_AGENT_CHARS],
        )
        await self._store.add(session, audit)
        return token

    async def resolve(self, token: str) -> ActiveSession | None:
        """Return the session with this token, None when it has ended or its user is disabled."""
        active, now = await self._lookup.find(hash_token(token).hex()), datetime.now(UTC)
        if active is None or active.user.disabled_at or not self._is_valid(active.session, now):
            return None
        last_seen = max(active.session.last_seen_at, self._seen.get(active.session.id, _EPOCH))
        if now - last_seen > _NOTE_EVERY and len(self._seen) < _MOST_SEEN:
            self._seen[active.session.id] = now
        return active

    async def resolve_session(self, token: str) -> Principal | None:
        """Return the caller with this token, None for an unknown or ended session."""
        active = await self.resolve(token)
        return active.principal if active else None

    async def list_of(self, user_id: str) -> Sequence[WebSession]:
        """Return the valid sessions of a user, the last used first."""
        now = datetime.now(UTC)
        return [each for each in await self._store.list_of(user_id) if self._is_valid(each, now)]

    async def end(self, user_id: str, session_id: str, audit: Sequence[AuditEntry] = ()) -> bool:
        """End a session of the user; return False if there is no such one."""
        has_ended = await self._store.delete(user_id, session_id, audit)
        self.forget()
        return has_ended

    def forget(self) -> None:
        """Read every session again at its next request: accounts have changed."""
        self._lookup.forget()

    async def flush(self) -> None:
        """Store when sessions were used; without the database the times are dropped."""
        seen, self._seen = self._seen, {}
        with suppress(StorageUnavailable):
            await self._store.note_seen(seen)

    def close(self) -> None:
        """Stop the query in progress."""
        self._lookup.close()

    def _is_valid(self, session: WebSession, now: datetime) -> bool:
        last_seen = max(session.last_seen_at, self._seen.get(session.id, _EPOCH))
        return now < session.expires_at and now - last_seen < self._idle

    async def _load(self, hashes: Sequence[str]) -> Mapping[str, ActiveSession]:
        found = await self._store.find_many([bytes.fromhex(each) for each in hashes])
        users = await self._users.find_many({each.user_id for each in found})
        return {
            each.token_hash.hex(): ActiveSession(each, users[each.user_id])
            for each in found
            if each.user_id in users
        }
