"""The moment until which a run waits for an agent, after enough others have answered.

It is the 95th percentile of the agent's own recent calls for the phase that it is in: until its
first token, within a silence, or for its remaining tokens at its current rate.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from service.llm.endpoints.pace import AgentPace
from service.strategies.calls.attempt import ModelAttempt, Phase
from service.strategies.calls.context import CallContext

_MARGIN = 1.25  # of each limit
_LEAST_MARGIN_S = 0.25  # delays of the network and of this process
_LEAST_TOKENS = 5  # with fewer, the usual rate of the agent is better known than the current one


class Cutoff(NamedTuple):
    """The moment in loop time at which an agent is cut off, and the limit that it exceeds then."""

    at: float
    phase: Phase


def find_cutoff(context: CallContext, latest: float) -> Cutoff:
    """Return the moment at which the agent is cut off unless it makes progress before.

    An agent with too few recent calls, and one whose limits are being probed, is cut off at
    `latest`, the limit of the ensemble. Otherwise it has until the last moment of its requests
    under way: the original and the hedge.
    """
    if context.is_probe is None:
        context.is_probe = context.pace.start_probe()
    if context.is_probe:
        return Cutoff(latest, "limit")
    cutoffs = [_find_cutoff_of(each) for each in context.attempts]
    if not cutoffs:  # before the first attempt, or in the delay before the next one
        cutoffs = [_wait_for_first_token(context.pace, context.next_attempt_at)]
    return min(max(cutoffs), Cutoff(latest, "limit"))


def _find_cutoff_of(attempt: ModelAttempt) -> Cutoff:
    pace = attempt.pace
    if attempt.first_at is None:
        return _wait_for_first_token(pace, attempt.started_at)
    silence_s = pace.silence_s.find_limit()
    silent_at = attempt.last_at + _add_margin(silence_s)
    return min(Cutoff(silent_at, "silence"), Cutoff(_find_end(attempt, attempt.first_at), "length"))


def _wait_for_first_token(pace: AgentPace, started_at: float) -> Cutoff:
    return Cutoff(started_at + _add_margin(pace.first_token_s.find_limit()), "first_token")


def _find_end(attempt: ModelAttempt, first_at: float) -> float:
    """Return the end of the usual number of tokens at the current rate, in loop time.

    It is determined once, when the current rate is known: an agent that slows down after that
    gets no more time.
    """
    if attempt.finish_by is not None:
        return attempt.finish_by
    pace, now = attempt.pace, asyncio.get_running_loop().time()
    usual, done = pace.tokens.find_limit(), attempt.reply.token_chunks
    if usual is None:
        return float("inf")
    token_s = (now - first_at) / max(1, done - 1)
    if done < _LEAST_TOKENS:
        token_s = max(token_s, pace.token_s.find_limit() or 0.0)
    ends_at = now + _add_margin(max(0.0, usual - done) * token_s)
    if done >= _LEAST_TOKENS:
        attempt.finish_by = ends_at
    return ends_at


def _add_margin(limit_s: float | None) -> float:
    """Return the limit with its margin; infinite for an unknown one."""
    return float("inf") if limit_s is None else max(_MARGIN * limit_s, limit_s + _LEAST_MARGIN_S)
