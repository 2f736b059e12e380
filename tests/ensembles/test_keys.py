"""Which key an agent's server receives, and which servers receive none."""

from __future__ import annotations

import pytest

from service.ensembles.catalog import AgentDefaults, parse_ensembles
from service.ensembles.keys import NO_KEY, find_key
from service.settings import Settings
from tests._support.llm.scripted import CHECKS

OPENAI, GROQ, OTHER = (
    "https://api.openai.com/v1",
    "https://api.groq.com/v1",
    "https://other.test/v1",
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLM_KEY", "OPENAI_API_KEY", "GROQ_API_KEY", "LLM_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def _key(base_url: str | None, key_env: str | None = None, **values: str) -> str | None:
    settings = Settings(**values)  # type: ignore[arg-type]  # pydantic converts them
    lines = ["[agents.a]"]
    lines += [f'base_url = "{base_url}"'] if base_url else []
    lines += [f'key_env = "{key_env}"'] if key_env else []
    lines += ["[ensembles.fanout]", 'strategy = "solo"', 'agents = ["a"]']
    defaults = AgentDefaults(model="m", base_url=settings.default_base_url, max_tokens=10)
    catalog = parse_ensembles("\n".join(lines), source="x", defaults=defaults, checks=CHECKS)
    return find_key(catalog.agents["a"], settings, {"MY_KEY": "mine\n"})


def test_a_key_of_its_own_takes_precedence() -> None:
    assert _key(OTHER, "MY_KEY", llm_key="general") == "mine"


def test_a_missing_key_of_its_own_is_not_replaced() -> None:
    assert _key(OPENAI, "NOT_SET", llm_key="general", openai_api_key="o") is None
    assert _key("http://localhost:1/v1", "NOT_SET", llm_key="general") is None


@pytest.mark.parametrize("base_url", [None, OPENAI, GROQ, OTHER, "http://localhost:1/v1"])
def test_llm_key_is_for_every_agent_without_its_own(base_url: str | None) -> None:
    assert _key(base_url, llm_key="general", openai_api_key="o", groq_api_key="g") == "general"


@pytest.mark.parametrize(
    ("base_url", "expected"), [(None, "o"), (OPENAI, "o"), (GROQ, "g"), (OTHER, None)]
)
def test_keys_of_providers_are_only_for_their_servers(
    base_url: str | None, expected: str | None
) -> None:
    assert _key(base_url, openai_api_key="o", groq_api_key="g") == expected


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [(None, "o"), ("https://gate.test/v2", "o"), (OPENAI, None), (OTHER, None)],
)
def test_with_openai_base_url_the_openai_key_is_only_for_that_server(
    base_url: str | None, expected: str | None
) -> None:
    assert _key(base_url, openai_api_key="o", openai_base_url="https://gate.test/v1") == expected


def test_the_openai_key_of_another_server_is_not_for_llm_base_url() -> None:
    urls = {"llm_base_url": OTHER, "openai_base_url": "https://gate.test/v1"}
    assert _key(None, openai_api_key="o", **urls) is None


@pytest.mark.parametrize("name", ["openai_api_key", "groq_api_key"])
def test_keys_of_providers_are_also_for_llm_base_url(name: str) -> None:
    assert _key(None, llm_base_url=OTHER, **{name: "x"}) == "x"


def test_a_groq_key_alone_is_not_for_openai_base_url() -> None:
    settings = Settings(groq_api_key="g", openai_base_url=OTHER)  # type: ignore[arg-type]
    assert "groq" in settings.default_base_url
    assert _key(OTHER, groq_api_key="g", openai_base_url=OTHER) is None


def test_a_local_server_of_an_agent_receives_no_key_of_a_provider() -> None:
    assert _key("http://localhost:11434/v1", openai_api_key="o") == NO_KEY


def test_the_default_server_needs_a_key_also_if_it_is_local() -> None:
    assert _key(None, llm_base_url="http://localhost:11434/v1") is None
