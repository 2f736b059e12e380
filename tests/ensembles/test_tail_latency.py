"""Settings of stragglers and hedges: values, defaults, and the line of each fault."""

from __future__ import annotations

import pytest

from service.ensembles.catalog import Catalog, EnsemblesError
from tests._support.llm.scripted import URL, a_catalog

BASE = """\
default = "both"
[agents.one]
{agent}
[agents.two]
[agents.judge]
[ensembles.both]
agents = ["one", "two"]
combiner = "judge"
{ensemble}
{tables}
"""


def _read(agent: str = "", ensemble: str = "", tables: str = "") -> Catalog:
    return a_catalog(BASE.format(agent=agent, ensemble=ensemble, tables=tables))


def _complaint(agent: str = "", ensemble: str = "", tables: str = "") -> str:
    with pytest.raises(EnsemblesError) as caught:
        _read(agent, ensemble, tables)
    return str(caught.value)


def test_a_run_waits_for_each_agent_as_long_as_usual_by_default() -> None:
    both = _read().ensembles["both"]
    assert (both.straggler_grace_s, both.straggler_max_s) == ("auto", 10.0)


@pytest.mark.parametrize(
    ("text", "value"), [('"auto"', "auto"), ('"none"', "none"), ("0", 0.0), ("2.5", 2.5)]
)
def test_a_grace_is_auto_none_or_a_number(text: str, value: object) -> None:
    assert (
        _read(ensemble=f"straggler_grace_s = {text}").ensembles["both"].straggler_grace_s == value
    )


@pytest.mark.parametrize("text", ['"never"', '"AUTO"', "-1", "true", "nan", "inf", "86401", "[1]"])
def test_any_other_grace_is_refused_with_its_line(text: str) -> None:
    expected = 'ensembles.toml:9: ensembles.both.straggler_grace_s: must be "auto", "none" or'
    assert _complaint(ensemble=f"straggler_grace_s = {text}").startswith(expected)


@pytest.mark.parametrize("text", ["0", "-1", '"5"', "nan", "86401"])
def test_an_invalid_longest_wait_is_refused_with_its_line(text: str) -> None:
    found = _complaint(ensemble=f"straggler_max_s = {text}")
    assert found.startswith("ensembles.toml:9: ensembles.both.straggler_max_s: ")


@pytest.mark.parametrize("grace", ['"none"', "5"])
def test_a_longest_wait_that_limits_nothing_is_refused(grace: str) -> None:
    found = _complaint(ensemble=f"straggler_max_s = 5\nstraggler_grace_s = {grace}")
    assert found.startswith("ensembles.toml:9: ensembles.both.straggler_max_s: it limits only")


# --- hedges ---


def test_a_twentieth_of_the_calls_may_be_hedged_by_default() -> None:
    agent = _read().agents["one"]
    assert (agent.hedge, agent.hedge_target) == (0.05, None)


def test_hedges_go_to_the_second_address_with_its_key_and_name_of_the_model() -> None:
    keys = 'hedge_base_url = "https://NAME.openai.azure.com/openai/v1/"\n'
    agent = _read(keys + 'hedge_key_env = "SECOND"\nhedge_model = "deployment"').agents["one"]
    target = agent.hedge_target
    assert target is not None
    assert target.base_url == "https://NAME.openai.azure.com/openai/v1"
    assert (target.key_env, target.key_header) == ("SECOND", "api-key")
    assert (target.model, target.provider) == ("deployment", "azure.ai.openai")
    assert (agent.base_url, agent.model, agent.key_env) == (URL, "gpt-4o-mini", None)
    assert target.prompt == agent.prompt


def test_hedges_do_not_change_the_hash_of_an_agent() -> None:
    plain, hedged = (
        _read(),
        _read('hedge_key_env = "SECOND"', tables=f'[endpoints."{URL}"]\nhedge=0'),
    )
    assert plain.agents["one"].config_hash == hedged.agents["one"].config_hash


def test_the_smaller_limit_of_the_two_addresses_applies() -> None:
    tables = '[endpoints."http://second.test"]\nhedge = 0.01'
    agents = _read('hedge_base_url = "http://second.test"', tables=tables).agents
    assert (agents["one"].hedge, agents["two"].hedge) == (0.01, 0.05)


def test_models_of_hedges_are_known_models() -> None:
    keys = 'hedge_base_url = "http://second.test/v1"\nhedge_model = "vendor/m"'
    assert "vendor/m" in _read(keys).models


@pytest.mark.parametrize(
    ("agent", "complaint"),
    [
        ('hedge_base_url = "x"', "hedge_base_url: is not an http or https address"),
        ('hedge_base_url = ""', "hedge_base_url: is not an http or https address"),
        ('hedge_base_url = "http://a:b@c"', "hedge_base_url: contains a user name"),
        ('hedge_key_env = "A-B"', "hedge_key_env: string should match"),
        ('hedge_model = "m"', "hedge_model: another name of the model needs hedge_base_url"),
        ('hedge_key_env = "A"\nstream = false', "hedge_key_env: calls with stream = false"),
    ],
)
def test_a_fault_of_hedges_is_refused_with_its_line(agent: str, complaint: str) -> None:
    assert _complaint(agent).startswith(f"ensembles.toml:3: agents.one.{complaint}")


@pytest.mark.parametrize("text", ["-0.1", "1.1", '"0.05"', "nan", "true"])
def test_an_invalid_part_of_hedges_is_refused_with_its_line(text: str) -> None:
    found = _complaint(tables=f'[endpoints."{URL}"]\nhedge = {text}')
    assert found.startswith(f"ensembles.toml:11: endpoints.{URL}.hedge: input should be")
