"""Parsing `ensembles.toml`: valid keys, the error of each fault, and defaults."""

from __future__ import annotations

import pytest

from service.ensembles.catalog import AgentDefaults, Catalog, EnsemblesError, parse_ensembles
from service.ensembles.prices import Price
from tests._support.llm.scripted import CHECKS, a_catalog
from tests._support.paths import ROOT

GOOD = """\
default = "both"

[agents.one]
[agents.two]
model = "gpt-4o"
[agents.judge]

[ensembles.both]
agents = ["one", "two"]
combiner = "judge"

[ensembles.alone]
strategy = "solo"
agents = ["one"]
"""


def _changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def _complaint(text: str) -> str:
    with pytest.raises(EnsemblesError) as caught:
        a_catalog(text)
    return str(caught.value)


# --- faults ---


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"gpt-4o"', '"gpt-4o"\nmodle = 1', "6: agents.two.modle: this key is not known"),
        ('"gpt-4o"', '"gpt-4o"\ntemperature = 3', "6: agents.two.temperature: input should be"),
        ('"gpt-4o"', '"gpt-4o"\ntemperature = "1"', "6: agents.two.temperature: input should be"),
        ('"gpt-4o"', '"gpt-4o"\ntop_p = 0', "6: agents.two.top_p: input should be greater"),
        ('"gpt-4o"', '"gpt-4o"\nmax_tokens = 0', "6: agents.two.max_tokens: input should be"),
        ('"gpt-4o"', '"gpt-4o"\nmax_tokens = true', "6: agents.two.max_tokens: input should be"),
        ('"gpt-4o"', '"gpt-4o"\ncontext_tokens = 0', "6: agents.two.context_tokens: input"),
        ('"gpt-4o"', '"gpt-4o"\ncontext_tokens = 99', "6: agents.two.context_tokens: 100 of max"),
        ('"gpt-4o"', '"gpt-4o"\nretries = 11', "6: agents.two.retries: input should be less"),
        ('"gpt-4o"', '"gpt-4o"\ntimeout_s = 0', "6: agents.two.timeout_s: input should be"),
        ('"gpt-4o"', '"gpt-4o"\ntimeout_s = nan', "6: agents.two.timeout_s: input should be"),
        ('"gpt-4o"', '"gpt-4o"\nidle_timeout_s = inf', "6: agents.two.idle_timeout_s: input"),
        ('"gpt-4o"', '"gpt-4o"\nkey_env = "A-B"', "6: agents.two.key_env: string should match"),
        ('"gpt-4o"', '"gpt-4o"\nprovider = "a b"', "6: agents.two.provider: must be 1 to 64"),
        ('"gpt-4o"', '"gpt-4o"\nfallbacks = [1]', "6: agents.two.fallbacks.0: input should be"),
        ('"gpt-4o"', '"gpt-4o"\nfallbacks = [""]', "6: agents.two.fallbacks.0: string should"),
        ('"gpt-4o"', '""', "5: agents.two.model: string should have at least 1 character"),
        ('"gpt-4o"', '"x"\nbase_url = "x"', "6: agents.two.base_url: is not an http or"),
        ('"gpt-4o"', '"x"\nbase_url = "http://"', "6: agents.two.base_url: is not an http"),
        ('"gpt-4o"', '"x"\nbase_url = "http://[::x"', "6: agents.two.base_url: is not an http"),
        ('"gpt-4o"', '"x"\nbase_url = "http://a:99999"', "6: agents.two.base_url: is not an http"),
        ("[agents.judge]", '[agents."the judge"]', "6: agents.the judge.[key]: must be 1 to"),
        ('default = "both"', 'default = "none"', "1: default: there is no ensemble named 'none'"),
        ('default = "both"', "defalt = 1", "1: defalt: this key is not known"),
        ('["one", "two"]', '["one", "too"]', "9: ensembles.both.agents: there is no agent na"),
        ('["one", "two"]', '["one", "judge"]', "10: ensembles.both.combiner: 'judge' is also in"),
        ('["one", "two"]', "[]", "9: ensembles.both.agents: list should have at least 1 item"),
        ('["one", "two"]', '"one"', "9: ensembles.both.agents: input should be a valid list"),
        ('"judge"', '"jugde"', "10: ensembles.both.combiner: there is no agent named 'jugde'"),
        ('combiner = "judge"', "", "8: ensembles.both.strategy: synthesize needs a combiner"),
        ('"judge"', '"judge"\nmin_answers = 3', "11: ensembles.both.min_answers: 3 answers can"),
        ('"judge"', '"judge"\nmin_answers = 0', "11: ensembles.both.min_answers: input should"),
        ('"judge"', '"judge"\nstraggler_grace_s = -1', "11: ensembles.both.straggler_grace_s: "),
        ('"judge"', '"judge"\nmax_cost_usd = 0', "11: ensembles.both.max_cost_usd: input should"),
        ('"judge"', '"judge"\ntimeout_s = 86401', "11: ensembles.both.timeout_s: input should"),
        (
            '"solo"',
            '"duel"',
            "13: ensembles.alone.strategy: there is no strategy named 'duel'",
        ),
        ('["one"]', '["one", "two"]', "13: ensembles.alone.strategy: solo needs exactly one"),
        ('["one"]', '["one"]\n[prices.m]\ninput = 1', "15: prices.m.output: this key is missing"),
        ('["one"]', '["one"]\n[prices.m]\ninput = -1\noutput = 1', "16: prices.m.input: input"),
        ('["one"]', '["one"]\n[prices.m]\ninput = inf\noutput = 1', "16: prices.m.input: input"),
        ("[ensembles.both]\nagents", "[ensembles.both]\nagent", "9: ensembles.both.agent: this k"),
        ('agents = ["one", "two"]', "", "8: ensembles.both.agents: this key is missing"),
    ],
)
def test_a_fault_is_reported_with_its_line_key_and_reason(
    old: str, new: str, complaint: str
) -> None:
    assert f"ensembles.toml:{complaint}" in _complaint(_changed(old, new))


