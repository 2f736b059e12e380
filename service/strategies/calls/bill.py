"""Usage and cost of the calls of one agent: of those that ended, and of the current one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.domain import Usage, add_costs
from service.ensembles.prices import Price
from service.llm.decoding.think_tags import ThinkTags
from service.llm.reply import Reply
from service.llm.requests.plan import RequestPlan


@dataclass(slots=True, eq=False)
class _BilledCall:
    """A call of `model` that has not been added to the totals."""

    model: str
    reply: Reply
    was_cut_off: bool = False


class Bill:
    """Adds up usage and cost over all calls of an agent in one run.

    `model` and `reply` belong to the current call. Others, its hedges, may run beside it.
    """

    def __init__(
        self, model: str, think_tags: ThinkTags, plan: RequestPlan, prices: Mapping[str, Price]
    ) -> None:
        self._think_tags = think_tags
        self._plan = plan
        self._prices = prices
        self._current = self._make_call(model)
        self._others: list[_BilledCall] = []
        self._past_usage = Usage()
        self._past_cost: float | None = None

    @property
    def model(self) -> str:
        """The model of the current call."""
        return self._current.model

    @property
    def reply(self) -> Reply:
        """The reply to the current call so far."""
        return self._current.reply

    def start_call(self, model: str) -> None:
        """Add the current call to the totals, and start a call of `model`."""
        self._add_to_totals(self._current)
        self._current = self._make_call(model)

    def start_second_call(self, model: str) -> Reply:
        """Start a call of `model` beside the current one; return its reply."""
        call = self._make_call(model)
        self._others.append(call)
        return call.reply

    def promote_call(self, reply: Reply) -> None:
        """Make the call with this reply the current one, and the current one one of the others."""
        call = self._take(reply)
        self._others.append(self._current)
        self._current = call

    def close_second_call(self, reply: Reply, *, was_cut_off: bool) -> None:
        """Add another call to the totals; `was_cut_off` if it was ended without an error."""
        call = self._take(reply)
        call.was_cut_off = was_cut_off
        self._add_to_totals(call)

    def close(self) -> None:
        """Record that the current call ended without an error, by its answer or by a cancellation.

        Its tokens are estimated if the server reported none.
        """
        self._current.was_cut_off = True

    @property
    def usage(self) -> Usage:
        """The tokens of all calls so far."""
        return sum((self._usage_of(each) for each in self._open_calls), self._past_usage)

    @property
    def cost(self) -> float | None:
        """The cost of all calls so far in US dollars; None when no price is known."""
        return add_costs(self._past_cost, *(self._cost_of(each) for each in self._open_calls))

    @property
    def _open_calls(self) -> Sequence[_BilledCall]:
        return (self._current, *self._others)

    def _take(self, reply: Reply) -> _BilledCall:
        (call,) = [each for each in self._others if each.reply is reply]
        self._others.remove(call)
        return call

    def _make_call(self, model: str) -> _BilledCall:
        return _BilledCall(model, Reply.for_model(self._think_tags, model))

    def _add_to_totals(self, call: _BilledCall) -> None:
        self._past_usage += self._usage_of(call)
        self._past_cost = add_costs(self._past_cost, self._cost_of(call))

    def _usage_of(self, call: _BilledCall) -> Usage:
        if call.reply.usage:
            return call.reply.usage
        was_cut_off = call.was_cut_off and call.reply.was_sent
        if call.reply.token_chunks or was_cut_off:  # the server worked, but reported no usage
            return Usage.estimate(self._plan.messages, call.reply.text)
        return Usage()

    def _cost_of(self, call: _BilledCall) -> float | None:
        price = self._prices.get(call.model)
        return price.cost_usd(self._usage_of(call)) if price else None
