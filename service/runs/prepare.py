"""Makes an order of a question: who answers, what was said before, what there is already."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from service.conversation import Branch
from service.domain import AgentReport, RunRequest
from service.ensembles.catalog import Catalog, Ensemble
from service.errors import FieldError, RequestError
from service.ids import new_id
from service.llm.content_parts import accepts, part_types
from service.messages import restore_question
from service.runs.history.conversation import apply_history
from service.runs.launcher import PreparedRun
from service.runs.settings import IdempotencyKey, Limits
from service.store.records import NewKey, NewRun, StoredRun
from service.store.runs import RunStore
from service.strategies import STRATEGIES
from telemetry import current_request

# What is worth asking again: a run that was stopped on purpose is too, but only when told to.
RETRYABLE = frozenset({"failed", "interrupted", "cancelled"})


class Intake:
    """Prepares runs, up to the point where they can be committed."""

    def __init__(self, tables: RunStore, limits: Limits, worker_id: str) -> None:
        self._tables = tables
        self._limits = limits
        self._worker_id = worker_id

    async def order(
        self,
        ask: RunRequest,
        catalog: Catalog,
        key: IdempotencyKey | None = None,
        retried: StoredRun | None = None,
    ) -> PreparedRun:
        """Return the order for `ask`, which takes the place of the run `retried`.

        Raises RequestError 400 for an unknown ensemble, and StorageUnavailable.
        """
        ensemble = _ensemble(ask, catalog)
        exchanges, before = self._limits.exchanges, retried.id if retried else None
        context = await apply_history(ask, self._tables, exchanges, before)
        now = datetime.now(UTC)
        keyed_s = self._limits.idempotency_s if key else 0.0
        opening = NewRun(
            run_id=new_id("run"),
            worker_id=self._worker_id,
            ask=context.request,
            ensemble=ensemble.name,
            config_hash=ensemble.config_hash,
            config=_config(ensemble),
            trace_id=request.trace_id if (request := current_request()) else "",
            created_at=now,
            initial_messages=context.initial_messages,
            preceding=context.preceding,
            key=self._new_key(key, now) if key else None,
            retry_of=retried.id if retried else None,
        )
        return PreparedRun(
            opening=opening,
            ensemble=ensemble,
            catalog=catalog,
            retention=timedelta(seconds=max(self._limits.retention_s, keyed_s)),
            reused=await self._reusable_answers(ensemble, retried) if retried else {},
        )

    def _new_key(self, key: IdempotencyKey, now: datetime) -> NewKey:
        return NewKey(
            key=key.key,
            fingerprint=key.fingerprint,
            expires_at=now + timedelta(seconds=self._limits.idempotency_s),
            replaces=key.bound_to,
        )

    async def _reusable_answers(
        self, ensemble: Ensemble, run: StoredRun
    ) -> Mapping[str, AgentReport]:
        """Return the answers of `run` whose agents have an unchanged configuration."""
        answers = await self._tables.list_agent_answers(run.owner, run.id)
        setups = {agent.name: agent.config_hash for agent in ensemble.agents}
        return {
            answer.agent: answer.report
            for answer in answers
            if answer.state == "answered"
            and setups.get(answer.agent) == answer.config_hash
            and answer.report.text  # what it called instead is not kept with it
        }


def ask_of(run: StoredRun) -> RunRequest:
    """Return the question of a stored run, to be asked again."""
    return RunRequest(
        messages=(*run.preceding, restore_question(run.question, run.raw)),
        message_id=run.message_id,
        history=Branch(run.conversation_id, run.follows),
        ensemble=run.ensemble,
        stream_agents=run.stream_agents,
        max_tokens=run.max_tokens,
        timeout_s=run.timeout_s,
        owner=run.owner,
        options=run.options,
    )


def _ensemble(ask: RunRequest, catalog: Catalog) -> Ensemble:
    ensemble = catalog.find(ask.ensemble)
    if ensemble is None:
        there_are = ", ".join(sorted(catalog.ensembles))
        fault = FieldError("ensemble", f"there is no such ensemble; there are: {there_are}")
        raise RequestError("unknown_ensemble", f"Ensemble: {fault.message}.", [fault])
    honours = STRATEGIES[ensemble.strategy].honours
    for parameter in ask.options.parameters:
        if honours is not None and parameter not in honours:
            raise _cannot(parameter, f"ensemble {ensemble.name} makes one answer of several")
    types = part_types(ask.messages)
    if types and not any(accepts(agent, types) for agent in ensemble.agents):
        raise _cannot("messages", f"no agent of {ensemble.name} takes {', '.join(sorted(types))}")
    return ensemble


def _cannot(field: str, why: str) -> RequestError:
    fault = FieldError(field, f"not supported here: {why}; ask one agent, as agent/<name>")
    sentence = f"The request does not fit: {field}: {fault.message}."
    return RequestError("unsupported_parameter", sentence, [fault])


def _config(ensemble: Ensemble) -> str:
    return msgspec.json.encode(ensemble).decode()