def test_every_fault_has_a_line() -> None:
    text = GOOD.replace('"gpt-4o"', "1").replace("[agents.judge]", "[agents.judge]\nx = 1")
    assert [line.split(":")[1] for line in _complaint(text).splitlines()] == ["5", "7"]


@pytest.mark.parametrize(
    ("text", "line"),
    [('a = 1\nb = "x\n', 2), ("a = 1\na = 2\n", 2), ("a = 1\n\nb b\n", 3), ("a = [1,\n2", 2)],
)
def test_a_syntax_error_is_reported_with_its_line(text: str, line: int) -> None:
    assert _complaint(text).startswith(f"ensembles.toml:{line}: ")


@pytest.mark.parametrize("text", ["", "[agents.one]\n", "[ensembles]\n[agents.one]"])
def test_a_file_without_ensembles_is_refused(text: str) -> None:
    assert "ensembles" in _complaint(text)


def test_an_invalid_default_address_is_a_fault() -> None:
    defaults = AgentDefaults(model="m", base_url="http://[::x", max_tokens=1)
    with pytest.raises(EnsemblesError, match="not an http or https address"):
        parse_ensembles(GOOD, source="ensembles.toml", defaults=defaults, checks=CHECKS)


# --- defaults and derived values ---


def test_the_settings_are_the_defaults_of_an_agent() -> None:
    one = a_catalog(GOOD).agents["one"]
    assert (one.model, one.base_url, one.max_tokens) == (
        "gpt-4o-mini",
        "http://models.test/v1",
        100,
    )


def test_the_values_of_an_agent_take_precedence() -> None:
    assert a_catalog(GOOD).agents["two"].model == "gpt-4o"


