"""Another answer from the stored answers of a run: with another strategy, combiner or prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.access.principal import Principal
from service.domain import AgentReport
from service.ensembles.agents import Agent, hash_configuration
from service.ensembles.catalog import Catalog, Ensemble
from service.errors import FieldError, RequestError
from service.runs.prepare import RunStart, Substitute, find_ensemble
from service.runs.retry import make_retry, read_latest
from service.store.records import StoredRun
from service.store.runs import RunStore
from service.strategies import STRATEGIES

# Others call agents again, and not only those that decide or write.
FROM_ANSWERS = ("synthesize", "best_of", "vote", "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resynthesis:
    """The wished differences from the run: names of an ensemble, a strategy and a combiner.

    The ensemble is by default that of the run. `prompt` replaces that of the combiner.
    """

    ensemble: str | None = None
    strategy: str | None = None
    combiner: str | None = None
    prompt: str | None = None


async def make_resynthesis(
    store: RunStore, catalog: Catalog, principal: Principal, run_id: str, wish: Resynthesis
) -> RunStart:
    """Return the start of a run that takes the place of run `run_id`, or of its latest retry.

    Raises RequestError: 400 for an unknown name and for a strategy that cannot work from answers,
    404 for an unknown run, 409 for one without stored answers; and StorageUnavailable.
    """
    run = await read_latest(store, principal.owner, run_id)
    if run.state == "running":
        raise RequestError("run_not_retryable", "There are no answers yet: it is still running.")
    names = _list_asked(await store.read_config(run.owner, run.id))
    answers = await store.list_agent_answers(run.owner, run.id)
    reports = {
        each.agent: each.report
        for each in answers
        if each.state == "answered" and each.report.text.strip() and each.agent in names
    }
    if not reports:
        raise RequestError("no_stored_answers", "The run has no stored answers of its agents.")
    ensemble = _make_ensemble(catalog, run, wish, _sort(reports, names))
    start = make_retry(run, principal)
    substitute = Substitute(ensemble, _sort(reports, names))
    return replace(
        start, request=replace(start.request, ensemble=ensemble.name), substitute=substitute
    )


def _list_asked(config: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the agents whose answers the run combined: those of its last layer."""
    layers = config.get("layers") or [config.get("agents", [])]
    return [agent["name"] for agent in layers[-1]]


def _sort(reports: Mapping[str, AgentReport], names: Sequence[str]) -> Mapping[str, AgentReport]:
    return {name: reports[name] for name in names if name in reports}


def _make_ensemble(
    catalog: Catalog, run: StoredRun, wish: Resynthesis, reports: Mapping[str, AgentReport]
) -> Ensemble:
    """Return an ensemble of the stored agents with the wished strategy, combiner and prompt."""
    base = (
        find_ensemble(wish.ensemble, catalog)
        if wish.ensemble
        else catalog.find(run.ensemble) or catalog.ensembles[catalog.default]
    )
    strategy = wish.strategy or (base.strategy if base.strategy in FROM_ANSWERS else "synthesize")
    if strategy not in FROM_ANSWERS:
        raise _refuse("strategy", f"only {', '.join(FROM_ANSWERS)} work from stored answers")
    writer = _find_combiner(catalog, base, wish)
    agents = tuple(_make_agent(catalog, base, name) for name in reports)
    named = replace(
        base,
        strategy=strategy,
        agents=agents,
        layers=(agents,),
        combiner=writer,
        judge=(base.judge or _make_judge(writer)) if strategy != "synthesize" else None,
        chair=None,
        analyse=base.analyse if strategy in ("synthesize", "auto") else None,
        provenance=base.provenance and strategy in ("synthesize", "auto"),
        tools_policy=None,
        min_answers=1,
    )
    if fault := STRATEGIES[strategy].check(named):
        raise _refuse("strategy", fault.why)
    return replace(named, config_hash=hash_configuration(named))


def _find_combiner(catalog: Catalog, base: Ensemble, wish: Resynthesis) -> Agent | None:
    if wish.combiner and wish.combiner not in catalog.agents:
        raise _refuse("combiner", f"there is no agent named {wish.combiner}")
    named = catalog.agents[wish.combiner] if wish.combiner else None
    default = catalog.ensembles[catalog.default].combiner
    combiner = named or base.combiner or base.chair or default
    if combiner is None or wish.prompt is None:
        return combiner
    return combiner.derive(combiner.name, prompt=wish.prompt)


def _make_judge(combiner: Agent | None) -> Agent | None:
    """Return a judge for an ensemble without one: the combiner's model without its prompt."""
    return combiner and combiner.derive("judge", prompt="")


def _make_agent(catalog: Catalog, base: Ensemble, name: str) -> Agent:
    """Return the agent of a stored answer, which is not called; its table may be gone."""
    known = {agent.name: agent for agent in base.agents} | dict(catalog.agents)
    found = known.get(name) or known.get(name.partition("#")[0]) or next(iter(known.values()))
    return found if found.name == name else found.derive(name)


def _refuse(field: str, why: str) -> RequestError:
    sentence = f"The request is not valid: {field}: {why}."
    return RequestError("bad_request", sentence, [FieldError(field, why)])
