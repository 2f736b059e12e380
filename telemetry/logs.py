"""Log formatting: JSON or readable lines with the ids of their request and run, without secrets.

Owns the format and the redaction of secrets, and touches only the handler that it installs. A line
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

from telemetry.context import current_request, get_bound_fields

REDACTED = "[redacted]"

_SHORTEST_SECRET = 8
_LONGER_THAN_WORDS = 20
# Inside JSON a key may follow the two characters of an escaped newline: "…\nsk-…".
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf]))"
_SECRET = re.compile(
    rf"{_START}(?P<scheme>(?i:bearer))(?P<gap>(?:\s|%20|\\[nrt])+)[A-Za-z0-9._~+/=-]{{8,}}"
    rf"|{_START}(?:sk-|gsk_|xai-)[A-Za-z0-9_-]{{6,}}"
)
# Substring tests before the slower expression: most lines contain none of these.
_MARKS = ("sk-", "gsk_", "xai-", "earer", "EARER")
# Where a short secret may start: not inside a word, but after an escape of JSON or of a URL.
_BEFORE = r"(?:(?<![^\W_])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2}))"
_registered: dict[str, re.Pattern[str]] = {}


def register_secret(value: str) -> None:
    """Redact `value` in every later log line.

    A value below 8 characters is ignored, since it would match ordinary text.
    """
    if len(value) < _SHORTEST_SECRET:
        return
    escaped = {stdlib_json.dumps(value, ensure_ascii=ascii_)[1:-1] for ascii_ in (True, False)}
    for each in {value, quote(value, safe=""), *escaped}:
        _registered[each] = _compile_secret(each)


def redact(text: str) -> str:
    """Return `text` with registered secrets and anything that looks like an API key redacted."""
    for secret, pattern in _registered.items():
        if secret in text:
            text = pattern.sub(REDACTED, text)
    for mark in _MARKS:
        if mark in text:
            return _SECRET.sub(_keep_scheme, text)
    return text


def redact_value(text: str, secret: str) -> str:
    """Return `text` with `secret` redacted, unless it is too short to be one."""
    if len(secret) < _SHORTEST_SECRET or secret not in text:
        return text
    return _compile_secret(secret).sub(REDACTED, text)


def _compile_secret(secret: str) -> re.Pattern[str]:
    """Return an expression for a secret: anywhere if it is longer than words, else as a word."""
    if len(secret) >= _LONGER_THAN_WORDS:
        return re.compile(re.escape(secret))
    return re.compile(rf"{_BEFORE}{re.escape(secret)}(?![^\W_])")


def _keep_scheme(match: re.Match[str]) -> str:
    return f"{match['scheme']}{match['gap']}{REDACTED}" if match["scheme"] else REDACTED


def configure_logging(*, level: str, json: bool, stream: TextIO | None = None) -> None:
    """Send the root logger's lines to `stream` (default: stderr).

    A second call replaces the handler of the first. Raises ValueError for an unknown `level`.
    """
    handler = _StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if json else ReadableFormatter())
    root = logging.getLogger()
    root.setLevel(level.upper())
    for earlier in [each for each in root.handlers if isinstance(each, _StreamHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    for chatty in ("httpx", "httpcore", "asyncio", "urllib3", "aiosqlite", "alembic"):
        # Each writes at least one line per request; aiosqlite's lines contain users' text.
        # alembic writes several lines at every start.
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


class _StreamHandler(logging.StreamHandler[TextIO]):
    """The handler of `configure_logging`; its class distinguishes it from foreign handlers."""


# The attributes of every record; any other attribute came with `extra`.
_RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_RESERVED = frozenset({"time", "level", "logger", "exception"})


def collect_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a log line: time, level, logger, message, known ids, then `extra`."""
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
    fields.update(get_bound_fields())
    extra = record.__dict__.keys() - _RECORD_ATTRIBUTES  # usually empty, so cheaper than a loop
    if extra:
        fields.update({key: record.__dict__[key] for key in sorted(extra - _RESERVED)})
    return fields


class JsonFormatter(logging.Formatter):
    """Formats each record as one JSON object."""

    def __init__(self) -> None:
        super().__init__()
        self._encode = msgspec.json.Encoder(enc_hook=str).encode

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        fields = collect_fields(record)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        try:
            line = self._encode(fields).decode()
        except (TypeError, ValueError, OverflowError, RecursionError):
            # msgspec rejects lone surrogates and unusual dict keys.
            line = stdlib_json.dumps({key: str(value) for key, value in fields.items()})
        return redact(line)


_CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(32), 127, 0x85, 0x2028, 0x2029)}
_NOT_REPEATED = frozenset({"time", "level", "logger", "message", "trace_id", "span_id"})
# In the message of an access line; its run's line has the conversation.
_NOT_REPEATED_OF_ACCESS = _NOT_REPEATED | {"method", "path", "status", "conversation_id"}


class ReadableFormatter(logging.Formatter):
    """Formats each record as time, level, logger, message and `key=value`; tracebacks follow."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline; control characters are escaped."""
        fields = collect_fields(record)
        omitted = _NOT_REPEATED
        if record.name == "access":
            omitted = _NOT_REPEATED_OF_ACCESS
            if fields.get("run_id", "") in fields["message"]:
                omitted |= {"run_id"}
        rest = [f"{key}={value}" for key, value in fields.items() if key not in omitted]
        clock = fields["time"][11:-1]
        start = f"{clock} {record.levelname:<7} {record.name}: {fields['message']}"
        line = "  ".join((start, " ".join(rest))) if rest else start
        line = line.translate(_CONTROL)
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redact(line)


_last_second: tuple[int, str] = (-1, "")


def _rfc3339(at: float) -> str:
    """Return the UTC time with milliseconds.

    The text of the last second is cached, since lines come in bursts.


    Source: https://www.rfc-editor.org/rfc/rfc3339#section-5.6
    """
    global _last_second
    whole = int(at)
    second, text = _last_second
    if second != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _last_second = (whole, text)
    return f"{text}.{int((at - whole) * 1000):03d}Z"
