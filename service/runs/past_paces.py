"""The usual pace of agents at the start of a process, from the calls that the database has."""

from __future__ import annotations

import logging

from service.ensembles.catalog import Catalog
from service.errors import StorageUnavailable
from service.llm.endpoints.pace import AgentPace, AgentPaces
from service.store.call_history import CallHistory, PastCall

_log = logging.getLogger(__name__)

_MOST_CALLS = 500


async def load_paces(history: CallHistory, paces: AgentPaces, catalog: Catalog) -> None:
    """Record the last calls of agents whose configuration has not changed since.

    Agents that have been called in this process are left out. Without the database nothing is
    known.
    """
    try:
        calls = await history.list_recent(_MOST_CALLS)
    except StorageUnavailable as error:
        _log.info("the usual pace of agents is not known yet: %s", error)
        return
    found = [(pace, call) for call in calls if (pace := _find_pace(call, paces, catalog))]
    unknown = {id(pace) for pace, _ in found if not pace.is_known}
    for pace, call in found:
        if id(pace) in unknown and call.first_token_ms is not None:
            pace.record_answer(
                first_s=call.first_token_ms / 1000,
                end_s=call.elapsed_ms / 1000,
                silence_s=None,
                tokens=call.usage.output_tokens,
            )


def _find_pace(call: PastCall, paces: AgentPaces, catalog: Catalog) -> AgentPace | None:
    """Return the pace of the agent that was called; None if the call says nothing about it."""
    agent = catalog.agents.get(call.agent.partition("#")[0])
    if agent is None or call.reused or call.config_hash != agent.config_hash:
        return None
    if call.model not in (agent.model, *agent.fallbacks):
        return None
    return paces.of(agent.name, agent.base_url, call.model)
