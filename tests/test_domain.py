"""Sums of usage and cost; an unknown cost stays unknown."""

from __future__ import annotations

from service.domain import Message, Usage, add_costs
from tests._support.llm.scripted import an_ask


def test_usages_add_up_field_by_field() -> None:
    assert Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 44)


def test_a_sum_with_an_estimate_is_an_estimate() -> None:
    assert (Usage(1, 1) + Usage(1, 1, estimated=True)).estimated


def test_the_total_is_input_and_output() -> None:
    assert Usage(3, 4, cached_tokens=2, reasoning_tokens=1).total_tokens == 7


def test_an_estimate_is_one_token_per_four_characters_rounded_up() -> None:
    messages = [Message("system", "abc"), Message("user", "de")]
    assert Usage.estimate(messages, "123456789") == Usage(2, 3, estimated=True)


def test_unknown_costs_are_left_out_of_a_sum() -> None:
    assert add_costs(1.0, None, 2.0) == 3.0


def test_a_sum_of_unknown_costs_is_unknown() -> None:
    assert add_costs(None, None) is None


def test_a_cost_of_zero_is_known() -> None:
    assert add_costs(None, 0.0) == 0.0


def test_the_question_is_the_last_message() -> None:
    messages = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert an_ask(messages=messages).question == "c"
