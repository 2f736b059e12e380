"""Decides which new runs may be written. No I/O.

No other run may have their key or retried run, and their budgets must suffice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.store.budgets.ledger import Ledger
from service.store.budgets.records import BudgetGrant, BudgetShortage
from service.store.records import KeyConflict, KnownKey, NewKey, NewRun


@dataclass(slots=True)
class Claims:
    """The keys that are bound, by (owner, key), and the successors of retried runs, by run id."""

    keys: dict[tuple[str, str], KnownKey] = field(default_factory=dict)
    successors: dict[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class Admission:
    """The new runs to write, the conflicts of others, and the reservations of new runs."""

    admitted: list[NewRun] = field(default_factory=list)
    conflicts: dict[str, KeyConflict] = field(default_factory=dict)
    budgets: dict[str, BudgetGrant | BudgetShortage] = field(default_factory=dict)


def admit(openings: Iterable[NewRun], claims: Claims, ledger: Ledger) -> Admission:
    """Return the new runs to write, and the reasons why the others are refused.

    Of several runs in a batch that claim the same, or the last of a budget, the first gets it;
    `claims` and `ledger` are updated.
    """
    result = Admission()
    for opening in openings:
        conflict = _find_retry_conflict(opening, claims.successors) or _find_key_conflict(
            opening, claims.keys
        )
        if conflict is not None:
            result.conflicts[opening.run_id] = conflict
            continue
        reserved = ledger.reserve(opening.run_id, opening.demands)
        if reserved is not None:
            result.budgets[opening.run_id] = reserved
        if not isinstance(reserved, BudgetShortage):
            result.admitted.append(opening)
            _claim(opening, claims)
    return result


def _find_retry_conflict(
    opening: NewRun, successors: Mapping[str, str | None]
) -> KeyConflict | None:
    successor = successors.get(opening.retry_of) if opening.retry_of else None
    return KeyConflict(successor, None) if successor not in (None, opening.run_id) else None


def _find_key_conflict(
    opening: NewRun, keys: Mapping[tuple[str, str], KnownKey]
) -> KeyConflict | None:
    new = opening.key
    if new is None:
        return None
    known = keys.get((opening.ask.owner, new.key))
    if known is None or known.run_id in (opening.run_id, new.replaces):
        return None
    if known.expires_at <= opening.created_at:
        return None
    return KeyConflict(known.run_id, known.fingerprint)


def _claim(opening: NewRun, claims: Claims) -> None:
    if opening.retry_of:
        claims.successors[opening.retry_of] = opening.run_id
    if opening.key is not None:
        claims.keys[opening.ask.owner, opening.key.key] = _make_known_key(
            opening.key, opening.run_id
        )


def _make_known_key(key: NewKey, run_id: str) -> KnownKey:
    return KnownKey(key.fingerprint, run_id, key.expires_at)
