"""Cost of limits: CPU per request in memory and with Redis, and the calls of Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack
from statistics import median

from redis.asyncio import Redis

from bench.ensembles import BenchEnsemble, build_get
from bench.lab import Lab, Served
from bench.load import Question, send_evenly
from bench.table import Line
from tests._support.servers.databases import redis_server

_REQUEST_MS = 0.3
_PATH = "/v1/models"
_INTERVAL_S = 0.004
_RULES = """
[[rules]]
name = "all"
requests = "1000000/hour"
streams = 1000
[[rules]]
name = "unused"
match.role = "viewer"
requests = "1/hour"
"""


async def measure_limits(lab: Lab) -> list[Line]:
    """Send the same requests to services without limits, with limits, and with Redis, in turns."""
    ensemble = BenchEnsemble("streamed", lab.default_answer(), lab.default_answer())
    (lab.folder / "limits.toml").write_text(_RULES)
    limited = {"LIMITS_FILE": str(lab.folder / "limits.toml")}
    async with AsyncExitStack() as stack:
        server = stack.enter_context(redis_server())
        none = {"LIMITS_FILE": str(lab.folder / "absent.toml")}
        settings = (none, limited, {**limited, "REDIS_URL": server.url})
        services = [
            await stack.enter_async_context(lab.run_service([ensemble], each)) for each in settings
        ]
        client = await stack.enter_async_context(Redis.from_url(server.url))
        count, windows = lab.choose((500, 9), (40, 2))
        spent = [await _measure_window(services, count) for _ in range(windows)][1:]
        calls = await _count_calls(client)
    base_ms = median(each[0] for each in spent)
    lines = []
    for column, where in ((1, "in memory"), (2, "with Redis")):
        extra_ms = median(each[column] - each[0] for each in spent)
        lines.append(
            Line(
                f"CPU of a request with limits {where}, beyond none",
                f"{extra_ms:+.2f} ms",
                f"≤ {_REQUEST_MS} ms",
                f"GET {_PATH}, {base_ms:.2f} ms without; {len(spent)} windows of {count} requests",
                lab.quick or extra_ms <= _REQUEST_MS,
            )
        )
    per_request = calls / (windows * count)
    lines.append(
        Line(
            "calls of Redis for the limits of a request",
            f"{per_request:.2f}",
            "1",
            "scripts that Redis has run; calls that arrive together share a round trip",
            lab.quick or round(per_request, 1) == 1,
        )
    )
    return lines


async def _measure_window(services: list[Served], count: int) -> list[float]:
    """Return the CPU milliseconds of each service per request."""
    spent = []
    for served in services:
        before = served.process.read_cpu_s()
        question = Question(served.address, build_get(_PATH), 0, 0)
        await send_evenly(question, count=count, interval_s=_INTERVAL_S)
        spent.append((served.process.read_cpu_s() - before) / count * 1000)
    return spent


async def _count_calls(client: Redis) -> int:
    stats = await client.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])
