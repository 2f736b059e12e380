"""A strategy run on scripted models, with its events and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from service.coalescing import CoalescingWindow
from service.domain import AgentReport, Answer, RunRequest
from service.ensembles.catalog import Agent
from service.errors import RunError
from service.llm.client import LLMClient
from service.llm.endpoints.hedges import HedgeBudgets
from service.llm.endpoints.pace import AgentPaces
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import TokenCounter
from service.strategies import Kit, run_strategy
from telemetry import Telemetry, TelemetryConfig
from tests._support.llm.scripted import (
    EmittedEvents,
    Recording,
    a_catalog,
    an_ask,
    an_ensemble_file,
    no_key,
    now,
)


@dataclass
class Outcome(EmittedEvents):
    """The events of a strategy, and the answer that it returned or the error that it raised."""

    returned: Answer | None = None
    error: RunError | None = None
    server: Recording = field(default_factory=Recording)
    kit: Kit = field(init=False)

    @property
    def good(self) -> Answer:
        assert self.returned is not None, self.error
        return self.returned

    @property
    def bad(self) -> RunError:
        assert self.error is not None
        return self.error


async def play(
    agents: Mapping[str, Mapping[str, Any]],
    combiner: Mapping[str, Any] | None,
    *,
    ask: RunRequest | None = None,
    prices: Iterable[str] = (),
    server: httpx.AsyncBaseTransport | None = None,
    budget: RetryBudget | None = None,
    deadline_s: float = 180.0,
    tokens: TokenCounter | None = None,
    telemetry: Telemetry | None = None,
    outcome: Outcome | None = None,
    client: LLMClient | None = None,
    paces: AgentPaces | None = None,
    hedges: HedgeBudgets | None = None,
    keys: Callable[[Agent], str | None] = no_key,
    endpoints: Mapping[str, float] | None = None,
    reused: Mapping[str, AgentReport] | None = None,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    members: Sequence[str] | None = None,
    tables: str = "",
    continues: int | None = None,
    **ensemble: Any,
) -> Outcome:
    """Run the strategy of an ensemble; a RunError is a part of the outcome.

    A `client` of an earlier outcome passes on what it knows about models and endpoints; `paces` and
    `hedges` do the same. `endpoints` has the `hedge` of addresses. `others` are agents that keys of
    the ensemble name, such as its judge. `members` may name agents twice.
    `tables` is added to the text of the file; `continues` is its key `continue`.
    """
    if continues is not None:
        ensemble["continue"] = continues
    if members:
        ensemble["members"] = list(members)
    text = an_ensemble_file(agents, combiner, prices, others, **ensemble)
    for address, hedge in (endpoints or {}).items():
        text += f'\n[endpoints."{address}"]\nhedge = {hedge}'
    catalog = a_catalog(f"{text}\n{tables}")
    outcome = outcome or Outcome(server=Recording(server))
    telemetry = telemetry or Telemetry(TelemetryConfig())
    async with outcome.server:
        new_client = LLMClient(outcome.server, CoalescingWindow(), key_needed=False)
        if client:
            new_client.learned, new_client.endpoints = client.learned, client.endpoints
        new_client.endpoints.configure(catalog)
        outcome.kit = Kit(
            client=new_client,
            ensemble=catalog.ensembles["fanout"],
            keys=keys,
            prices=catalog.prices,
            budget=budget or RetryBudget(),
            workflow=telemetry.start_workflow(
                "fanout",
                run_id="run_1",
                conversation_id="conv_1",
                config_hash="",
                agents=list(agents),
                parent=None,
            ),
            deadline=now() + deadline_s,
            tokens=tokens or TokenCounter(),
            paces=paces or AgentPaces(),
            hedges=hedges or HedgeBudgets(),
            run_id="run_1",
            reused=reused or {},
        )
        try:
            outcome.returned = await run_strategy(ask or an_ask(), outcome.kit, outcome.emit)
        except RunError as error:
            outcome.error = error
    return outcome
