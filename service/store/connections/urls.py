"""The database's address, parsed from `DATABASE_URL`. Messages never contain the password."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from service.settings import SettingsError
from telemetry import register_secret

Dialect = Literal["sqlite", "postgresql"]

# Options of libpq that asyncpg would pass on to the server, which refuses them.
_LIBPQ_ONLY_OPTIONS = frozenset(
    {
        "channel_binding", "connect_timeout", "gssencmode", "keepalives", "keepalives_count",
        "keepalives_idle", "keepalives_interval", "sslcompression", "tcp_user_timeout",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """The file of SQLite, or the DSN of PostgreSQL for asyncpg, with its password."""

    dialect: Dialect
    path: Path = Path()
    dsn: str = field(default="", repr=False)

    @property
    def display_name(self) -> str:
        """The address for display, without user and password."""
        if self.dialect == "sqlite":
            return str(self.path)
        url = make_url(self.dsn)
        return f"PostgreSQL, {url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"

    @property
    def identity(self) -> str:
        """A short hash that names the database; it does not depend on the password."""
        place = str(self.path) if self.dialect == "sqlite" else make_url(self.dsn).set(password="")
        return hashlib.sha256(str(place).encode()).hexdigest()[:12]


def parse_url(text: str) -> Address:
    """Return the address in a `DATABASE_URL`.

    Raises SettingsError.
    """
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        url = None
    # Raised outside of the handler, because the caught error may contain the password.
    if url is None:
        raise SettingsError(
            "DATABASE_URL: is not a URL; write special characters of the password as %XX"
        )
    if url.password:
        register_secret(str(url.password))
    parse = _PARSERS.get(url.drivername)
    if parse is None:
        raise SettingsError(
            "DATABASE_URL: must begin with sqlite:///, postgres:// or postgresql://"
        )
    return parse(url)


def _parse_sqlite(url: URL) -> Address:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise SettingsError(
            "DATABASE_URL: SQLite needs a file, as in sqlite:///data/service.db; "
            "a database in memory would be a separate one for each connection"
        )
    if url.query or url.host or url.username:
        raise SettingsError(
            "DATABASE_URL: a SQLite file has a path only, as in sqlite:////data/a.db"
        )
    return Address("sqlite", path=Path(url.database).absolute())


def _parse_postgresql(url: URL) -> Address:
    kept = {name: value for name, value in url.query.items() if name not in _LIBPQ_ONLY_OPTIONS}
    plain = url.set(drivername="postgresql", query=kept)
    return Address("postgresql", dsn=plain.render_as_string(hide_password=False))


_PARSERS: Mapping[str, Callable[[URL], Address]] = {
    "sqlite": _parse_sqlite,
    "sqlite+aiosqlite": _parse_sqlite,
    "postgres": _parse_postgresql,
    "postgresql": _parse_postgresql,
    "postgresql+asyncpg": _parse_postgresql,
}
