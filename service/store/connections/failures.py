"""Classification of database errors: temporary (with a reason), retryable, or a bug."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import StorageUnavailable
from telemetry import UnavailableReason

# The errors that using a connection can raise: of SQLAlchemy and the driver, or of the network.
# Those of sqlite3 are raised by `Database.transact`, which does not use SQLAlchemy.
DRIVER_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError)

_MESSAGES: Mapping[UnavailableReason, str] = {
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
    sqlite3.SQLITE_IOERR: "full",  # also on a full disk, when the shared memory cannot grow
    sqlite3.SQLITE_READONLY: "down",
    sqlite3.SQLITE_CANTOPEN: "down",
    sqlite3.SQLITE_NOTADB: "down",
    sqlite3.SQLITE_CORRUPT: "down",
    sqlite3.SQLITE_NOMEM: "down",
    sqlite3.SQLITE_INTERRUPT: "slow",
}

# By prefix; the longest matching one counts. Source: https://www.postgresql.org/docs/16/errcodes-appendix.html
_POSTGRESQL: Mapping[str, UnavailableReason] = {
    "08": "down",  # connection exceptions
    "25P03": "slow",  # idle in a transaction too long
    "25006": "down",  # a read-only standby server
    "28": "down",  # authorization
    "3D000": "down",  # no such database
    "3F000": "schema",
    "40": "locked",  # serialization failure, deadlock: after one retry
    "42P01": "schema",  # no such table
    "42703": "schema",  # no such column
    "53": "down",  # too many connections, out of memory
    "53100": "full",
    "55P03": "locked",
    "57": "down",  # shutting down, starting up
    "57014": "slow",  # cancelled
    "58": "down",  # the server's own I/O
}
_log = logging.getLogger(__name__)

_RETRYABLE_SQLSTATES = frozenset({"40001", "40P01"})


def is_retryable(error: BaseException) -> bool:
    """Return whether an immediate retry of the transaction is likely to succeed."""
    if not isinstance(error, DBAPIError):
        return False
    # A connection that the server closed earlier fails only when it is used.
    return (
        error.connection_invalidated
        or _get_sqlstate(error) in _RETRYABLE_SQLSTATES
        or type(error.orig).__name__ == "InvalidCachedStatementError"
    )


def translate_error(error: BaseException) -> StorageUnavailable | None:
    """Return the error for the user, None if `error` is a bug."""
    reason = _find_reason(error)
    return None if reason is None else make_unavailable(reason)


def make_unavailable(reason: UnavailableReason) -> StorageUnavailable:
    """Return the error for a reason."""
    return StorageUnavailable(_MESSAGES[reason], reason=reason)


def _find_reason(error: BaseException) -> UnavailableReason | None:
    if isinstance(error, PoolTimeout | TimeoutError):
        return "slow"
    if isinstance(error, OSError):
        return "down"
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code & 0xFF) or _find_sqlite_reason(str(cause))
    if not isinstance(error, DBAPIError):
        return None
    state = _get_sqlstate(error)
    prefixes = [known for known in _POSTGRESQL if state.startswith(known)]
    if prefixes:
        return _POSTGRESQL[max(prefixes, key=len)]
    return "down" if error.connection_invalidated or "connection is closed" in str(error) else None


def _find_sqlite_reason(message: str) -> UnavailableReason | None:
    # SQLITE_ERROR is the code of every faulty statement, so the text decides.
    return "schema" if message.startswith(("no such table", "no such column")) else None


def _get_sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


class FailureLog:
    """Logs the first failure with the driver's message, and the first success after it."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    def report(
        self, what: str, refusal: StorageUnavailable | None, error: Exception | None = None
    ) -> None:
        """Log that `what`, reading or writing, was refused, or that it succeeded (None)."""
        if refusal is None:
            if what in self._failing:
                self._failing.discard(what)
                _log.warning("%s works again", what)
        elif what not in self._failing:
            self._failing.add(what)
            cause = getattr(error, "orig", None) or error or "no answer"
            _log.warning("%s does not work: %s (%s)", what, refusal, cause)
