"""Continuation of answers that broke off after their first token."""

from __future__ import annotations

from service.errors import (
    BadStream,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
)
from service.llm.decoding.content import MAX_ANSWER_CHARS
from service.strategies.calls.context import CallContext

# The ends of a stream that say nothing about its text; a refusal or a filter would come again.
_BREAKS = (UpstreamBroken, UpstreamTimeout, UpstreamFailed, UpstreamBusy, BadStream)


def can_continue(context: CallContext, error: UpstreamError) -> bool:
    """Return whether an answer that broke off with `error` is to be continued.

    Not a tool call and not JSON in a required format: a server starts them anew.
    """
    kit, text = context.kit, context.text
    return (
        context.has_call_output
        and context.seams < kit.ensemble.continues
        and isinstance(error, _BREAKS)
        and not context.bill.reply.calls
        and not context.plan.has_format
        and bool(text.strip())
        and len(text) < MAX_ANSWER_CHARS  # a longer one broke off because of its length
        and context.has_time_left
        and not kit.over_cost
    )
