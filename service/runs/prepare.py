"""Prepares a run: its ensemble, its history, and the answers that a retry reuses."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from service.domain import AgentReport, RunRequest
from service.ensembles.catalog import Catalog, Ensemble
from service.errors import FieldError, RequestError
from service.ids import new_id
from service.llm.content_parts import accepts, list_part_types
from service.runs.budgets import RunBudgets
from service.runs.history.conversation import apply_history
from service.runs.launcher import PreparedRun
from service.runs.settings import IdempotencyKey, Limits
from service.store.records import NewKey, NewRun, StoredRun
from service.store.runs import RunStore
from service.strategies import STRATEGIES
from service.strategies.options.parameters import TOOL_PARAMETERS, find_unsupported
from telemetry import current_request


@dataclass(frozen=True, slots=True)
class Substitute:
    """An ensemble that no file names, and the answers of agents that it does not call."""

    ensemble: Ensemble
    reused: Mapping[str, AgentReport]


@dataclass(frozen=True, slots=True)
class RunStart:
    """A run to start for `request`, with its Idempotency-Key and the run that it retries.

    `substitute` takes the place of the ensemble that the request names.
    """

    request: RunRequest
    key: IdempotencyKey | None = None
    retried: StoredRun | None = None
    substitute: Substitute | None = None


class Preparer:
    """Prepares runs up to the point where they can be committed."""

    def __init__(
        self, store: RunStore, limits: Limits, worker_id: str, budgets: RunBudgets
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._limits = limits
        self._worker_id = worker_id

    async def prepare(self, start: RunStart, catalog: Catalog) -> PreparedRun:
        """Return the run to commit and launch.

        Raises RequestError 400 for an unknown ensemble, a parameter that it does not support and
        tool calls without results, 402 for one that can cost too much, and StorageUnavailable.
        """
        key, retried, ask = start.key, start.retried, start.request
        substitute = start.substitute
        ensemble = substitute.ensemble if substitute else find_ensemble(ask.ensemble, catalog)
        _check_supported(ask, ensemble)
        exchanges, before = self._limits.exchanges, retried.id if retried else None
        context = await apply_history(ask, self._store, exchanges, before)
        reused = await self._find_reusable(ensemble, start)
        run_id = new_id("run")
        plan = await self._budgets.plan(run_id, context.request, ensemble, catalog, reused)
        now = datetime.now(UTC)
        keyed_s = self._limits.idempotency_s if key else 0.0
        opening = NewRun(
            run_id=run_id,
            worker_id=self._worker_id,
            ask=context.request,
            ensemble=ensemble.name,
            config_hash=ensemble.config_hash,
            config=_encode_config(ensemble),
            trace_id=incoming.trace_id if (incoming := current_request()) else "",
            created_at=now,
            initial_messages=context.initial_messages,
            preceding=context.preceding,
            key=self._new_key(key, now) if key else None,
            retry_of=retried.id if retried else None,
            demands=plan.demands,
        )
        return PreparedRun(
            opening=opening,
            ensemble=ensemble,
            catalog=catalog,
            retention=timedelta(seconds=max(self._limits.retention_s, keyed_s)),
            reused=reused,
            spending=plan.spending,
        )

    def _new_key(self, key: IdempotencyKey, now: datetime) -> NewKey:
        return NewKey(
            key=key.key,
            fingerprint=key.fingerprint,
            expires_at=now + timedelta(seconds=self._limits.idempotency_s),
            replaces=key.bound_to,
        )

    async def _find_reusable(
        self, ensemble: Ensemble, start: RunStart
    ) -> Mapping[str, AgentReport]:
        """Return the answers of the retried run whose agents have an unchanged configuration."""
        run = start.retried
        if start.substitute or run is None:
            return start.substitute.reused if start.substitute else {}
        answers = await self._store.list_agent_answers(run.owner, run.id)
        config_hashes = {agent.name: agent.config_hash for agent in ensemble.agents}
        return {
            answer.agent: answer.report
            for answer in answers
            if answer.state == "answered"
            and config_hashes.get(answer.agent) == answer.config_hash
            and answer.report.text  # tool calls are not stored with it
        }


def find_ensemble(name: str, catalog: Catalog) -> Ensemble:
    """Return the ensemble of this name, "" for the default one. Raises RequestError 400."""
    ensemble = catalog.find(name)
    if ensemble is None:
        raise _unknown_ensemble(name, catalog)
    return ensemble


def _check_supported(request: RunRequest, ensemble: Ensemble) -> None:
    faults = list(_find_unsupported(request, ensemble))
    if faults:
        named = "; ".join(f"{each.field}: {each.message}" for each in faults)
        sentence = f"The request is not valid: {named}."
        raise RequestError("unsupported_parameter", sentence, faults)


def _unknown_ensemble(name: str, catalog: Catalog) -> RequestError:
    known = sorted(catalog.ensembles)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    are = "The only ensemble is" if len(known) == 1 else "The ensembles are"
    names = " and ".join([*([", ".join(known[:-1])] if known[1:] else []), known[-1]])
    sentence = f"There is no ensemble named {name}{hint} {are} {names}."
    return RequestError("unknown_ensemble", sentence, [FieldError("ensemble", sentence)])


def _find_unsupported(request: RunRequest, ensemble: Ensemble) -> Iterator[FieldError]:
    """Yield the parameters and messages that `ensemble` cannot honour."""
    honours = STRATEGIES[ensemble.strategy].honours
    for parameter in find_unsupported(request, ensemble, honours):
        why = f"ensemble {ensemble.name} makes one answer of several"
        has_remedy = parameter in TOOL_PARAMETERS
        yield _unsupported(parameter, f"{why} without a tools_policy" if has_remedy else why)
    types = list_part_types(request.messages)
    if types and not any(accepts(agent, types) for agent in ensemble.agents):
        yield _unsupported(
            "messages", f"no agent of {ensemble.name} takes {', '.join(sorted(types))}"
        )


def _unsupported(field: str, why: str) -> FieldError:
    return FieldError(field, f"not supported here: {why}; ask one agent, as agent/<name>")


def _encode_config(ensemble: Ensemble) -> str:
    return msgspec.json.encode(ensemble).decode()
