"""The rules of `limits.toml`, and those that apply to a request. No I/O.

Of each kind of limit (requests, streams, tokens, money) the first rule of the file that matches
applies. The limits that are stored with a user and with a key apply in addition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Literal, get_args

import msgspec

from service.access.principal import Principal
from service.limits.amounts import Amount, Period
from service.limits.subjects import subject_of, subject_of_address, subject_of_key
from service.limits.tables import AllowanceTable, MatchTable

Kind = Literal["requests", "streams", "tokens", "cost_usd"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

# The names of limits that no rule of the file has.
OF_USER, OF_KEY, DEFAULT = "user", "key", "default"
OWN = frozenset({OF_USER, OF_KEY})
RESERVED = OWN | {DEFAULT}

_KEY_PREFIX = "sk-lsse-"  # of a key's public part, where it was copied from a complete key


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedRule:
    """One limit of a rule that applies to a request.

    `subject` identifies the counter: `user:<id>`, `key:<id>` or `address:<ip>`. `count` is in
    requests, open streams, tokens, or billionths of a US dollar; open streams have no period. With
    `window_s` it applies to any window of that length instead of a period.
    `name` is that of the rule, `user` or `key` for the limits stored with those.
    """

    name: str
    kind: Kind
    subject: str
    count: int
    period: Period | None = None
    burst: int | None = None
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the file."""

    name: str
    match: MatchTable
    allowance: AllowanceTable

    def limits(self, kind: Kind) -> bool:
        """Return whether the rule has a limit of this kind."""
        return getattr(self.allowance, kind) is not None

    def fits(self, principal: Principal) -> bool:
        """Return whether the rule matches the caller and the route of a request."""
        route = self.match.route
        return (not route or _fits_any(route, principal.route)) and self.fits_caller(principal)

    def fits_caller(self, principal: Principal) -> bool:
        """Return whether the rule matches the caller of a request."""
        match = self.match
        return (
            (not match.role or principal.role in match.role)
            and (not match.user or _names_user(match.user, principal))
            and (not match.key or _names_key(match.key, principal.key_id))
            and (not match.address or _is_within(match, principal.address))
        )

    def fits_ensemble(self, ensemble: str | None) -> bool:
        """Return whether the rule matches a run of `ensemble`; None: the request starts no run."""
        return not self.match.ensemble or (
            ensemble is not None and _fits_any(self.match.ensemble, ensemble)
        )

    def subject_of(self, principal: Principal) -> str:
        """Return the subject that the rule counts.

        A rule for keys counts each key, one for addresses each address, others each user. Callers
        without an account are counted by address.
        """
        if self.match.key and principal.key_id:
            return subject_of_key(principal.key_id)
        return subject_of_address(principal) if self.match.address else subject_of(principal)


class Rules:
    """The rules of a file in their order."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._by_kind = {kind: [each for each in rules if each.limits(kind)] for kind in KINDS}

    @property
    def names(self) -> frozenset[str]:
        """The names of all rules, with those of limits that are not in the file."""
        return frozenset(each.name for each in self.rules) | RESERVED

    def applicable(
        self, principal: Principal, ensemble: str | None, kinds: Sequence[Kind] = KINDS
    ) -> list[AppliedRule]:
        """Return the limits for a request of `principal`, the stored ones of user and key last.

        `ensemble` is that of the run which the request starts, None when it starts none.
        """
        found = []
        for kind in kinds:
            rules = self._by_kind[kind]
            for rule in rules:
                if rule.fits_ensemble(ensemble) and rule.fits(principal):
                    subject = rule.subject_of(principal)
                    found.append(_apply(rule.allowance, kind, rule.name, subject))
                    break
        return found + list(_own_limits(principal, kinds))

    def possible(self, principal: Principal, kinds: Sequence[Kind]) -> list[AppliedRule]:
        """Return the limits that may apply to requests of `principal`, at any route."""
        found = []
        for kind in kinds:
            for rule in self._by_kind[kind]:
                if rule.fits_caller(principal):
                    subject = rule.subject_of(principal)
                    found.append(_apply(rule.allowance, kind, rule.name, subject))
                    if not (rule.match.route or rule.match.ensemble):
                        break
        return found + list(_own_limits(principal, kinds))

    def needs_ensemble(self, principal: Principal, kind: Kind) -> bool:
        """Return whether the rule that applies depends on the ensemble of the run."""
        for rule in self._by_kind[kind]:
            if rule.fits(principal):
                if rule.match.ensemble:
                    return True
                break
        return False


def _own_limits(principal: Principal, kinds: Sequence[Kind]) -> Iterator[AppliedRule]:
    if principal.user_limits:
        allowance = _read_stored(msgspec.json.encode(principal.user_limits))
        yield from _apply_all(allowance, kinds, OF_USER, subject_of(principal))
    if principal.key_limits and principal.key_id:
        allowance = _read_stored(msgspec.json.encode(principal.key_limits))
        yield from _apply_all(allowance, kinds, OF_KEY, subject_of_key(principal.key_id))


@lru_cache(maxsize=4_096)
def _read_stored(limits: bytes) -> AllowanceTable:
    return AllowanceTable.model_validate(msgspec.json.decode(limits))


def _apply_all(
    allowance: AllowanceTable, kinds: Sequence[Kind], name: str, subject: str
) -> Iterator[AppliedRule]:
    for kind in kinds:
        if getattr(allowance, kind) is not None:
            yield _apply(allowance, kind, name, subject)


def _apply(allowance: AllowanceTable, kind: Kind, name: str, subject: str) -> AppliedRule:
    limit: Amount | int = getattr(allowance, kind)
    if isinstance(limit, int):
        return AppliedRule(name=name, kind=kind, subject=subject, count=limit)
    return AppliedRule(
        name=name,
        kind=kind,
        subject=subject,
        count=limit.count,
        period=limit.period,
        burst=allowance.burst if kind == "requests" else None,
    )


def _names_user(users: Sequence[str], principal: Principal) -> bool:
    names = {each.casefold() for each in users}
    return principal.method != "anonymous" and (
        principal.owner in users or (principal.user or "").casefold() in names
    )


def _names_key(keys: Sequence[str], key_id: str | None) -> bool:
    return any(each.removeprefix(_KEY_PREFIX) == key_id for each in keys)


def _is_within(match: MatchTable, address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in match.address)


def _fits_any(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
