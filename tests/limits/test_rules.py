"""The rules that apply to a request: the first that matches of each kind, and the stored limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.access.principal import ANONYMOUS, Principal
from service.limits.parsing import parse_rules
from service.limits.rules import AppliedRule, Kind

GUEST = replace(ANONYMOUS, address="203.0.113.7", route="/api/process")
ADA = Principal(
    owner="user_1",
    user="Ada",
    role="user",
    method="key",
    key_id="abcdefghijkl",
    address="2001:db8::1",
    route="/v1/chat/completions",
)


def _names(text: str, caller: Principal, ensemble: str | None = None) -> dict[Kind, str]:
    rules = parse_rules(text, source="limits.toml")
    return {each.kind: each.name for each in rules.applicable(caller, ensemble)}


def test_the_first_rule_that_matches_applies_per_kind() -> None:
    text = """
        [[rules]]
        name = "admins"
        match.role = "admin"
        requests = "9/second"
        [[rules]]
        name = "streams"
        streams = 3
        [[rules]]
        name = "all"
        requests = "5/minute"
        streams = 1
        cost_usd = "0.05/day"
    """
    assert _names(text, ADA) == {"requests": "all", "streams": "streams", "cost_usd": "all"}
    assert _names(text, GUEST)["requests"] == "admins"  # with AUTH=off everyone is


@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ('role = "user"', True),
        ('role = ["viewer", "user"]', True),
        ('role = "viewer"', False),
        ('user = "ada"', True),
        ('user = "user_1"', True),
        ('user = ["bob", "ADA"]', True),
        ('user = "ad"', False),
        ('key = "abcdefghijkl"', True),
        ('key = "sk-lsse-abcdefghijkl"', True),
        ('key = "abcdefghijkm"', False),
        ('address = "2001:db8::/64"', True),
        ('address = ["10.0.0.0/8", "2001:db8::1"]', True),
        ('address = "10.0.0.0/8"', False),
        ('route = "/v1/*"', True),
        ('route = "/v1/chat/completions"', True),
        ('route = "/v1"', False),
        ('ensemble = "fan*"', True),
        ('ensemble = "solo"', False),
        ('role = "user", route = "/v1/*"', True),
        ('role = "user", route = "/api/*"', False),
    ],
)
def test_a_rule_matches_when_all_its_keys_match(match: str, applies: bool) -> None:
    text = f'[[rules]]\nmatch = {{ {match} }}\nrequests = "5/minute"'
    assert bool(_names(text, ADA, "fanout")) is applies


def test_a_rule_for_an_ensemble_does_not_match_a_request_that_starts_no_run() -> None:
    text = '[[rules]]\nmatch.ensemble = "*"\nrequests = "5/minute"'
    assert _names(text, ADA) == {}
    assert _names(text, ADA, "fanout") == {"requests": "ensemble=*"}


def test_it_is_known_whether_the_rule_depends_on_the_ensemble() -> None:
    text = """
        [[rules]]
        match.role = "viewer"
        requests = "5/minute"
        [[rules]]
        match.ensemble = "council"
        requests = "1/minute"
    """
    rules = parse_rules(text, source="limits.toml")
    assert rules.needs_ensemble(ADA, "requests")
    assert not rules.needs_ensemble(replace(ADA, role="viewer"), "requests")
    assert not rules.needs_ensemble(ADA, "streams")


@pytest.mark.parametrize(
    ("match", "caller", "subject"),
    [
        ("{}", ADA, "user:user_1"),
        ("{}", GUEST, "address:203.0.113.7"),
        ('{ key = "abcdefghijkl" }', ADA, "key:abcdefghijkl"),
        ('{ address = "::/0" }', ADA, "address:2001:db8::/64"),
        ("{}", replace(ADA, method="static_key", owner="anonymous"), "static_key"),
    ],
)
def test_a_rule_counts_users_keys_or_addresses(match: str, caller: Principal, subject: str) -> None:
    rules = parse_rules(f"[[rules]]\nmatch = {match}\nstreams = 2", source="limits.toml")
    assert [each.subject for each in rules.applicable(caller, None)] == [subject]


def test_the_limits_of_a_user_and_of_a_key_apply_in_addition() -> None:
    rules = parse_rules('[[rules]]\nname = "all"\nrequests = "5/minute"', source="limits.toml")
    caller = replace(
        ADA, user_limits={"requests": "2/second", "burst": 4}, key_limits={"cost_usd": "1.5/week"}
    )
    assert rules.applicable(caller, None) == [
        AppliedRule(name="all", kind="requests", subject="user:user_1", count=5, period="minute"),
        AppliedRule(
            name="user", kind="requests", subject="user:user_1", count=2, period="second", burst=4
        ),
        AppliedRule(
            name="key",
            kind="cost_usd",
            subject="key:abcdefghijkl",
            count=1_500_000_000,
            period="week",
        ),
    ]


def test_rules_without_a_name_are_named_by_their_match() -> None:
    text = """
        [[rules]]
        match = { role = ["user", "viewer"], address = "10.0.0.0/8" }
        streams = 1
        [[rules]]
        streams = 2
        [[rules]]
        streams = 3
    """
    rules = parse_rules(text, source="limits.toml")
    names = [each.name for each in rules.rules]
    assert names == ["role=user,viewer address=10.0.0.0/8", "everyone", "everyone-2"]
