"""Evaluations in this process: a service on a database of its own, and models that a test plays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.access.principal import ANONYMOUS
from service.app import Services, create_app
from service.evaluation.panels.entrants import choose_entrants
from service.evaluation.questions.question import Question
from service.evaluation.results import GivenAnswer
from service.evaluation.running.executor import ServiceParts
from service.evaluation.running.halt import Halt
from service.evaluation.running.progress import Progress
from service.evaluation.running.session import EvaluationPlan, SessionResult, run_evaluation
from service.settings import Settings
from service.store.migrate import migrate

AGENTS = ("a", "b", "c")
ENSEMBLES = """
default = "fanout"
[ensembles.fanout]
strategy = "synthesize"
agents = ["a", "b"]
combiner = "combine"
[ensembles.vote]
strategy = "vote"
agents = ["a", "b", "c"]
[ensembles.repeated]
strategy = "vote"
agents = ["a", "a", "a"]
[ensembles.solo]
strategy = "solo"
agents = ["a"]
[ensembles.race]
strategy = "race"
agents = ["a", "b"]
[ensembles.layers]
strategy = "layers"
layers = [["a", "b"], ["c"]]
combiner = "combine"
[ensembles.council]
strategy = "council"
agents = ["a", "b", "c"]
chair = "combine"
"""


def make_ensembles(agents: Sequence[str] = (*AGENTS, "combine", "judge")) -> str:
    """Return an ensembles file; model `m-a` of agent `a` costs one dollar per million tokens."""
    parts = [ENSEMBLES]
    for name in agents:
        parts.append(f'[agents.{name}]\nmodel = "m-{name}"\nmax_tokens = 50\nretries = 0\n')
        parts.append(f'[prices."m-{name}"]\ninput = 1.0\noutput = 1.0\n')
    return "".join(parts)


Play = Callable[[str, Mapping[str, Any]], str | int]
"""Returns the answer of a model to a request, or the status of a failure."""


@dataclass
class PlayedModels(httpx.AsyncBaseTransport):
    """Model servers whose answers a function gives. Each answer uses ten tokens in and ten out."""

    play: Play
    asked: list[dict[str, Any]] = field(default_factory=list)
    on_request: Callable[[], None] = lambda: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread())
        self.asked.append(body)
        self.on_request()
        answer = self.play(body["model"], body)
        if isinstance(answer, int):
            return httpx.Response(answer, json={"error": {"message": "It fails."}})
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        choice = {"index": 0, "delta": {"content": answer}, "finish_reason": "stop"}
        chunk = {"id": "c", "model": body["model"], "choices": [choice], "usage": usage}
        data = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=data)

    @property
    def asked_models(self) -> list[str]:
        """The models in the order of their requests."""
        return [each["model"] for each in self.asked]


@dataclass
class Evaluator:
    """Evaluations with the models of `models`, on one database."""

    services: Services
    models: PlayedModels
    folder: Path
    halt: Halt = field(default_factory=Halt)
    progress: list[Progress] = field(default_factory=list)

    async def evaluate(
        self, questions: Sequence[Question], ensembles: Sequence[str], **changes: Any
    ) -> SessionResult:
        """Return the outcome of an evaluation; its folder is `out` unless another is given."""
        self.halt = Halt()
        catalog = self.services.ensembles.catalog
        judge = changes.pop("judge", None)
        plan = EvaluationPlan(
            questions=tuple(questions),
            questions_file="questions.jsonl",
            entrants=choose_entrants(catalog, ensembles),
            judge=catalog.agents[judge] if judge else None,
            **{"folder": self.folder / "out", "has_equal_cost": False, **changes},
        )
        parts = ServiceParts(
            runs=self.services.runs,
            store=self.services.store.runs,
            cache=self.services.store.evaluations,
            budgets=self.services.budgets,
            catalog=catalog,
            principal=ANONYMOUS,
        )
        return await run_evaluation(plan, parts, self.halt, self.progress.append)


@asynccontextmanager
async def evaluating(
    folder: Path, play: Play, *, ensembles: str = "", **settings: Any
) -> AsyncIterator[Evaluator]:
    """Yield evaluations of a service with its database in `folder`, which may exist."""
    (folder / "ensembles.toml").write_text(ensembles or make_ensembles())
    values: dict[str, Any] = {
        "database_url": f"sqlite:///{folder}/service.db",
        "spool_dir": folder / "spool",
        "ensembles_file": folder / "ensembles.toml",
        "limits_file": folder / "limits.toml",
        "store_timeout_s": 60,
        **settings,
    }
    made = Settings(**values)
    await migrate(made.database)
    models = PlayedModels(play)
    services = create_app(made, {}, transport=models)
    async with services.lifespan:
        yield Evaluator(services, models, folder)


def answers_of(outcome: SessionResult, contestant: str) -> list[GivenAnswer]:
    """Return the answers of a contestant in the order of the questions."""
    return [each for each in outcome.evaluation.answers if each.contestant == contestant]
