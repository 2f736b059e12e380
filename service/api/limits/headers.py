"""Rate limits in responses: the headers of limited requests, and the error of a refused one.

Sources:
    RateLimit, RateLimit-Policy  https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
    x-ratelimit-*                https://platform.openai.com/docs/guides/rate-limits
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from service.errors import RequestError
from service.limits.amounts import PERIOD_S
from service.limits.counters import CounterState, Outcome
from service.store.budgets.records import BudgetState

READABLE: Final = (
    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, RateLimit-Policy, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
"""The headers that pages of other origins may read."""

_LONGEST_WAIT_OF_SDKS_S: Final = 60.0
_UNITS: Final = {"requests": "requests", "streams": "open streams"}


def list_headers(outcome: Outcome, now: datetime, *, openai: bool) -> dict[str, str]:
    """Return the headers of a limited response.

    `X-RateLimit-*` describe the rule of requests that is closest to its limit, or the rule that
    refuses the request; `X-RateLimit-Reset` is in seconds since 1970. With `openai` they are in
    OpenAI's names too.
    """
    state = outcome.refused_by or _closest(outcome.states)
    reset_at = now + timedelta(seconds=state.reset_s or state.retry_s)
    headers = {
        "X-RateLimit-Limit": str(state.limit),
        "X-RateLimit-Remaining": str(state.remaining),
        "X-RateLimit-Reset": str(math.ceil(reset_at.timestamp())),
        "RateLimit-Policy": ", ".join(_describe_policy(each) for each in outcome.states),
        "RateLimit": ", ".join(_describe_rest(each) for each in outcome.states),
    }
    if openai and state.rule.kind == "requests":
        headers |= {
            "x-ratelimit-limit-requests": str(state.limit),
            "x-ratelimit-remaining-requests": str(state.remaining),
            "x-ratelimit-reset-requests": format_duration(state.reset_s),
        }
    return headers


def list_token_headers(budgets: Sequence[BudgetState], now: datetime) -> dict[str, str]:
    """Return OpenAI's headers of the token budget that is closest to its limit."""
    of_tokens = [each for each in budgets if each.key.unit == "tokens"]
    if not of_tokens:
        return {}
    state = min(of_tokens, key=lambda each: each.remaining / each.limit)
    left_s = max(0.0, (state.period_end - now).total_seconds())
    return {
        "x-ratelimit-limit-tokens": str(state.limit),
        "x-ratelimit-remaining-tokens": str(state.remaining),
        "x-ratelimit-reset-tokens": format_duration(left_s),
    }


def refuse(state: CounterState, now: datetime) -> RequestError:
    """Return the error of a request that a limit refuses: the rule, its use, and its end.

    OpenAI's SDKs wait for a `Retry-After` of up to 60 s; after a longer one they would repeat the
    request at once.
    """
    after_s = max(1, math.ceil(state.retry_s))
    headers = {"Retry-After": str(after_s)}
    if after_s > _LONGEST_WAIT_OF_SDKS_S:
        headers["x-should-retry"] = "false"
    rule = state.rule
    used = f"The limit {rule.name!r} is reached: {state.used} of {state.limit}"
    if rule.kind == "streams":
        message = f"{used} answers are open; another one is possible when one of them has ended."
    else:
        at = (now + timedelta(seconds=after_s)).astimezone(UTC)
        message = (
            f"{used} requests {_describe_period(state)} are used; the next one is possible in "
            f"{after_s} s, at {at:%Y-%m-%dT%H:%M:%SZ}."
        )
    return RequestError("rate_limited", message, headers=headers)


def format_duration(seconds: float) -> str:
    """Return a duration in OpenAI's format: `250ms`, `1s`, `6m0s`, `1h0m30s`."""
    if 0 < seconds <= 0.999:
        return f"{math.ceil(seconds * 1_000)}ms"
    rest = math.ceil(seconds)
    hours, minutes = rest // 3_600, rest % 3_600 // 60
    text = f"{rest % 60}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _closest(states: Sequence[CounterState]) -> CounterState:
    """Return the state of requests with the smallest part left, else that of open streams."""
    requests = [each for each in states if each.rule.kind == "requests"]
    return min(requests or states, key=lambda each: each.remaining / each.limit)


def _describe_policy(state: CounterState) -> str:
    rule = state.rule
    if rule.kind == "streams":
        return f'{_name(state)};q={state.limit};qu="concurrent-requests"'
    quota = state.limit if rule.burst is None else rule.count
    return f"{_name(state)};q={quota};w={_window_of(state)}"


def _describe_rest(state: CounterState) -> str:
    rest = f"{_name(state)};r={state.remaining}"
    return f"{rest};t={math.ceil(state.reset_s)}" if state.rule.kind == "requests" else rest


def _name(state: CounterState) -> str:
    """Return the name of a policy as a string of a structured field: printable ASCII."""
    rule = state.rule
    name = f"{rule.name} {rule.kind}" if rule.kind == "streams" else rule.name
    ascii_name = name.encode("ascii", "replace").decode()
    return '"' + ascii_name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _window_of(state: CounterState) -> int:
    rule = state.rule
    if rule.window_s is not None:
        return math.ceil(rule.window_s)
    return PERIOD_S[rule.period] if rule.period else 0


def _describe_period(state: CounterState) -> str:
    rule = state.rule
    if rule.burst is not None:
        return f"at once, with {rule.count} more per {rule.period},"
    return f"in {_window_of(state)} s" if rule.window_s is not None else f"per {rule.period}"
