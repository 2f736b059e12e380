"""Log lines with the ids of their request and run: JSON for machines, one line for people.

Owns the format and the taking out of secrets; knows no handler but the one it installs. A line
costs about 10 µs, so none is written per token.
"""

import json as stdlib_json
import logging
import re
import sys
import time
from typing import Any, TextIO
from urllib.parse import quote

import msgspec

from telemetry.context import bound_fields, current_request

REDACTED = "[redacted]"

_SHORTEST_SECRET = 6
# A key may follow the two characters of an escaped newline, as in "…\nsk-…" inside JSON.
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf]))"
_SECRET = re.compile(
    rf"{_START}(?P<scheme>(?i:bearer))(?P<gap>(?:\s|%20|\\[nrt])+)[A-Za-z0-9._~+/=-]{{6,}}"
    rf"|{_START}(?:sk-|gsk_|xai-)[A-Za-z0-9_-]{{6,}}"
)
# Cheap tests before the expression: most lines hold none of these.
_MARKS = ("sk-", "gsk_", "xai-", "earer", "EARER")
_registered: set[str] = set()


def register_secret(value: str) -> None:
    """Take `value` out of every later log line; one under 6 characters would match by chance."""
    if len(value) < _SHORTEST_SECRET:
        return
    escaped = {stdlib_json.dumps(value, ensure_ascii=ascii_)[1:-1] for ascii_ in (True, False)}
    _registered.update({value, quote(value, safe=""), *escaped})


def redact(text: str) -> str:
    """Return `text` without registered secrets and without anything shaped like a key."""
    for secret in _registered:
        if secret in text:
            text = text.replace(secret, REDACTED)
    for mark in _MARKS:
        if mark in text:
            return _SECRET.sub(_keep_scheme, text)
    return text


def _keep_scheme(match: re.Match[str]) -> str:
    return f"{match['scheme']}{match['gap']}{REDACTED}" if match["scheme"] else REDACTED


def configure_logging(*, level: str, json: bool, stream: TextIO | None = None) -> None:
    """Send the root logger's lines to `stream` (stderr), in place of an earlier call's handler.

    Raises ValueError when `level` is not a level's name.
    """
    handler = _StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if json else ReadableFormatter())
    root = logging.getLogger()
    root.setLevel(level.upper())
    for earlier in [each for each in root.handlers if isinstance(each, _StreamHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    for chatty in ("httpx", "httpcore", "asyncio", "urllib3", "aiosqlite", "alembic"):
        # Each writes a line per request or more, aiosqlite with what users said; alembic several
        # at every start.
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


class _StreamHandler(logging.StreamHandler[TextIO]):
    """Ours, to tell it from another's on the root logger."""


# What a record has before anyone adds `extra` to it; the rest is extra.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OURS = frozenset({"time", "level", "logger", "exception"})


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the line's fields: what, where, the ids known here, then the extra ones."""
    fields: dict[str, Any] = {
        "time": _rfc3339(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    request = current_request()
    if request is not None:
        fields["request_id"] = request.request_id
        fields["trace_id"] = request.trace_id
        fields["span_id"] = format(request.span.get_span_context().span_id, "016x")
        if request.run_id:
            fields["run_id"] = request.run_id
        if request.conversation_id:
            fields["conversation_id"] = request.conversation_id
    fields.update(bound_fields())
    extra = record.__dict__.keys() - _STANDARD  # usually empty, so cheaper than a loop
    if extra:
        fields.update({key: record.__dict__[key] for key in sorted(extra - _OURS)})
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self) -> None:
        super().__init__()
        self._encode = msgspec.json.Encoder(enc_hook=str).encode

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        fields = fields_of(record)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        try:
            line = self._encode(fields).decode()
        except (TypeError, ValueError, OverflowError, RecursionError):
            # Lone surrogates and odd dict keys, which msgspec refuses.
            line = stdlib_json.dumps({key: str(value) for key, value in fields.items()})
        return redact(line)


_CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(32), 127, 0x85, 0x2028, 0x2029)}
_SHOWN_ELSEWHERE = frozenset({"time", "level", "logger", "message", "trace_id", "span_id"})


class ReadableFormatter(logging.Formatter):
    """One line for a person: time, level, logger, message, then `key=value`; tracebacks follow."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline; control characters are written as escapes."""
        fields = fields_of(record)
        rest = [f"{key}={value}" for key, value in fields.items() if key not in _SHOWN_ELSEWHERE]
        clock = fields["time"][11:-1]
        start = f"{clock} {record.levelname:<7} {record.name}: {fields['message']}"
        line = "  ".join((start, " ".join(rest))) if rest else start
        line = line.translate(_CONTROL)
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redact(line)


_second: tuple[int, str] = (-1, "")


def _rfc3339(at: float) -> str:
    """Return the UTC time with milliseconds; a second's text is kept, since lines come in bursts.

    Source: https://www.rfc-editor.org/rfc/rfc3339#section-5.6
    """
    global _second
    whole = int(at)
    second, text = _second
    if second != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _second = (whole, text)
    return f"{text}.{int((at - whole) * 1000):03d}Z"
