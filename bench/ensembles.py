"""Ensembles of mock models with an exact pace, and the requests for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOKENS = 200
GAP_MS = 5


@dataclass(frozen=True, slots=True)
class MockAnswer:
    """The answer of a mock model: number of tokens, delay of the first, gap between tokens."""

    tokens: int = TOKENS
    first_ms: int = 100
    gap_ms: int = GAP_MS
    fault: str = ""  # further options of the mock

    @property
    def model(self) -> str:
        pace = f"tokens={self.tokens}&first_ms={self.first_ms}&gap_ms={self.gap_ms}"
        return f"mock?{pace}{self.fault}"

    @property
    def total_s(self) -> float:
        return (self.first_ms + (self.tokens - 1) * self.gap_ms) / 1000


@dataclass(frozen=True, slots=True)
class BenchEnsemble:
    """An ensemble of `agents` equal agents and a combiner that always streams.

    `min_answers` is the number of agents unless it is given; `settings` are further lines of its
    table, `tables` further tables of the file.
    """

    name: str
    agent: MockAnswer = MockAnswer()
    combiner: MockAnswer = MockAnswer()
    agents: int = 2
    stream: bool = True
    min_answers: int | None = None
    settings: str = ""
    tables: str = ""

    @property
    def first_answer_s(self) -> float:
        """The time to the first answer token with a service that takes no time."""
        return self.agent.total_s + self.combiner.first_ms / 1000

    @property
    def run_s(self) -> float:
        """The duration of a run with a service that takes no time."""
        return self.agent.total_s + self.combiner.total_s

    @property
    def request(self) -> bytes:
        """The bytes of the HTTP request that asks this ensemble."""
        question = "Explain gravity like I am 5"
        body = {"message": question, "message_id": "bench", "ensemble": self.name}
        return build_post("/api/process", body)


def build_post(path: str, body: Mapping[str, object], **headers: str) -> bytes:
    """Return the bytes of a POST request with a JSON body."""
    content = json.dumps(body).encode()
    listed = {"Host": "bench", "Content-Type": "application/json", "Connection": "close", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in listed.items())
    head = f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def build_get(path: str) -> bytes:
    """Return the bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()


def format_ensembles(ensembles: Sequence[BenchEnsemble]) -> str:
    """Return the text of an ensembles file that defines `ensembles`."""
    return "\n".join([f'default = "{ensembles[0].name}"', *map(_format_tables, ensembles)])


def format_no_hedges(server_url: str) -> str:
    """Return the table of an ensembles file by which calls of a server are never sent twice."""
    return f'[endpoints."{server_url}"]\nhedge = 0'


def _format_tables(ensemble: BenchEnsemble) -> str:
    names = [f"{ensemble.name}-{number}" for number in range(1, ensemble.agents + 1)]
    combiner = f"{ensemble.name}-combine"
    stream = str(ensemble.stream).lower()
    agents = [
        f'[agents.{name}]\nmodel = "{ensemble.agent.model}"\nstream = {stream}\n'
        f'prompt = "You are a careful assistant, number {name}."'
        for name in names
    ]
    combining = (
        f'[agents.{combiner}]\nmodel = "{ensemble.combiner.model}"\n'
        'prompt = "You combine the answers of several assistants into one."'
    )
    table = (
        f'[ensembles.{ensemble.name}]\nstrategy = "synthesize"\nagents = {json.dumps(names)}\n'
        f'combiner = "{combiner}"\nmin_answers = {ensemble.min_answers or ensemble.agents}\n'
        f"{ensemble.settings}"
    )
    return "\n".join([*agents, combining, table, ensemble.tables])
