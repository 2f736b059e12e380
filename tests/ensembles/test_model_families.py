"""The family of a model, by the different spellings of its name."""

from __future__ import annotations

import pytest

from service.ensembles.model_families import family_of, smallest_context


@pytest.mark.parametrize(
    ("model", "tokens", "encoding"),
    [
        ("gpt-3.5-turbo", 16_385, "cl100k"),
        ("gpt-4", 8_192, "cl100k"),
        ("gpt-4-0613", 8_192, "cl100k"),
        ("gpt-4-turbo-2024-04-09", 128_000, "cl100k"),
        ("gpt-4o-mini", 128_000, "o200k"),
        ("gpt-4.1-nano", 1_047_576, "o200k"),
        ("gpt-5-mini", 400_000, "o200k"),
        ("o3-mini", 200_000, "o200k"),
        ("ft:gpt-4o-mini-2024-07-18:lab::x", 128_000, "o200k"),
        ("openai/gpt-4o", 128_000, "o200k"),
        ("GPT-4o", 128_000, "o200k"),
        ("llama-3.3-70b-versatile", 131_072, None),
        ("llama3-8b-8192", 8_192, None),
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072, None),
        ("of-somebodys-own", 128_000, None),
    ],
)
def test_the_longest_prefix_of_the_name_determines_the_family(
    model: str, tokens: int, encoding: str | None
) -> None:
    family = family_of(model)
    assert (family.context_tokens, family.encoding) == (tokens, encoding)


def test_several_models_share_the_smallest_window() -> None:
    assert smallest_context(["gpt-4o", "gpt-4", "gpt-5"]) == 8_192
