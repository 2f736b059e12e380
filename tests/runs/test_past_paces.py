"""The usual pace of agents, from the calls that the database has."""

from __future__ import annotations

from typing import Any, cast

from service.domain import AgentReport, Usage
from service.errors import StorageUnavailable
from service.llm.endpoints.pace import AgentPaces
from service.runs.past_paces import load_paces
from service.store.call_history import CallHistory, PastCall
from tests._support.llm.scripted import URL, a_catalog, an_ensemble_file

CATALOG = a_catalog(an_ensemble_file({"a": {"model": "m", "fallbacks": ["spare"]}}, None))
HASH = CATALOG.agents["a"].config_hash


class _History:
    def __init__(self, *calls: PastCall) -> None:
        self._calls = calls

    async def list_recent(self, limit: int) -> list[PastCall]:
        assert limit == 500
        return list(self._calls)


class _Unavailable:
    async def list_recent(self, _: int) -> list[PastCall]:
        raise StorageUnavailable("down")


def _call(**changes: Any) -> PastCall:
    call = PastCall(agent="a", model="m", elapsed_ms=1500.0, first_token_ms=500.0)
    call.config_hash, call.usage.output_tokens = HASH, 11
    for name, value in changes.items():
        setattr(call, name, value)
    return call


async def _load(*calls: PastCall, paces: AgentPaces | None = None) -> AgentPaces:
    paces = paces or AgentPaces()
    await load_paces(cast(CallHistory, _History(*calls)), paces, CATALOG)
    return paces


def _count(paces: AgentPaces, model: str = "m") -> int:
    return len(paces.of("a", URL, model).first_token_s)


async def test_past_calls_give_first_token_length_and_rate() -> None:
    pace = (await _load(*[_call()] * 20)).of("a", URL, "m")
    assert pace.first_token_s.find_limit() == 0.5
    assert pace.tokens.find_limit() == 11
    assert pace.token_s.find_limit() == 0.1
    assert pace.silence_s.find_limit() is None


async def test_calls_of_another_configuration_agent_or_model_are_left_out() -> None:
    changed = [_call(config_hash="old"), _call(agent="gone"), _call(model="other")]
    reused, silent = _call(reused=True), _call(first_token_ms=None)
    assert _count(await _load(*changed, reused, silent)) == 0


async def test_repetitions_and_fallback_models_count() -> None:
    paces = await _load(_call(agent="a#1"), _call(agent="a#2"), _call(model="spare"))
    assert (_count(paces), _count(paces, "spare")) == (2, 1)


async def test_an_agent_that_was_called_meanwhile_keeps_its_own_pace() -> None:
    paces = AgentPaces()
    paces.of("a", URL, "m").record_answer(first_s=1.0, end_s=1.0, silence_s=0.0, tokens=1)
    assert _count(await _load(*[_call()] * 20, paces=paces)) == 1


async def test_without_the_database_nothing_is_known() -> None:
    paces = AgentPaces()
    await load_paces(cast(CallHistory, _Unavailable()), paces, CATALOG)
    assert _count(paces) == 0


def test_a_report_of_the_database_is_read_without_its_text() -> None:
    assert {"elapsed_ms", "first_token_ms", "usage", "reused"} <= set(AgentReport.__slots__)
    assert "output_tokens" in Usage.__slots__
