"""Cost of authentication: CPU per request with a key and with a token, and CPU per run."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from statistics import median

from bench.ensembles import BenchEnsemble, build_get
from bench.lab import Lab, Served
from bench.load import Question, send_evenly
from bench.processes import BenchError
from bench.table import Line
from tests._support.accounts.issuer import AUDIENCE, ISSUER, Issuer, make_claims
from tests._support.accounts.rows import AccountRows

_REQUEST_MS, _RUN = 0.3, 1.03
_PATH = "/v1/models"
_INTERVAL_S = 0.008
_OPEN = 20


async def measure_access(lab: Lab) -> list[Line]:
    """Send the same requests to a service with AUTH=off and to one with AUTH=required."""
    ensemble = BenchEnsemble("streamed", lab.default_answer(), lab.default_answer())
    issuer, database = Issuer(), f"sqlite:///{lab.folder}/access.db"
    (lab.folder / "jwks.json").write_text(json.dumps(issuer.jwks))
    access = {
        "AUTH": "required", "DATABASE_URL": database, "JWT_JWKS": str(lab.folder / "jwks.json"),
        "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE,
    }  # fmt: skip
    async with AsyncExitStack() as stack:
        off = await stack.enter_async_context(lab.run_service([ensemble]))
        on = await stack.enter_async_context(lab.run_service([ensemble], access))
        key = (await AccountRows(database).add_user("bench")).key.text
        token = issuer.make_token(claims=make_claims())
        return [
            await _measure_requests(lab, off, on, "a key", key),
            await _measure_requests(lab, off, on, "an RS256 token", token),
            await _measure_runs(lab, off, on, ensemble, key),
        ]


async def _measure_requests(lab: Lab, off: Served, on: Served, title: str, credential: str) -> Line:
    count = lab.choose(500, 40)
    questions = [Question(each.address, build_get(_PATH), 0, 0) for each in (off, on)]
    questions[1] = _authorize(questions[1], credential)
    spent = await _measure(lab, (off, on), questions, count, _INTERVAL_S)
    extra_ms = median((second - first) / count * 1000 for first, second in spent)
    off_ms = median(first / count * 1000 for first, _ in spent)
    return Line(
        f"CPU of a request with {title}, beyond AUTH=off",
        f"{extra_ms:+.2f} ms",
        f"≤ {_REQUEST_MS} ms",
        f"GET {_PATH}, {off_ms:.2f} ms with AUTH=off; {len(spent)} windows of {count} requests",
        lab.quick or extra_ms <= _REQUEST_MS,
    )


async def _measure_runs(
    lab: Lab, off: Served, on: Served, ensemble: BenchEnsemble, key: str
) -> Line:
    questions = [each.build_question(ensemble) for each in (off, on)]
    questions[1] = _authorize(questions[1], key)
    count = lab.choose(60, 4)
    spent = await _measure(lab, (off, on), questions, count, ensemble.run_s / lab.choose(_OPEN, 2))
    total = [sum(each) for each in zip(*spent, strict=True)]
    if not total[0]:
        raise BenchError("The windows were too short to measure anything.")
    ratio, run_ms = total[1] / total[0], total[0] / len(spent) / count * 1000
    ratios = sorted(second / first for first, second in spent if first)
    return Line(
        "CPU per run, AUTH=required with a key against AUTH=off",
        f"{ratio:.2f} ×",
        f"≤ {_RUN} ×",
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}; {run_ms:.1f} ms a run with AUTH=off",
        lab.quick or ratio <= _RUN,
    )


async def _measure(
    lab: Lab,
    services: tuple[Served, Served],
    questions: list[Question],
    count: int,
    interval_s: float,
) -> list[tuple[float, float]]:
    """Return the CPU seconds of both services in each of several windows.

    Both have the same load at the same time, so that other work on the machine slows both.
    """
    spent: list[tuple[float, float]] = []
    for number in range(lab.choose(7, 2)):
        before = [each.process.read_cpu_s() for each in services]
        await asyncio.gather(
            *(send_evenly(each, count=count, interval_s=interval_s) for each in questions)
        )
        first, second = (
            each.process.read_cpu_s() - start for each, start in zip(services, before, strict=True)
        )
        if number:  # the first window warms up
            spent.append((first, second))
    return spent


def _authorize(question: Question, credential: str) -> Question:
    """Return the same question with a credential."""
    head, host, rest = question.request.partition(b"Host: bench\r\n")
    line = f"Authorization: Bearer {credential}\r\n".encode()
    return replace(question, request=head + host + line + rest)
