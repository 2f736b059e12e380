"""Token counts that model servers report."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain import Usage
from service.llm.decoding.usage import read_usage


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5}, Usage(3, 5)),
        ({"prompt_tokens": 3.0, "completion_tokens": 5.0}, Usage(3, 5)),
        ({"input_tokens": 3, "output_tokens": 5}, Usage(3, 5)),
        ({"prompt_tokens": 3, "total_tokens": 8}, Usage(3, 5)),
        ({"prompt_tokens": 3, "completion_tokens": None}, Usage(3, 0)),
        (
            {
                "prompt_tokens": 30,
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(30, 20, cached_tokens=10, reasoning_tokens=7),
        ),
        (
            {
                "prompt_tokens": 30,
                "completion_tokens": 5,
                "prompt_tokens_details": {"image_tokens": 20},
            },
            Usage(30, 5, image_tokens=20),
        ),
        (  # xAI: the total shows that the answer's tokens leave reasoning out
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, reasoning_tokens=94),
        ),
        (
            {"prompt_tokens": 30, "completion_tokens": 20, "prompt_cache_hit_tokens": 12},
            Usage(30, 20, cached_tokens=12),
        ),
        ({"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": []}, Usage(3, 5)),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": "many"},
                "completion_tokens_details": {"reasoning_tokens": -1},
            },
            Usage(3, 5),
        ),
    ],
)
def test_counts_are_read_under_the_names_of_servers(value: Any, usage: Usage) -> None:
    assert read_usage(value) == usage


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        "10",
        7,
        True,
        {"prompt_tokens": "10", "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": -5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 10.5, "completion_tokens": 5},
        {"prompt_tokens": float("nan"), "completion_tokens": 5},
        {"prompt_tokens": float("inf"), "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": {}, "completion_tokens": 5},
        {"prompt_tokens": 10**30, "completion_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 5},
        {"completion_tokens": 5},
    ],
)
def test_counts_that_cannot_be_true_are_no_usage(value: Any) -> None:
    assert read_usage(value) is None


def test_more_cached_tokens_than_the_prompt_has_are_reduced_to_it() -> None:
    value = {"prompt_tokens": 3, "completion_tokens": 5, "prompt_cache_hit_tokens": 9}
    assert read_usage(value) == Usage(3, 5, cached_tokens=3)
