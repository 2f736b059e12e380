"""The ensembles file of a replay is one that the service reads, whatever the texts in it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from service.ensembles.agents import AgentDefaults
from service.ensembles.catalog import parse_ensembles
from service.replay.document import ReplayError
from service.replay.ensembles import write_ensembles
from service.strategies import STRATEGIES
from tests._support.runs.exports import RUN_ID, a_record

URL = "http://127.0.0.1:9100"
HOSTILE = 'a"b\\c\n\x7f\u2028é👋\t"""\'\'\' # [x]\r\n'
CHECKS = {name: strategy.check for name, strategy in STRATEGIES.items()}


def agent(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "model": "m", "prompt": "", "timeout_s": 9.0, "instance": 1, **fields}


def ensemble(**fields: Any) -> dict[str, Any]:
    config = {
        "name": "fanout",
        "strategy": "synthesize",
        "agents": [agent("a#1"), agent("a#2"), agent("b")],
        "combiner": agent("c"),
        "straggler_grace_s": "auto",
        "continues": 1,
    }
    return config | fields


def test_copies_of_an_agent_become_one_table_with_the_address_of_the_agent() -> None:
    text = write_ensembles(a_record(ensemble=ensemble()), URL)
    file = tomllib.loads(text)
    assert file["ensembles"]["fanout"]["agents"] == ["a", "a", "b"]
    assert file["agents"]["a"]["base_url"] == f"{URL}/runs/{RUN_ID}/agents/a/v1"
    defaults = AgentDefaults(model="x", base_url=URL, max_tokens=9)
    catalog = parse_ensembles(text, source="x", defaults=defaults, checks=CHECKS)
    made = catalog.ensembles["fanout"]
    assert [each.name for each in made.agents] == ["a#1", "a#2", "b"]
    assert (made.continues, made.seed) == (1, RUN_ID)


def test_any_text_is_written_as_toml() -> None:
    first = agent("a", prompt=HOSTILE, extra_body={HOSTILE: [1, None, {"x": True}]})
    prices = {HOSTILE: {"input": 1.5, "output": 2.0, "image": None}}
    record = a_record(ensemble=ensemble(agents=[first]), prices=prices)
    file = tomllib.loads(write_ensembles(record, URL))
    assert file["agents"]["a"]["prompt"] == HOSTILE
    assert file["agents"]["a"]["extra_body"] == {HOSTILE: [1, {"x": True}]}
    assert file["prices"] == {HOSTILE: {"input": 1.5, "output": 2.0}}


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 65, "é"])
def test_an_ensemble_with_impossible_names_is_refused(name: str) -> None:
    with pytest.raises(ReplayError):
        write_ensembles(a_record(ensemble=ensemble(agents=[agent(name)])), URL)


def test_a_run_of_a_single_agent_has_an_ensemble_of_it() -> None:
    config = ensemble(name="agent/a", strategy="solo", agents=[agent("a")], combiner=None)
    file = tomllib.loads(write_ensembles(a_record(ensemble=config), URL))
    assert file["default"] == "replay"
    assert file["ensembles"]["replay"]["agents"] == ["a"]


@pytest.mark.parametrize(
    "config",
    [{"agents": "x"}, {"agents": ["a"]}, {"layers": 5}, {"layers": ["x"]}, {"judge": "a"}],
)
def test_an_ensemble_of_another_form_is_refused(config: dict[str, object]) -> None:
    record = a_record(ensemble={**ensemble(agents=[agent("a")]), **config})
    with pytest.raises(ReplayError, match="no usable ensemble"):
        write_ensembles(record, URL)
