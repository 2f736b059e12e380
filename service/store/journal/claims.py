"""Decides which new runs may be written: no other run may have their key or retried run. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.store.records import KeyConflict, KnownKey, NewKey, NewRun


@dataclass(slots=True)
class Claims:
    """The keys that are bound, by (owner, key), and the successors of retried runs, by run id."""

    keys: dict[tuple[str, str], KnownKey] = field(default_factory=dict)
    successors: dict[str, str | None] = field(default_factory=dict)


def admit(
    openings: Iterable[NewRun], claims: Claims
) -> tuple[list[NewRun], dict[str, KeyConflict]]:
    """Return the new runs to write, and the conflicts of the others by run id.

    Of several runs in a batch that claim the same, the first gets it; `claims` is updated.
    """
    admitted: list[NewRun] = []
    conflicts: dict[str, KeyConflict] = {}
    for opening in openings:
        conflict = _find_retry_conflict(opening, claims.successors) or _find_key_conflict(
            opening, claims.keys
        )
        if conflict is not None:
            conflicts[opening.run_id] = conflict
            continue
        admitted.append(opening)
        _claim(opening, claims)
    return admitted, conflicts


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
