"""Typed errors for failures that a model's server reports, with a status or in its answer. Sans-IO.

`make_status_error` is the one place that maps status, headers and body to an error.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

from service.errors import (
    ServerReport,
    UpstreamBusy,
    UpstreamContextExceeded,
    UpstreamError,
    UpstreamFailed,
    UpstreamInvalidRequest,
    UpstreamRefused,
)
from service.llm.errors.bodies import ErrorFacts, is_error_document, read_error, read_error_body
from service.llm.errors.wordings import (
    find_prompt_tokens,
    find_window_tokens,
    is_about_address,
    is_about_key,
    is_context_refusal,
    is_quota_refusal,
)

# Statuses that are retried whatever the error object says, as docs/api promises; so is every 5xx.
# Other 4xx are UpstreamRefused.
_RETRIED: dict[int, type[UpstreamError]] = {
    408: UpstreamFailed,
    409: UpstreamBusy,
    425: UpstreamBusy,
    429: UpstreamBusy,
    498: UpstreamBusy,  # Groq: the flex tier has no capacity
}
# Statuses with which a server refuses the content of a request: messages, tools, parameters.
_CALLERS_FAULT = frozenset({400, 414, 415, 422})
_TOO_LARGE = 413  # Groq reports a request beyond the limit per minute as rate_limit_exceeded

# Codes of an error object without one of these statuses, such as one within a stream.
_ERROR_BY_CODE: dict[str, type[UpstreamError]] = {
    "invalid_api_key": UpstreamRefused,
    "model_not_found": UpstreamRefused,
    "not_found_error": UpstreamRefused,
    "invalid_request_error": UpstreamInvalidRequest,
    "authentication_error": UpstreamRefused,
    "permission_error": UpstreamRefused,
    "content_filter": UpstreamInvalidRequest,
    "content_policy_violation": UpstreamInvalidRequest,
    "rate_limit_exceeded": UpstreamBusy,
    "rate_limit_error": UpstreamBusy,
    "rate_limited": UpstreamBusy,
    "too_many_requests": UpstreamBusy,
    "resource_exhausted": UpstreamBusy,
    "overloaded_error": UpstreamBusy,
    "engine_overloaded": UpstreamBusy,
    "server_overloaded": UpstreamBusy,
}


# Also with a unit, and repeated by a proxy: "30s", "30, 30".
_SECONDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:s|sec|seconds)?\s*(?:,.*)?", re.ASCII)


def make_stream_error(error: Any, model: str) -> UpstreamError:
    """Return the error for an error object within a stream, or in an answer with status 200.

    `error` is the object, or the JSON document that contains it.
    """
    facts = read_error(error)
    status = _find_status(facts)
    sentence = facts.sentence or "no reason given"
    return _make_error(facts, status, f"{model} reported an error: {sentence}")


def make_document_error(document: Any, model: str, *, is_all: bool = False) -> UpstreamError | None:
    """Return the error that a JSON document without an answer reports; None if it reports none.

    `is_all`: the response has nothing else, so any sentence in it is that of an error.
    """
    is_error = is_error_document(document) or (is_all and bool(read_error(document).sentence))
    return make_stream_error(document, model) if is_error else None


def make_status_error(
    status: int, headers: Mapping[str, str], body: bytes, model: str
) -> UpstreamError:
    """Return the error for a response with a status other than 200."""
    facts = read_error_body(body)
    reason = facts.sentence.removeprefix(f"{status} ")  # a page repeats its status
    detail = f": {reason}" if reason else ""
    if status in {401, 403} and is_about_key(facts):
        message = (
            f"{model} refused the key ({status}){detail.rstrip('.')}; check the key's setting."
        )
    elif status in {404, 405} and is_about_address(facts):
        message = f"{model} answered {status}{detail.rstrip('.')}; check the agent's base_url."
    else:
        message = f"{model} answered {status}{detail or '.'}"
    error = _make_error(facts, status, message)
    error.retry_after_s = parse_retry_after_s(headers)
    error.report = replace(error.report, has_status=True)
    return error


def _make_error(facts: ErrorFacts, status: int | None, message: str) -> UpstreamError:
    is_context = is_context_refusal(facts)
    report = ServerReport(
        status=status,
        sentence=facts.sentence,
        fields=tuple(facts.fields),
        codes=tuple(facts.codes),
        window_tokens=find_window_tokens(facts) if is_context else None,
        prompt_tokens=find_prompt_tokens(facts) if is_context else None,
    )
    kind = UpstreamContextExceeded if is_context else _choose_kind(facts, status)
    return kind(message, report=report)


def _choose_kind(facts: ErrorFacts, status: int | None) -> type[UpstreamError]:
    """Return the kind of an error. A status that is retried takes precedence over the codes.

    An exhausted quota has the status of a rate limit (429), but waiting does not help.
    """
    if status is not None and status >= 500:
        return UpstreamFailed
    if is_quota_refusal(facts):
        return UpstreamRefused
    if status in _RETRIED:
        return _RETRIED[status]
    if status == _TOO_LARGE:
        return UpstreamInvalidRequest
    codes = (code.lower() for code in facts.codes)
    default = UpstreamFailed if status is None else UpstreamInvalidRequest
    kind = next((_ERROR_BY_CODE[code] for code in codes if code in _ERROR_BY_CODE), default)
    is_callers_fault = status in _CALLERS_FAULT and not (facts.sentence and is_about_key(facts))
    # OpenAI's type for a wrong key and an unknown model is invalid_request_error too.
    if kind is UpstreamInvalidRequest and not (is_callers_fault or status is None):
        return UpstreamRefused
    return kind


def _find_status(facts: ErrorFacts) -> int | None:
    """Return the HTTP status that an error object contains as a code (OpenRouter, vLLM)."""
    numbers = (int(code) for code in facts.codes if len(code) == 3 and code.isdecimal())
    return next((number for number in numbers if 400 <= number <= 599), None)


def parse_retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the delay in seconds that the server requests, None without a valid one.

    Source: RFC 9110, 10.2.3 (seconds or a date); OpenAI also sends `retry-after-ms`.
    """
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        value = headers.get("retry-after")
        if not value:
            return None
        if seconds := _SECONDS.fullmatch(value):
            return float(seconds[1])
        at = email.utils.parsedate_to_datetime(value)
        if at.tzinfo is None:  # asctime's form, which is always in GMT
            at = at.replace(tzinfo=UTC)
        return max(0.0, at.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
