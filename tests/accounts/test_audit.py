"""The queue of the audit log: order, repetitions, bounds, and no secrets."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from service.access.principal import ANONYMOUS, Principal
from service.accounts.audit import SYSTEM, Audit, make_entry
from service.accounts.repetitions import Repetitions
from service.errors import StorageUnavailable
from service.store.audit.entries import AuditEntry
from service.store.audit.log import AuditLog


class _Log(AuditLog):
    """A log in a list, which can be made to refuse."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.is_down = False

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        if self.is_down:
            raise StorageUnavailable("The database is down.", reason="down")
        self.entries += entries


async def test_entries_are_appended_in_their_order_once_the_database_is_back() -> None:
    log = _Log()
    audit = Audit(log)
    log.is_down = True
    for target in ("first", "second"):
        audit.record("key.created", ANONYMOUS, target)
    with pytest.raises(StorageUnavailable):
        await audit.flush()
    log.is_down = False
    audit.record("key.revoked", ANONYMOUS, "third")
    await audit.flush()
    assert [each.target for each in log.entries] == ["first", "second", "third"]


async def test_a_flood_of_failed_logins_becomes_a_few_rows_with_a_count() -> None:
    log = _Log()
    audit = Audit(log)
    for number in range(50_000):
        caller = Principal(user="ann", address=f"10.0.{number % 500 // 250}.{number % 250}")
        audit.record("login.failed", caller, "ann", reason="password")
    await audit.flush()
    assert 2 <= len(log.entries) <= 300
    await audit.close()
    total = sum(int(str(each.details.get("count", 1))) for each in log.entries)
    assert total == 50_000


async def test_entries_beyond_the_bound_are_counted_in_an_entry() -> None:
    log = _Log()
    audit = Audit(log)
    for number in range(10_007):
        audit.record("key.created", ANONYMOUS, str(number))
    await audit.flush()
    await audit.flush()
    assert len(log.entries) == 10_001
    assert log.entries[-1].action == "audit.lost"
    assert log.entries[-1].details == {"count": 7}


def test_repetitions_of_a_minute_become_one_row_of_the_next() -> None:
    now = 0.0
    repetitions = Repetitions(lambda: now)
    entry = make_entry("limit.hit", ANONYMOUS, "rule")
    assert repetitions.admit(entry) is entry
    assert [repetitions.admit(entry) for _ in range(5)] == [None] * 5
    assert repetitions.take_due() == []
    now = 61.0
    assert [each.details["count"] for each in repetitions.take_due()] == [5]
    now = 122.0
    assert repetitions.take_due() == []
    assert repetitions.admit(entry) is entry


def test_what_looks_like_a_key_is_redacted_and_long_texts_are_cut() -> None:
    key = "sk-lsse-abcdefghijkl-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG-abc123"
    entry = make_entry("key.created", SYSTEM, key, name=f"my {key}", more="x" * 5_000)
    assert "0123456789" not in repr(entry)
    assert len(str(entry.details["more"])) == 200


@pytest.mark.parametrize(
    ("principal", "actor"),
    [
        (Principal(user="user_1", owner="user_1", method="session"), "user_1"),
        (Principal(method="static_key"), "static_key"),
        (Principal(owner="jwt:someone", method="jwt"), "jwt:someone"),
        (ANONYMOUS, "anonymous"),
    ],
)
def test_the_actor_is_the_user_or_the_kind_of_the_caller(principal: Principal, actor: str) -> None:
    assert make_entry("logout", principal).actor == actor
