"""Other servers beside the service under the same load: the Go original, and LiteLLM's proxy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from bench.batches import Batch, run_batch
from bench.client import CHAT, Address
from bench.ensembles import BenchEnsemble, MockAnswer, build_post
from bench.lab import Lab, Served
from bench.load import Question, Window, find_highest_shares
from bench.processes import BenchError, Measured
from bench.rows.run import make_ensembles
from bench.table import Line, format_thousands
from tests._support.real.servers import LITELLM_KEY, run_litellm
from tools.observe.golang import BuildError, find_go
from tools.real_servers import get_venv, install_venv

_SOURCES = Path(__file__).parents[1] / "peers"
_INTERVAL_S = 0.04
_RELAY_RATIO = 10.0
_STREAMS = 50


async def measure_original(lab: Lab) -> list[Line]:
    """Send runs with whole agents to the service and to the Go original, in turns."""
    ensemble = make_ensembles(lab)[1]
    binary = lab.folder / "original"
    try:
        await asyncio.to_thread(_build, binary)
    except BuildError as missing:
        return [Line("CPU per run, the Go original", "**NOT MEASURED**", "", str(missing))]
    program = [str(binary), lab.upstream_url, ensemble.agent.model]
    async with (
        lab.run_service([ensemble]) as ours,
        # One core, as the service has with one worker.
        lab.run_program("original", program, {"GOMAXPROCS": "1"}) as original,
    ):
        servers = [
            (lab.floor, lab.build_floor_question(ensemble.combiner.tokens)),
            (ours, ours.build_question(ensemble)),
            (original, original.build_question(ensemble)),
        ]
        for served in (ours, original):
            await lab.warm_up(served, ensemble)
        taken = [[await _batch(lab, *each) for each in servers] for _ in range(lab.choose(3, 1))]
        memory_mb = [each.process.read_rss_bytes() / 1e6 for each in (ours, original)]
    return _compare(ensemble, taken, memory_mb)


async def _batch(lab: Lab, served: Served, question: Question) -> Batch:
    return await run_batch(lab, served, question, lab.choose(150, 5), _INTERVAL_S)


def _build(binary: Path) -> None:
    """Compile the Go original. Raises BuildError, also where Go is missing."""
    find_go().compile(_SOURCES, ".", binary)


def _compare(
    ensemble: BenchEnsemble, taken: list[list[Batch]], memory_mb: list[float]
) -> list[Line]:
    lines = []
    names = ("this service, agents whole", "the Go original, one core")
    for place, (name, used_mb) in enumerate(zip(names, memory_mb, strict=True), start=1):
        ratio = median(turn[place].cpu_ms / turn[0].cpu_ms for turn in taken)
        to_go = median(turn[place].cpu_ms / turn[2].cpu_ms for turn in taken)
        cpu_ms = median(turn[place].cpu_ms for turn in taken)
        first_s = median(median(turn[place].list_first_s()) for turn in taken)
        over = first_s / ensemble.first_answer_s - 1
        busy = find_highest_shares([turn[place].busy for turn in taken])
        lines.append(
            Line(
                f"CPU per run, {name}",
                f"{ratio:.2f} × floor, {to_go:.2f} × the Go original",
                "",
                f"{cpu_ms:.1f} ms a run; first answer token {over:+.1%} over the ideal; resident "
                f"{used_mb:.0f} MB; {busy}",
            )
        )
    return lines


# --- LiteLLM's proxy ---


async def measure_litellm(lab: Lab) -> list[Line]:
    """Relay one model's answers on /v1 with the service and with LiteLLM's proxy, in turns.

    The proxy is installed into the user's cache from the locks of `make test-real`, if it is not.
    """
    answer = lab.choose(MockAnswer(first_ms=50), lab.default_answer())
    ensemble = BenchEnsemble("relay", answer, answer)
    if not (get_venv() / "bin" / "litellm").exists() and install_venv():
        raise BenchError("LiteLLM could not be installed.")
    with run_litellm(lab.folder, {answer.model: lab.upstream_url}) as proxy:
        async with lab.run_service([ensemble]) as ours:
            servers = (
                (ours.process, _build_chat(ours.address, "agent/relay-1", answer)),
                (
                    Measured(proxy.popen.pid),
                    _build_chat(_parse_address(proxy.url), answer.model, answer),
                ),
            )
            # The first turn warms up.
            turns = [
                [await _relay(lab, *each) for each in servers] for _ in range(lab.choose(4, 2))
            ][1:]
            memory_mb = [each.read_rss_bytes() / 1e6 for each, _ in servers]
    ratios = [mine.tokens_per_cpu_s / its.tokens_per_cpu_s for mine, its in turns]
    rates = [median(each.tokens_per_cpu_s for each in found) for found in zip(*turns, strict=True)]
    return [
        Line(
            "tokens relayed per CPU-second on /v1, one model, against LiteLLM's proxy",
            f"{median(ratios):.1f} ×",
            f"≥ {_RELAY_RATIO:.0f} ×",
            f"{min(ratios):.1f} to {max(ratios):.1f}; {format_thousands(rates[0])} and "
            f"{format_thousands(rates[1])}; resident {memory_mb[0]:.0f} and {memory_mb[1]:.0f} MB; "
            f"{lab.choose(_STREAMS, 2)} streams open of each",
            lab.quick or median(ratios) >= _RELAY_RATIO,
        )
    ]


def _parse_address(url: str) -> Address:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _build_chat(address: Address, model: str, answer: MockAnswer) -> Question:
    """Return a streamed chat completion of one model."""
    messages = [{"role": "user", "content": "Explain gravity like I am 5"}]
    body = {"model": model, "messages": messages, "stream": True}
    request = build_post("/v1/chat/completions", body, Authorization=f"Bearer {LITELLM_KEY}")
    return Question(address, request, answer.tokens, answer.total_s, CHAT)


async def _relay(lab: Lab, server: Measured, question: Question) -> Window:
    async with lab.create_load_of(server, lab.upstream, question) as load:
        await load.raise_to(lab.choose(_STREAMS, 2))
        return await load.measure(lab.choose(4.0, 0.5))
