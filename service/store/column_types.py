"""Column types: times in UTC, and text that both databases accept."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Text, TypeDecorator


class UTCTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, in Python and in the database; SQLite stores no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_SURROGATE = re.compile("[\ud800-\udfff]")


def replace_unstorable(text: str) -> str:
    """Return text that both databases accept, with U+FFFD for NUL and lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return _SURROGATE.sub("\ufffd", text.replace("\0", "\ufffd"))


def clean_text(value: str | None) -> str | None:
    """Return text that both databases accept, or None."""
    return None if value is None else replace_unstorable(value)


class CleanText(TypeDecorator[str]):
    """Text without characters that a database refuses, in rows and in the values of queries."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return clean_text(value)
