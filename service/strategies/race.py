"""The strategy `race`: the first agent that starts to answer well is streamed, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from service.domain import CHARS_PER_TOKEN, Answer, MissingAgent, ReasoningPiece, RunRequest
from service.ensembles.catalog import Ensemble, EnsembleFault
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, AgentFinished, AgentSkipped, AgentStarted
from service.events.findings import RACE_LOST
from service.events.seams import AgentContinued
from service.llm.response import OnPiece, Piece
from service.strategies.base import (
    AgentResult,
    Emit,
    Kit,
    PlannedCalls,
    ReusedAnswer,
    Strategy,
    advise_retry,
)
from service.strategies.calls.agent_call import AgentCall
from service.strategies.checks import find_unused_key
from service.strategies.fanout import make_too_few_answers, run_together
from service.strategies.output import make_answer_output, make_seam_output
from service.strategies.selecting import send_answer
from service.strategies.stragglers import Tasks

# The start that decides: 8 tokens. An agent that stalls after its first token loses to one that
# does not; until then the answer can still come from any agent.
START_CHARS = 8 * CHARS_PER_TOKEN


async def race(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call all agents, stream the first that has sent 8 tokens or its whole answer, stop the rest.

    Raises RunError when every agent failed, or when the winner breaks off later.
    """
    for agent in kit.ensemble.agents:
        if report := kit.reused.get(agent.name):
            reused = ReusedAnswer(agent, report)
            await emit(AgentFinished(agent.name, reused.report()))
            return await send_answer(request, kit, emit, reused)
    kit.workflow.start_step("race")
    calls = [AgentCall(kit, each, request, request.messages, emit) for each in kit.ensemble.agents]
    track = _Track(request, kit, emit, calls)
    await run_together([(each, track.run(each)) for each in calls], track.wait)
    kit.workflow.end_step()
    kit.check_cost()
    winner = track.winner
    if winner is None:
        raise make_too_few_answers(calls, 1)
    name = winner.agent.name
    if winner.error:
        retry = advise_retry([winner], 1)
        raise RunError(winner.error.code, winner.error.message, name, retry=retry)
    failed = [each for each in calls if each.error and each is not winner]
    return Answer(
        source=name,
        answered_by=name,
        usage=kit.usage,
        cost=kit.cost,
        finish_reason=winner.finish_reason,
        missing=tuple(MissingAgent(each.agent.name, _code(each)) for each in failed),
        is_substitute=winner.stepped_down,
    )


class _Track:
    """The agents of a race; `winner` is set once."""

    def __init__(
        self, request: RunRequest, kit: Kit, emit: Emit, calls: Sequence[AgentCall]
    ) -> None:
        self.winner: AgentCall | None = None
        self._request = request
        self._kit = kit
        self._emit = emit
        self._calls = calls
        self._starts: dict[AgentCall, list[Piece]] = {}
        self._decided = asyncio.Event()

    async def run(self, call: AgentCall) -> None:
        """Call one agent, and report its end."""
        agent, reasoning = call.agent, self._request.options.reasoning
        output = make_answer_output(self._request, self._kit, self._emit, agent.name)
        self._starts[call] = []
        await self._emit(AgentStarted(agent.name, agent.model))
        try:
            await call.answer(
                self._make_forward(call, output),
                has_reasoning_events=reasoning != "none",
                on_seam=partial(self._report_seam, call),
            )
            await self._win(call, output)
        except UpstreamError as error:
            await self._emit(AgentFailed(agent.name, error.code, error.message, call.report()))
        else:
            if call is self.winner:
                await self._emit(AgentFinished(agent.name, call.report()))

    async def _report_seam(self, call: AgentCall, seam: AgentContinued) -> None:
        report = make_seam_output(self._emit) if call is self.winner else self._emit
        await report(seam)

    def _make_forward(self, call: AgentCall, output: OnPiece) -> OnPiece:
        async def forward(piece: Piece) -> None:
            if call is self.winner:
                await output(piece)
                return
            start = self._starts[call]
            if isinstance(piece, ReasoningPiece) and piece.recalls:
                start.clear()
            start.append(piece)
            if _count_chars(start) >= START_CHARS:
                await self._win(call, output)

        return forward

    async def _win(self, call: AgentCall, output: OnPiece) -> None:
        """Make `call` the winner unless there is one, and send its start."""
        if self.winner is not None:
            return
        self.winner = call
        start = self._starts[call]
        for piece in start:
            await output(piece)
        start.clear()
        self._decided.set()

    async def wait(self, tasks: Tasks) -> None:
        """Wait for the winner, report the others as stopped, and wait for the end."""
        await self._wait_for_winner(set(tasks))
        losers = [task for task, call in tasks.items() if call is not self.winner]
        for task in losers:
            tasks[task].skipped = not task.done()
            task.cancel()
        if losers:
            await asyncio.wait(losers)
        for task in losers:
            if tasks[task].error is None:
                await self._report_loser(tasks[task])
        await asyncio.wait(tasks)

    async def _wait_for_winner(self, pending: set[asyncio.Task[None]]) -> None:
        """Wait until there is a winner, or no agent is left, or the run has cost too much."""
        decided = asyncio.ensure_future(self._decided.wait())
        try:
            while pending and not self._decided.is_set() and not self._kit.over_cost:
                done, _ = await asyncio.wait(
                    {*pending, decided}, return_when=asyncio.FIRST_COMPLETED
                )
                pending -= done
        finally:
            decided.cancel()

    async def _report_loser(self, call: AgentCall) -> None:
        name, winner = call.agent.name, self.winner
        if winner is None:
            code, why = "cost_cap", f"{name} was cut off: the run reached its cost limit."
        else:
            code, why = RACE_LOST, f"{name} was stopped: {winner.agent.name} was faster."
        await self._emit(AgentSkipped(name, code, why, call.report()))


def _count_chars(pieces: Iterable[Piece]) -> int:
    """Return the characters of text and of tool calls; white space alone is no start."""
    text = "".join(each for each in pieces if isinstance(each, str)).strip()
    calls = [each for each in pieces if not isinstance(each, str | ReasoningPiece)]
    return len(text) + sum(len(each.name) + len(each.arguments) for each in calls)


def _code(result: AgentResult) -> str:
    return result.error.code if result.error else "failed"


def check(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault if there is only one agent."""
    if len(ensemble.agents) == 1:
        return EnsembleFault("race needs at least two agents; solo asks one", "agents")
    return find_unused_key(ensemble)


def steps(ensemble: Ensemble) -> tuple[PlannedCalls, ...]:
    """Return the calls of all agents, of which all but one are stopped."""
    return (PlannedCalls(ensemble.agents),)


RACE = Strategy(race, check, steps)