@pytest.mark.parametrize(
    ("lines", "tokens"),
    [
        ('model = "gpt-4o"', 128_000),
        ('model = "gpt-4"', 8_192),
        ('model = "gpt-4o"\nfallbacks = ["gpt-4"]', 8_192),
        ('model = "gpt-4o"\nfallbacks = ["gpt-4"]\ncontext_tokens = 9000', 9_000),
        ('model = "of-somebodys-own"', 128_000),
    ],
)
def test_the_context_window_defaults_to_that_of_the_models(lines: str, tokens: int) -> None:
    assert a_catalog(_changed('model = "gpt-4o"', lines)).agents["two"].context_tokens == tokens


def test_an_address_loses_its_last_slash() -> None:
    text = _changed('"gpt-4o"', '"x"\nbase_url = "http://lab.test/v1/"')
    assert a_catalog(text).agents["two"].base_url == "http://lab.test/v1"


@pytest.mark.parametrize(
    ("lines", "provider"),
    [
        ('base_url = "https://api.openai.com/v1"', "openai"),
        ('base_url = "https://API.groq.com/openai/v1"', "groq"),
        ('base_url = "http://localhost:11434/v1"', "openai_compatible"),
        ('base_url = "http://localhost:11434/v1"\nprovider = "ollama"', "ollama"),
    ],
)
def test_the_provider_defaults_to_that_of_the_host(lines: str, provider: str) -> None:
    text = _changed('model = "gpt-4o"', lines)
    assert a_catalog(text).agents["two"].provider == provider


def test_an_ensemble_has_its_agents_in_their_order_and_the_combiner_last() -> None:
    both = a_catalog(GOOD).ensembles["both"]
    assert [agent.name for agent in both.all_agents] == ["one", "two", "judge"]


def test_the_default_ensemble_is_fanout() -> None:
    text = GOOD.replace('default = "both"\n', "").replace("ensembles.both", "ensembles.fanout")
    assert a_catalog(text).default == "fanout"


def test_the_models_are_those_of_all_agents_with_their_fallbacks() -> None:
    text = _changed('"gpt-4o"', '"gpt-4o"\nfallbacks = ["spare"]')
    assert a_catalog(text).models == {"gpt-4o-mini", "gpt-4o", "spare"}


def test_prices_are_by_model() -> None:
    text = GOOD + '[prices."gpt-4o"]\ninput = 2\noutput = 10.5\n'
    assert a_catalog(text).prices == {"gpt-4o": Price(2, 10.5)}
    priced = a_catalog(text + "cached_input = 1\nreasoning = 12\nimage = 3\n").prices
    assert priced == {"gpt-4o": Price(2, 10.5, cached_input=1, reasoning=12, image=3)}


def _hash(catalog: Catalog) -> str:
    return catalog.ensembles["both"].config_hash


def test_the_hash_of_an_unchanged_ensemble_is_stable() -> None:
    elsewhere = _changed('strategy = "solo"', 'strategy = "solo"\ntimeout_s = 9')
    assert _hash(a_catalog(elsewhere)) == _hash(a_catalog(GOOD))


@pytest.mark.parametrize(
    ("old", "new"),
    [('"gpt-4o"', '"gpt-5"'), ('"judge"', '"judge"\nmin_answers = 2')],
)
def test_the_hash_of_an_ensemble_changes_with_it(old: str, new: str) -> None:
    assert _hash(a_catalog(_changed(old, new))) != _hash(a_catalog(GOOD))


def test_a_catalog_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        a_catalog(GOOD).ensembles["x"] = None  # type: ignore[index]  # that is the point


# --- the file that is shipped ---


def test_the_shipped_file_is_valid() -> None:
    shipped = ROOT / "ensembles.toml"
    catalog = a_catalog(shipped.read_text("utf-8"))
    assert catalog.default == "fanout"
    assert [agent.name for agent in catalog.ensembles["fanout"].all_agents] == [
        "llm-1",
        "llm-2",
        "llm-combine",
    ]


