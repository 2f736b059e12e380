"""Checks of an ensemble's keys that several strategies share."""

from __future__ import annotations

from service.ensembles.catalog import Agent, Ensemble, EnsembleFault

_JSON_FORMATS = frozenset({"json_object", "json_schema"})


def find_unused_key(ensemble: Ensemble, *used: str) -> EnsembleFault | None:
    """Return a fault if the ensemble has a key of strategies that its own one does not use.

    A combiner is accepted everywhere: `resynthesize` uses it.
    """
    given = {
        "judge": ensemble.judge,
        "chair": ensemble.chair,
        "analyse": ensemble.analyse is not None,
        "provenance": ensemble.provenance,
        "layers": len(ensemble.layers) > 1,
    }
    if fault := _find_tools_fault(ensemble):
        return fault
    unused = next((key for key, value in given.items() if value and key not in used), None)
    if unused is None:
        return None
    return EnsembleFault(f"{ensemble.strategy} does not use {unused}", unused)


def find_json_fault(agent: Agent | None, key: str) -> EnsembleFault | None:
    """Return a fault if `agent`, named by `key`, is configured for answers that are not JSON.

    Its model's abilities are not known before the first call: then a fixed rule takes its place.
    """
    if agent is None:
        return None
    given = agent.extra_body.get("response_format")
    kind = given.get("type") if isinstance(given, dict) else None
    if given is not None and kind not in _JSON_FORMATS:
        return EnsembleFault(f"{agent.name} cannot answer in JSON: its response_format is set", key)
    return None


def _find_tools_fault(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault if the policy for tools has no effect, or no agent that could call them."""
    policy, key = ensemble.tools_policy, "tools_policy"
    if policy and ensemble.strategy in ("solo", "race"):
        return EnsembleFault(f"{ensemble.strategy} passes tools on without a policy", key)
    if policy == "combiner" and not (ensemble.combiner or ensemble.chair):
        return EnsembleFault("there is no combiner that could call tools", key)
    return None
