"""Attempts of one model: calls, corrections of refused requests, retries after failures."""

from __future__ import annotations

import asyncio
from itertools import count

from service.errors import RequestCorrected, UpstreamEmpty, UpstreamError
from service.llm.protocol import Call
from service.llm.resilience import BUDGET_SPENT, retry_delay_s
from service.strategies.calls.context import CallContext
from service.strategies.calls.hedging import HedgedCall


async def try_model(context: CallContext, model: str) -> None:
    """Call `model` until it answers. Raises UpstreamError when it is not to be called again."""
    context.kit.budget.record_call()
    failures = 0  # without those that a correction of the request has answered
    for attempt in count(1):
        call = context.build_call(model)
        try:
            answered = await HedgedCall(context, call, attempt).send()
        except UpstreamError as error:
            if context.continued and isinstance(error, UpstreamEmpty):
                return  # nothing was left to write
            if await _correct(context, error, call, attempt):
                continue
            failures += 1
            delay_s = _retry_delay_s(context, error, failures)
            if delay_s is None:
                raise
            context.operation.record_retry(error.code, delay_s)
            await context.emit_retrying(error, model, attempt, delay_s)
        else:
            await context.finish_text()
            await context.plan.record_answer(answered, context.bill.reply.usage)
            return
        context.bill.start_call(model)
        context.next_attempt_at = asyncio.get_running_loop().time() + delay_s
        await asyncio.sleep(delay_s)


async def _correct(context: CallContext, error: UpstreamError, call: Call, attempt: int) -> bool:
    """Correct the request if its refusal states how; return whether it is to be repeated.

    This takes nothing from the retry budget: a correction is remembered, so it is rare.
    """
    if context.has_call_output or not context.has_time_left:
        return False
    change = await context.plan.correct(error, call)
    if change is None:
        return False
    refusal = error.message.rstrip(".")
    corrected = RequestCorrected(f"{refusal}. It is called again {change}.")
    context.operation.record_retry(corrected.code, 0)
    await context.emit_retrying(corrected, call.model, attempt, 0)
    context.bill.start_call(call.model)
    return True


def _retry_delay_s(context: CallContext, error: UpstreamError, attempt: int) -> float | None:
    """Return the seconds until the next attempt; None when the model is not called again."""
    if not error.retryable or context.has_call_output or attempt > context.agent.retries:
        return None
    if not context.kit.client.endpoints.admits(context.agent.base_url, context.bill.model):
        return None  # its circuit has opened: a fallback model is called at once
    delay_s = retry_delay_s(attempt, error.retry_after_s)
    if delay_s >= context.time_left_s():
        return None
    context.was_retried = True
    if not context.kit.budget.withdraw(context.agent.name):
        error.append(BUDGET_SPENT)
        return None
    return delay_s
