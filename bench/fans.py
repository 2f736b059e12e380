"""What is asked: ensembles whose mock models speak at an exact pace, and the requests for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

TOKENS = 200
GAP_MS = 5


@dataclass(frozen=True, slots=True)
class Speech:
    """A mock model's answer: when its first token comes, and every further one."""

    tokens: int = TOKENS
    first_ms: int = 100
    gap_ms: int = GAP_MS

    @property
    def model(self) -> str:
        return f"mock?tokens={self.tokens}&first_ms={self.first_ms}&gap_ms={self.gap_ms}"

    @property
    def whole_s(self) -> float:
        return (self.first_ms + (self.tokens - 1) * self.gap_ms) / 1000


@dataclass(frozen=True, slots=True)
class Fan:
    """An ensemble: `agents` equal ones, then a combiner that always streams."""

    name: str
    agent: Speech = Speech()
    combiner: Speech = Speech()
    agents: int = 2
    stream: bool = True

    @property
    def first_answer_s(self) -> float:
        """When the first answer token comes if the service costs nothing."""
        return self.agent.whole_s + self.combiner.first_ms / 1000

    @property
    def run_s(self) -> float:
        """How long a run takes if the service costs nothing."""
        return self.agent.whole_s + self.combiner.whole_s

    @property
    def request(self) -> bytes:
        """The HTTP request that asks this ensemble."""
        question = "Explain gravity like I am 5"
        body = {"message": question, "message_id": "bench", "ensemble": self.name}
        content = json.dumps(body).encode()
        return (
            b"POST /api/process HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
        )


def get(path: str) -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()


def ensembles_toml(fans: Sequence[Fan]) -> str:
    """Return the ensembles file that defines `fans`."""
    return "\n".join([f'default = "{fans[0].name}"', *map(_tables, fans)])


def _tables(fan: Fan) -> str:
    names = [f"{fan.name}-{number}" for number in range(1, fan.agents + 1)]
    combiner = f"{fan.name}-combine"
    stream = str(fan.stream).lower()
    agents = [
        f'[agents.{name}]\nmodel = "{fan.agent.model}"\nstream = {stream}\n'
        f'prompt = "You are a careful assistant, number {name}."'
        for name in names
    ]
    combining = (
        f'[agents.{combiner}]\nmodel = "{fan.combiner.model}"\n'
        'prompt = "You combine the answers of several assistants into one."'
    )
    ensemble = (
        f'[ensembles.{fan.name}]\nstrategy = "synthesize"\nagents = {json.dumps(names)}\n'
        f'combiner = "{combiner}"\nmin_answers = {fan.agents}'
    )
    return "\n".join([*agents, combining, ensemble])