MEMBERS = """\
[agents.a]
[agents.b]
[agents.c]
[agents.judge]
[agents.text]
extra_body = {response_format = {type = "text"}}
[agents.combine]

[ensembles.fanout]
"""


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (["vote", 'agents = ["a", "b"]'], "11: ensembles.fanout.agents: vote needs at least three"),
        (["vote", 'agents = ["a", "a"]'], "11: ensembles.fanout.agents: vote needs at least three"),
        (["best_of", 'agents = ["a", "b"]'], "10: ensembles.fanout.strategy: best_of needs a ju"),
        (["race", 'agents = ["a"]'], "11: ensembles.fanout.agents: race needs at least two agents"),
        (["auto", 'agents = ["a", "b"]'], "10: ensembles.fanout.strategy: auto needs a combiner"),
        (["council", 'agents = ["a", "b"]'], "10: ensembles.fanout.strategy: council needs a ch"),
        (
            ["council", 'agents = ["a", "b"]', 'chair = "c"'],
            "11: ensembles.fanout.agents: council needs at least three agents",
        ),
        (
            ["best_of", 'agents = ["a", "b"]', 'judge = "text"'],
            "12: ensembles.fanout.judge: text cannot answer in JSON",
        ),
        (
            ["best_of", 'agents = ["a", "b"]', 'judge = "a"'],
            "12: ensembles.fanout.judge: 'a' is also in agents",
        ),
        (
            ["layers", 'layers = [["a"], ["b"], ["a"]]', 'combiner = "combine"'],
            "11: ensembles.fanout.layers: 'a' is in two layers",
        ),
        (
            ["layers", 'layers = [["a"], ["x"]]', 'combiner = "combine"'],
            "11: ensembles.fanout.layers: there is no agent named 'x'",
        ),
        (
            ["layers", 'layers = [["a"], ["b"]]', 'combiner = "b"'],
            "12: ensembles.fanout.combiner: 'b' is also in layers",
        ),
        (
            ["layers", 'agents = ["a", "b"]', 'combiner = "combine"'],
            "10: ensembles.fanout.strategy: layers needs at least two layers",
        ),
        (
            ["race", 'agents = ["a", "b"]', 'judge = "judge"'],
            "12: ensembles.fanout.judge: race does not use judge",
        ),
        (
            ["vote", 'agents = ["a", "b", "c"]', "analyse = true"],
            "12: ensembles.fanout.analyse: vote does not use analyse",
        ),
        (
            ["vote", 'agents = ["a", "b", "c"]', 'tools_policy = "combiner"'],
            "12: ensembles.fanout.tools_policy: there is no combiner",
        ),
        (
            [
                "race",
                'agents = ["a", "b"]',
                "max_cost_usd = 0.5",
                "[prices.gpt-4o-mini]\ninput = 1e6\noutput = 1e6",
            ],
            "12: ensembles.fanout.max_cost_usd: the cheapest call costs at least 1 US dollars",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_an_ensemble_that_cannot_work_is_reported_with_its_line(
    table: list[str], complaint: str
) -> None:
    strategy, *keys = table
    text = "\n".join([f'{MEMBERS}strategy = "{strategy}"', *keys])
    assert f"ensembles.toml:{complaint}" in _complaint(text)


def test_an_agent_that_is_named_several_times_has_copies() -> None:
    catalog = a_catalog(f'{MEMBERS}strategy = "vote"\nagents = ["a", "b", "a"]')
    ensemble = catalog.ensembles["fanout"]
    assert [agent.name for agent in ensemble.agents] == ["a#1", "b", "a#2"]
    assert [agent.instance for agent in ensemble.agents] == [1, 0, 2]
    assert len({agent.config_hash for agent in ensemble.agents}) == 3
