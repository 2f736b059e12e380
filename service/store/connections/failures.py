"""What a driver's error means: not now (and why), once more, or a bug."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import StorageUnavailable
from telemetry import UnavailableReason

# What `reading` one of these may raise: a driver's error, or a connection's.
DRIVER_ERRORS = (SQLAlchemyError, OSError)

_SENTENCES: Mapping[UnavailableReason, str] = {
    "locked": "The database is locked by another program.",
    "down": "The database cannot be reached.",
    "slow": "The database did not answer in time.",
    "full": "The database has no room left to write.",
    "schema": "The database's tables are missing or out of date; run `python -m service migrate`.",
}

# Source: https://www.sqlite.org/rescode.html
_SQLITE: Mapping[int, UnavailableReason] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PROTOCOL: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR: "full",  # a full disk, too, when the shared memory cannot grow
    sqlite3.SQLITE_READONLY: "down",
    sqlite3.SQLITE_CANTOPEN: "down",
    sqlite3.SQLITE_NOTADB: "down",
    sqlite3.SQLITE_CORRUPT: "down",
    sqlite3.SQLITE_NOMEM: "down",
    sqlite3.SQLITE_INTERRUPT: "slow",
}

# The longest that fits. Source: https://www.postgresql.org/docs/16/errcodes-appendix.html
_POSTGRESQL: Mapping[str, UnavailableReason] = {
    "08": "down",  # connection exceptions
    "25P03": "slow",  # idle in a transaction for too long
    "25006": "down",  # the server takes no writes: a standby
    "28": "down",  # authorization
    "3D000": "down",  # no such database
    "3F000": "schema",
    "40": "locked",  # serialization failure, deadlock: met a second time
    "42P01": "schema",  # no such table
    "42703": "schema",  # no such column
    "53": "down",  # too many connections, out of memory
    "53100": "full",
    "55P03": "locked",
    "57": "down",  # shutting down, starting up
    "57014": "slow",  # cancelled
    "58": "down",  # the server's own I/O
}
_RETRYABLE_SQLSTATES = frozenset({"40001", "40P01"})


def is_retryable(error: BaseException) -> bool:
    """Whether the same transaction, begun again at once, is likely to succeed."""
    if not isinstance(error, DBAPIError):
        return False
    # A connection that the server had closed earlier is found dead only when it is used.
    return (
        error.connection_invalidated
        or _get_sqlstate(error) in _RETRYABLE_SQLSTATES
        or type(error.orig).__name__ == "InvalidCachedStatementError"
    )


def translate_error(error: BaseException) -> StorageUnavailable | None:
    """Return what to tell the user, None when the error is a bug."""
    reason = _find_reason(error)
    return None if reason is None else make_unavailable(reason)


def make_unavailable(reason: UnavailableReason) -> StorageUnavailable:
    """Return the error for one of the known reasons."""
    return StorageUnavailable(_SENTENCES[reason], reason=reason)


def _find_reason(error: BaseException) -> UnavailableReason | None:
    if isinstance(error, PoolTimeout | TimeoutError):
        return "slow"
    if isinstance(error, OSError):
        return "down"
    if not isinstance(error, DBAPIError):
        return None
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code & 0xFF) or _find_sqlite_reason(str(error.orig))
    state = _get_sqlstate(error)
    fits = [known for known in _POSTGRESQL if state.startswith(known)]
    if fits:
        return _POSTGRESQL[max(fits, key=len)]
    return "down" if error.connection_invalidated or "connection is closed" in str(error) else None


def _find_sqlite_reason(message: str) -> UnavailableReason | None:
    # SQLITE_ERROR is the code of every mistake in a statement.
    return "schema" if message.startswith(("no such table", "no such column")) else None


def _get_sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""
