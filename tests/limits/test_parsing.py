"""Faults in `limits.toml`, and in the limits of a user, have a line and a reason."""

from __future__ import annotations

from typing import Any

import pytest

from service.limits.amounts import Amount
from service.limits.parsing import LimitsError, parse_allowance, parse_rules


def _fault(text: str) -> str:
    with pytest.raises(LimitsError) as caught:
        parse_rules(text, source="limits.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('requests = "60 per minute"', "must look like '60/minute'"),
        ('requests = "60/minutes"', "must look like '60/minute'"),
        ('requests = "60/Minute"', "must look like '60/minute'"),
        ('requests = " 60/minute"', "must look like '60/minute'"),
        ('requests = "60"', "must look like '60/minute'"),
        ("requests = 60", "must look like '60/minute'"),
        ("requests = nan", "must look like '60/minute'"),
        ('requests = "-1/minute"', "must look like '60/minute'"),
        ('requests = "1.5/minute"', "must look like '60/minute'"),
        ('requests = "١/minute"', "must look like '60/minute'"),
        ('requests = "1/fortnight"', "second, minute, hour, day, week, month"),
        ('requests = "0/minute"', "must be greater than zero"),
        ('requests = "9999999999999999/day"', "must look like"),
        ('tokens = "0/day"', "must be greater than zero"),
        ('cost_usd = "0.0/day"', "must be greater than zero"),
        ('cost_usd = "$5/month"', "must look like '4.50/month'"),
        ('cost_usd = "0.0000000001/day"', "must look like '4.50/month'"),
        ('cost_usd = "NaN/day"', "must look like '4.50/month'"),
        ("streams = 0", "greater than or equal to 1"),
        ("streams = -1", "greater than or equal to 1"),
        ("streams = nan", "should be a valid integer"),
        ('streams = "10"', "should be a valid integer"),
        ("streams = true", "should be a valid integer"),
        ("burst = 0", "greater than or equal to 1"),
        ('request = "60/minute"', "this key is not known"),
        ('match.rolle = "user"', "this key is not known"),
        ('match.role = "root"', "'admin', 'user' or 'viewer'"),
        ("match.role = []", "at least 1 item"),
        ('match.address = "10.0.0.1/8"', "the network is 10.0.0.0/8"),
        ('match.address = "example.com"', "must be an address or a network"),
        ('match.route = ""', "at least 1 character"),
        ('name = "a b"', "must be 1 to 64 letters, digits and . _ -"),
        ('name = ""', "must be 1 to 64 letters, digits and . _ -"),
    ],
)
def test_a_fault_is_reported_with_its_line(line: str, reason: str) -> None:
    text = f'# rules\n[[rules]]\ntokens = "1/day"\n[[rules]]\n{line}\n'
    fault = _fault(text)
    assert fault.startswith("limits.toml:5: rules.1."), fault
    assert reason in fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[rules]]\n", "limits.toml:1: rules.0: has no limit"),
        ("[[rules]]\nburst = 3\nstreams = 1", "limits.toml:1: rules.0: burst applies only"),
        ("[[rule]]\nstreams = 1", "limits.toml:1: rule: this key is not known"),
        ("streams = 1", "limits.toml:1: streams: this key is not known"),
        ("[rules.a]\nstreams = 1", "limits.toml:1: rules: input should be a valid list"),
        ("[[rules]]\nstreams = \n", "limits.toml:2: "),
        ("[[rules]\nstreams = 1\n", "limits.toml:1: "),
    ],
)
def test_a_fault_of_the_file_is_reported(text: str, fault: str) -> None:
    assert _fault(text).startswith(fault)


def test_the_names_of_limits_outside_the_file_are_reserved() -> None:
    text = '[[rules]]\nname = "default"\nstreams = 1\n'
    assert _fault(text) == "limits.toml:2: rules.0.name: 'default' is reserved"


def test_two_rules_may_not_have_one_name() -> None:
    text = '[[rules]]\nname = "a"\nstreams = 1\n[[rules]]\nname = "a"\nstreams = 2\n'
    assert _fault(text) == "limits.toml:5: rules.1.name: 'a' is the name of two rules"


def test_an_empty_file_has_no_rules() -> None:
    assert parse_rules("# nothing\n", source="limits.toml").rules == ()


def test_the_limits_of_a_user_have_the_keys_of_a_rule() -> None:
    allowance = parse_allowance({"requests": "60/minute", "burst": 5, "cost_usd": "0.05/day"})
    assert allowance.requests == Amount(60, "minute")
    assert allowance.cost_usd == Amount(50_000_000, "day")
    assert allowance.streams is None


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"requests": "60"}, "requests: must look like '60/minute'"),
        ({"match": {}}, "match: this key is not known"),
        ({"burst": 3}, "limits: burst applies only together with requests"),
    ],
)
def test_a_fault_in_the_limits_of_a_user_names_its_key(limits: dict[str, Any], reason: str) -> None:
    with pytest.raises(LimitsError, match=reason):
        parse_allowance(limits)
