"""The circuit breaker of one model: its states, its probe, and results that arrive late."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from service.llm.endpoints.breaker import (
    FAILURES_TO_OPEN,
    OPEN_S,
    CircuitBreaker,
    CircuitState,
    Passage,
)


@dataclass
class _Clock:
    now: float = 0.0
    changes: list[tuple[CircuitState, CircuitState]] = field(default_factory=list)

    def breaker(self) -> CircuitBreaker:
        return CircuitBreaker(
            lambda: self.now, lambda before, after: self.changes.append((before, after))
        )


def _enter(breaker: CircuitBreaker) -> Passage:
    passage = breaker.enter()
    assert passage is not None
    return passage


def _fail(breaker: CircuitBreaker, times: int = FAILURES_TO_OPEN) -> None:
    for _ in range(times):
        _enter(breaker).settle("failed")


def test_failures_in_a_row_open_the_circuit() -> None:
    clock = _Clock()
    breaker = clock.breaker()
    _fail(breaker, FAILURES_TO_OPEN - 1)
    assert breaker.admits
    _fail(breaker, 1)
    assert (breaker.state, breaker.enter(), breaker.wait_s) == ("open", None, OPEN_S)
    assert clock.changes == [("closed", "open")]


def test_an_answer_resets_the_count_and_a_refusal_does_not() -> None:
    breaker = _Clock().breaker()
    _fail(breaker, FAILURES_TO_OPEN - 1)
    _enter(breaker).settle("answered")
    _fail(breaker, FAILURES_TO_OPEN - 1)
    assert breaker.admits
    _enter(breaker).settle("refused")
    _enter(breaker).settle("unknown")
    _fail(breaker, 1)
    assert not breaker.admits


def test_after_the_open_time_one_probe_at_a_time_is_admitted() -> None:
    clock = _Clock()
    breaker = clock.breaker()
    _fail(breaker)
    clock.now = OPEN_S
    admitted = [breaker.enter() for _ in range(100)]
    assert sum(each is not None for each in admitted) == 1
    assert clock.changes[-1] == ("open", "half_open")
    assert 0 < breaker.wait_s < OPEN_S


def test_an_answered_or_refused_probe_closes_the_circuit() -> None:
    for result in ("answered", "refused"):
        clock = _Clock()
        breaker = clock.breaker()
        _fail(breaker)
        clock.now = OPEN_S
        _enter(breaker).settle(result)
        assert breaker.state == "closed"
        _fail(breaker, FAILURES_TO_OPEN - 1)
        assert breaker.admits  # the count starts again
        assert [after for _, after in clock.changes] == ["open", "half_open", "closed"]


def test_a_failed_probe_opens_the_circuit_for_the_whole_time_again() -> None:
    clock = _Clock()
    breaker = clock.breaker()
    _fail(breaker)
    clock.now = OPEN_S + 7
    _enter(breaker).settle("failed")
    assert (breaker.enter(), breaker.wait_s) == (None, OPEN_S)


def test_a_cancelled_probe_makes_room_for_the_next() -> None:
    clock = _Clock()
    breaker = clock.breaker()
    _fail(breaker)
    clock.now = OPEN_S
    _enter(breaker).settle("unknown")
    probe = _enter(breaker)
    assert breaker.enter() is None
    probe.settle("answered")
    assert breaker.state == "closed"


def test_results_of_calls_from_before_the_opening_change_nothing() -> None:
    clock = _Clock()
    breaker = clock.breaker()
    late = [_enter(breaker) for _ in range(20)]
    for each in late[:5]:
        each.settle("failed")
    clock.now = 20.0
    late[5].settle("failed")  # does not extend the open time
    late[6].settle("answered")  # does not close it
    assert (breaker.state, breaker.wait_s) == ("open", OPEN_S - 20)
    clock.now = OPEN_S
    probe = _enter(breaker)
    late[7].settle("failed")
    late[8].settle("unknown")
    assert breaker.enter() is None  # the slot is still the probe's
    probe.settle("answered")
    for each in late[9:]:
        each.settle("failed")
    assert breaker.state == "closed"


def test_only_the_first_result_of_a_call_counts() -> None:
    breaker = _Clock().breaker()
    for _ in range(FAILURES_TO_OPEN * 2):
        passage = _enter(breaker)
        passage.settle("answered")
        passage.settle("failed")
    assert breaker.admits


def test_a_circuit_without_calls_for_a_long_time_is_forgotten() -> None:
    clock = _Clock()
    breaker = clock.breaker()
    _fail(breaker)
    states = []
    for passed_s in (300, 700):
        clock.now = OPEN_S + passed_s
        breaker.forget()
        states.append(breaker.state)
    assert states == ["half_open", "closed"]


def test_a_random_history_never_admits_two_probes_or_a_call_while_open() -> None:
    chosen = random.Random(17)
    for _ in range(50):
        clock = _Clock()
        breaker = clock.breaker()
        running: list[tuple[Passage, bool]] = []
        for _ in range(200):
            clock.now += chosen.choice((0.0, 1.0, 10.0))
            state = breaker.state
            passage = breaker.enter()
            if passage:
                assert state != "open"
                running.append((passage, state == "half_open"))
            assert sum(is_probe for _, is_probe in running) <= 1
            if running and chosen.random() < 0.6:
                one, _ = running.pop(chosen.randrange(len(running)))
                one.settle(chosen.choice(("answered", "failed", "failed", "unknown", "refused")))
        for one, _ in running:
            one.settle("unknown")
        clock.now += OPEN_S
        assert breaker.admits  # no slot was lost
