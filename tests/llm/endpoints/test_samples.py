"""Recent values of a measure, and the limit of the usual ones."""

from __future__ import annotations

from random import Random

import pytest

from service.llm.endpoints.samples import LEAST, RECENT, RecentSamples


def _filled(*values: float) -> RecentSamples:
    samples = RecentSamples()
    for value in values:
        samples.record(value)
    return samples


def test_a_limit_is_known_after_twenty_values() -> None:
    samples = _filled(*[1.0] * (LEAST - 1))
    assert samples.find_limit() is None
    assert samples.find_median() is None
    samples.record(1.0)
    assert (samples.find_limit(), samples.find_median()) == (1.0, 1.0)


def test_the_limit_is_the_95th_percentile() -> None:
    assert _filled(*map(float, range(1, 101))).find_limit() == 95.0


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 1.5])
def test_about_a_twentieth_of_lognormal_values_exceed_the_limit(sigma: float) -> None:
    random, samples, exceeded = Random(1), RecentSamples(), 0
    for _ in range(4_000):
        value = random.lognormvariate(0.0, sigma)
        limit = samples.find_limit()
        exceeded += limit is not None and value > limit
        samples.record(value)
    assert 0.03 < exceeded / 4_000 < 0.08


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_the_limit_does_not_shrink_when_it_ends_the_calls_above_it(sigma: float) -> None:
    random, samples, ended = Random(2), RecentSamples(), 0
    for _ in range(4_000):
        value = random.lognormvariate(0.0, sigma)
        limit = samples.find_limit()
        if limit is not None and value > limit:
            ended += 1
            samples.record_unfinished()
        else:
            samples.record(value)
    assert ended / 4_000 < 0.12


@pytest.mark.parametrize("stalls", [0.01, 0.05, 0.08])
def test_rare_stalls_are_not_the_usual_pace(stalls: float) -> None:
    random, samples, misses = Random(3), RecentSamples(), 0
    for number in range(2_000):
        samples.record(8.0 if random.random() < stalls else random.uniform(0.4, 0.6))
        misses += number >= LEAST and (samples.find_limit() or 0.0) > 0.91
    assert misses / 2_000 < 0.25


def test_values_of_a_second_mode_are_usual() -> None:
    random = Random(4)
    samples = _filled(*[2.0 if random.random() < 0.2 else 0.3 for _ in range(RECENT)])
    assert samples.find_limit() == 2.0


def test_old_values_are_forgotten() -> None:
    samples = _filled(*[5.0] * RECENT, *[1.0] * RECENT)
    assert len(samples) == RECENT
    assert samples.find_limit() == 1.0


def test_a_measure_is_suspect_when_more_than_a_tenth_of_the_calls_were_ended() -> None:
    samples = _filled(*[1.0] * 90)
    for _ in range(10):
        samples.record_unfinished()
    before = samples.is_suspect
    samples.record_unfinished()
    assert (before, samples.is_suspect) == (False, True)
    assert samples.find_limit() == 1.5


def test_a_suspect_measure_forgets_its_values_when_a_call_succeeds_above_the_limit() -> None:
    samples = _filled(*[1.0] * 50)
    for _ in range(20):
        samples.record_unfinished()
    samples.record(1.4)
    assert samples.is_suspect
    samples.record(3.0)
    assert len(samples) == 1
    assert samples.find_limit() is None


def test_a_server_that_never_responded_has_no_usual_time() -> None:
    samples = RecentSamples()
    for _ in range(LEAST):
        samples.record_unfinished()
    assert samples.find_limit() == 0.0
