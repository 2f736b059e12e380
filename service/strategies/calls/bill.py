"""Usage and cost of the calls of one agent: of those that ended, and of the current one."""

from __future__ import annotations

from collections.abc import Mapping

from service.domain import Price, Usage, add_costs
from service.llm.decoding.think_tags import ThinkTags
from service.llm.reply import Reply
from service.llm.requests.plan import RequestPlan


class Bill:
    """Adds up usage and cost over all calls of an agent in one run.

    `model` and `reply` belong to the current call.
    """

    def __init__(
        self, model: str, think_tags: ThinkTags, plan: RequestPlan, prices: Mapping[str, Price]
    ) -> None:
        self.model = model
        self.reply = Reply.for_model(think_tags, model)
        self._think_tags = think_tags
        self._plan = plan
        self._prices = prices
        self._was_cut_off = False
        self._past_usage = Usage()
        self._past_cost: float | None = None

    def start_call(self, model: str) -> None:
        """Add the current call to the totals, and start a call of `model`."""
        usage = self._current_usage()
        self._past_cost = add_costs(self._past_cost, self._price(usage))
        self._past_usage += usage
        self.model = model
        self.reply = Reply.for_model(self._think_tags, model)

    def close(self) -> None:
        """Record that the current call ended without an error, by its answer or by a cancellation.

        Its tokens are estimated if the server reported none.
        """
        self._was_cut_off = True

    @property
    def usage(self) -> Usage:
        """The tokens of all calls so far."""
        return self._past_usage + self._current_usage()

    @property
    def cost(self) -> float | None:
        """The cost of all calls so far in US dollars; None when no price is known."""
        return add_costs(self._past_cost, self._price(self._current_usage()))

    def _current_usage(self) -> Usage:
        if self.reply.usage:
            return self.reply.usage
        if self.reply.token_chunks or self._was_cut_off:  # the server worked, but reported no usage
            return Usage.estimate(self._plan.messages, self.reply.text)
        return Usage()

    def _price(self, usage: Usage) -> float | None:
        price = self._prices.get(self.model)
        return price.cost_usd(usage) if price else None
