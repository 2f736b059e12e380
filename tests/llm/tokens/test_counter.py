"""Token counts equal those of OpenAI's tokenizers, are cached, and do not block the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest
from rs_bpe import openai

from service.llm.tokens.counter import TokenCounter
from telemetry import AgentOperation
from tests._support.paths import ROOT

PROSE = (ROOT / "docs" / "api" / "README.md").read_text("utf-8")


async def _count(text: str, model: str = "gpt-4o") -> int:
    (tokens,) = await TokenCounter().count([text], model)
    return tokens


# --- numbers ---


# Source: tiktoken with o200k_base and cl100k_base.
@pytest.mark.parametrize(
    ("text", "model", "tokens"),
    [
        ("", "gpt-4o", 0),
        ("hello world", "gpt-4o", 2),
        ("hello world", "gpt-4", 2),
        ("お誕生日おめでとう", "gpt-4o", 8),
        ("お誕生日おめでとう", "gpt-4", 9),
        ("antidisestablishmentarianism", "gpt-4o", 6),
        ("antidisestablishmentarianism", "gpt-4", 6),
        ("2 + 2 = 4", "gpt-4o", 7),
        ("2 + 2 = 4", "gpt-4", 7),
    ],
)
async def test_tokens_are_counted_as_by_the_models_tokenizer(
    text: str, model: str, tokens: int
) -> None:
    assert await _count(text, model) == tokens


async def test_a_control_token_in_a_text_is_counted_as_text() -> None:
    assert await _count("<|endoftext|>") == 7


async def test_a_model_with_an_unknown_tokenizer_gets_a_margin_of_a_fifth() -> None:
    assert await _count("one two three four five", "lama-9") == 6


async def test_counts_are_in_the_order_of_the_texts_including_duplicates() -> None:
    assert await TokenCounter().count(["a b", "a", "a b c", "a"], "gpt-4o") == [2, 1, 3, 1]


async def test_lone_surrogates_are_counted_like_any_text() -> None:
    assert await _count("a\ud800b") == await _count("a?b")


async def test_counting_in_pieces_gives_the_same_number() -> None:
    text = PROSE * 4
    assert await _count(text) == pytest.approx(openai.o200k_base().count(text), rel=0.002)


async def test_a_text_without_spaces_is_off_by_at_most_one_token_per_piece() -> None:
    text = "a" * 100_000
    exact = openai.o200k_base().count(text)
    assert exact <= await _count(text) <= exact + 25


async def test_a_very_long_text_is_estimated_from_samples() -> None:
    text = PROSE * 100
    assert await _count(text) == pytest.approx(openai.o200k_base().count(text), rel=0.05)


@pytest.mark.parametrize("unit", ["-", "=", " ", "\t", "a", "\n ", "\u3000", "😀", "/*"])
async def test_a_megabyte_of_the_slowest_text_is_counted_in_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    async with asyncio.timeout(20):
        assert 0 < await _count(text) <= len(text.encode())


async def test_counting_a_long_text_does_not_block_the_event_loop() -> None:
    counting = asyncio.create_task(_count("-" * 200_000))
    turns = 0
    while not counting.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 20


# --- caching ---


class SharedCounts:
    """In place of other processes: stores counts, and records the requested keys."""

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self.known = dict(known or {})
        self.requested: list[Sequence[str]] = []
        self.closed = False

    async def get(self, keys: Sequence[str], parent: AgentOperation | None) -> list[int | None]:
        self.requested.append(keys)
        return [self.known.get(key) for key in keys]

    async def put(self, counts: Mapping[str, int], parent: AgentOperation | None) -> None:
        self.known |= counts

    async def close(self) -> None:
        self.closed = True


async def test_a_text_is_counted_once() -> None:
    shared = SharedCounts()
    counter = TokenCounter(shared)
    await counter.count(["one", "two"], "gpt-4o")
    assert await counter.count(["two", "three"], "gpt-4o") == [1, 1]
    assert [len(keys) for keys in shared.requested] == [2, 1]


async def test_each_encoding_has_separate_counts() -> None:
    shared = SharedCounts()
    counter = TokenCounter(shared)
    await counter.count(["お誕生日おめでとう"], "gpt-4o")
    assert await counter.count(["お誕生日おめでとう"], "gpt-4") == [9]
    assert len(shared.known) == 2


async def test_shared_counts_are_used() -> None:
    shared = SharedCounts()
    await TokenCounter(shared).count(["hello world"], "gpt-4o")
    (key,) = shared.known
    shared.known[key] = 5
    assert await TokenCounter(shared).count(["hello world"], "gpt-4o") == [5]


@pytest.mark.parametrize("count", [-1, 45, 10**9])
async def test_implausible_shared_counts_are_ignored(count: int) -> None:
    shared = SharedCounts()
    await TokenCounter(shared).count(["hello world"], "gpt-4o")
    shared.known = dict.fromkeys(shared.known, count)
    assert await TokenCounter(shared).count(["hello world"], "gpt-4o") == [2]


async def test_the_shared_key_contains_only_a_hash_of_the_text() -> None:
    shared = SharedCounts()
    await TokenCounter(shared).count(["swordfish"], "gpt-4o")
    (key,) = shared.known
    assert "swordfish" not in key
    assert key.startswith("llm-sse:tokens:o200k:")


async def test_the_least_recently_used_count_is_dropped_first() -> None:
    shared = SharedCounts()
    counter = TokenCounter(shared, limit_bytes=400)  # two texts
    for text in ("one", "two", "one", "three", "one"):
        await counter.count([text], "gpt-4o")
    assert len(shared.requested) == 3
    await counter.count(["two"], "gpt-4o")
    assert len(shared.requested) == 4


async def test_texts_are_counted_without_a_cache_too() -> None:
    counter = TokenCounter(limit_bytes=0)
    assert await counter.count(["one", "two words"], "gpt-4o") == [1, 2]


async def test_closing_a_counter_closes_its_shared_counts() -> None:
    shared = SharedCounts()
    await TokenCounter(shared).close()
    await TokenCounter().close()
    assert shared.closed


def test_the_service_loads_tokenizers_only_when_needed() -> None:
    program = "import sys, service.app; assert 'rs_bpe' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
