"""The hash of a request: it changes with everything that is sent, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.domain import AgentReport, Message, Usage
from service.ensembles.catalog import Ensemble
from service.evaluation.panels.entrants import make_single
from service.evaluation.panels.request import ModelRequest
from tests._support.evaluation.sessions import make_ensembles
from tests._support.llm.scripted import a_catalog

CATALOG = a_catalog(make_ensembles())
AGENT = CATALOG.agents["a"]


def key_of(ensemble: Ensemble, text: str = "What?", **reused: str) -> str:
    reports = {
        name: AgentReport(
            agent=name, model="m", text=answer, usage=Usage(), cost=None, elapsed_ms=1,
            first_token_ms=1,
        )
        for name, answer in reused.items()
    }  # fmt: skip
    request = ModelRequest(
        name="any", question_id="q", messages=(Message("user", text),), ensemble=ensemble,
        reused=reports,
    )  # fmt: skip
    return request.key


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "another"),
        ("base_url", "http://another/v1"),
        ("prompt", "Be brief."),
        ("temperature", 0.5),
        ("top_p", 0.5),
        ("max_tokens", 7),
        ("instance", 2),
        ("fallbacks", ("other",)),
        ("extra_body", {"top_k": 3}),
        ("json_schema", {"type": "object"}),
        ("think_tags", "open"),
        ("context_tokens", 99),
        ("stream", False),
    ],
)
def test_the_key_changes_with_what_an_agent_sends(field: str, value: Any) -> None:
    changes = {field: value}
    assert key_of(make_single(replace(AGENT, **changes))) != key_of(make_single(AGENT))


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "z"), ("retries", 9), ("timeout_s", 9.0), ("key_env", "KEY"), ("hedge", 0.0)],
)
def test_the_key_does_not_change_with_what_is_not_sent(field: str, value: Any) -> None:
    changes = {field: value}
    assert key_of(make_single(replace(AGENT, **changes))) == key_of(make_single(AGENT))


def test_the_key_changes_with_the_question() -> None:
    assert key_of(make_single(AGENT), "One?") != key_of(make_single(AGENT), "Two?")


def test_the_key_of_a_strategy_changes_with_answers_names_and_roles() -> None:
    fanout = CATALOG.ensembles["fanout"]
    assert fanout.combiner is not None
    combiner = replace(fanout.combiner, prompt="Be brief.")
    renamed = tuple(replace(each, name=f"{each.name}2") for each in fanout.agents)
    keys = [
        key_of(fanout, a="one", b="two"),
        key_of(fanout, a="one", b="three"),
        key_of(fanout, a="two", b="one"),
        key_of(replace(fanout, combiner=combiner), a="one", b="two"),
        key_of(replace(fanout, agents=renamed, layers=(renamed,)), a="one", b="two"),
        key_of(replace(fanout, strategy="auto"), a="one", b="two"),
    ]
    assert len(set(keys)) == len(keys)
    unsent = replace(fanout, name="other", timeout_s=1.0, max_cost_usd=1.0)
    assert key_of(unsent, a="one", b="two") == keys[0]
