"""Identifiers sort by time, cannot be guessed, and fit into an event's id."""

from __future__ import annotations

import re
import time

from service.ids import new_id


def test_an_id_is_its_prefix_and_32_hex_digits() -> None:
    assert re.fullmatch(r"run_[0-9a-f]{32}", new_id("run"))


def test_later_ids_sort_after_earlier_ones() -> None:
    first = new_id("run")
    time.sleep(0.002)
    assert first < new_id("run")


def test_ids_of_one_millisecond_sort_by_time() -> None:
    def new_id_after_a_microsecond() -> str:
        until = time.time_ns() + 1_000
        while time.time_ns() < until:
            pass
        return new_id("run")

    ids = [new_id_after_a_microsecond() for _ in range(500)]
    assert ids == sorted(ids)


def test_ids_of_the_same_time_differ() -> None:
    assert len({new_id("run") for _ in range(1_000)}) == 1_000
