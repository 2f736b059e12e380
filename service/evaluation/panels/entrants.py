"""The contestants of an evaluation, and the agents whose answers they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.ensembles.agents import Agent, hash_configuration
from service.ensembles.catalog import AGENT_PREFIX, Catalog, Ensemble
from service.ensembles.members import INSTANCE
from service.errors import RequestError
from service.evaluation.results import Contestant
from service.runs.prepare import find_ensemble


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrants:
    """The ensembles that are compared, and the agents that answer each question once.

    `members` has the agent that represents each member, by the name of the contestant. An agent
    that an ensemble names several times is one member: its first copy represents it, unless
    another ensemble asks the agent itself.
    """

    ensembles: tuple[Ensemble, ...]
    agents: tuple[Agent, ...]
    members: Mapping[str, Agent]

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """The ensembles and the members, without those at equal cost."""
        ensembles = [
            Contestant(name=each.name, kind="ensemble", members=list_members(each))
            for each in self.ensembles
        ]
        return (*ensembles, *(Contestant(name=name, kind="member") for name in self.members))

    @property
    def config_hashes(self) -> Mapping[str, str]:
        """The hash of each ensemble's configuration, by name."""
        return {each.name: each.config_hash for each in self.ensembles}


def choose_entrants(catalog: Catalog, names: Sequence[str]) -> Entrants:
    """Return the contestants of the named ensembles; `agent/NAME` adds an agent as a member.

    Raises RequestError for an unknown name, and without any ensemble.
    """
    chosen = [find_ensemble(name, catalog) for name in dict.fromkeys(names)]
    ensembles = tuple(each for each in chosen if not each.name.startswith(AGENT_PREFIX))
    if not ensembles:
        raise RequestError("bad_request", "--ensembles needs the name of an ensemble.")
    asked = {each.name: each for one in ensembles for each in one.layers[0]}
    listed = {each.name: each for one in chosen for each in one.agents}
    members = _choose_members(listed)
    agents = {**asked, **{each.name: each for each in members.values()}}
    return Entrants(ensembles=ensembles, agents=tuple(agents.values()), members=members)


def list_members(ensemble: Ensemble) -> tuple[str, ...]:
    """Return the names of the contestants that are members of an ensemble."""
    return tuple(dict.fromkeys(_name_member(each.name) for each in ensemble.agents))


def make_single(agent: Agent) -> Ensemble:
    """Return the ensemble of one agent, which is asked alone, without help of others."""
    return _make_ensemble(f"{AGENT_PREFIX}{agent.name}", "solo", (agent,))


def make_samples(agent: Agent, times: int) -> tuple[Agent, ...]:
    """Return copies of an agent, each with another seed, as an ensemble that repeats it has."""
    base = _get_base(agent.name)
    return tuple(
        agent.derive(f"{base}{INSTANCE}{number}", instance=number) for number in range(1, times + 1)
    )


def make_majority(name: str, agents: Sequence[Agent]) -> Ensemble:
    """Return the ensemble `name` whose answer is that of most of `agents`, without a judge."""
    return _make_ensemble(name, "vote", tuple(agents))


def _choose_members(listed: Mapping[str, Agent]) -> Mapping[str, Agent]:
    """Return an agent for each member; a copy only where no ensemble has the agent itself."""
    members: dict[str, Agent] = {}
    for name, agent in listed.items():
        member = _name_member(name)
        if member not in members or not agent.instance:
            members[member] = agent
    return members


def _name_member(name: str) -> str:
    return f"{AGENT_PREFIX}{_get_base(name)}"


def _get_base(name: str) -> str:
    return name.partition(INSTANCE)[0]


def _make_ensemble(name: str, strategy: str, agents: tuple[Agent, ...]) -> Ensemble:
    return Ensemble(
        name=name,
        strategy=strategy,
        agents=agents,
        layers=(agents,),
        combiner=None,
        judge=None,
        chair=None,
        analyse=None,
        provenance=False,
        tools_policy=None,
        min_answers=1,
        straggler_grace_s="none",
        straggler_max_s=10.0,
        timeout_s=2 * max(each.timeout_s for each in agents),
        max_cost_usd=None,
        continues=2,
        config_hash=hash_configuration((strategy, agents)),
    )
