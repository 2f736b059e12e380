"""The step in which one agent writes the answer from the answers of others, and streams it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

from service.domain import Answer, Message, MissingAgent, RunRequest, ToolCall
from service.ensembles.catalog import Agent
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, CombineStarted
from service.llm.response import DONE, OnPiece, Piece
from service.strategies.base import AgentResult, Emit, Kit, advise_retry
from service.strategies.calls.agent_call import AgentCall
from service.strategies.fanout import choose_best
from service.strategies.options.parameters import wants_tools
from service.strategies.output import make_answer_output, make_seam_output
from service.strategies.provenance.marked_output import MarkedOutput, describe_single


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The material of an answer: its writer, and the answers of the agents.

    `notes` are further parts of the writer's prompt, such as a ranking. `missing` are the agents
    without a complete answer. `has_provenance`: whether each part of the answer is to name the
    agents it rests on.
    """

    writer: Agent
    answers: Sequence[AgentResult]
    missing: tuple[MissingAgent, ...]
    notes: Sequence[str] = ()
    has_provenance: bool = False


async def write_answer(request: RunRequest, kit: Kit, emit: Emit, draft: Draft) -> Answer:
    """Call the writer, and stream its answer.

    When the writer and its fallbacks fail before their first token, the best single answer
    replaces the writer's. Raises RunError when there is only a part of an answer.
    """
    name, answers = draft.writer.name, draft.answers
    await emit(CombineStarted(name, tuple(each.agent.name for each in answers)))
    output = make_answer_output(request, kit, emit, name)
    marked = _make_marked_output(request, draft, output)
    if marked:
        draft = replace(draft, notes=[*draft.notes, marked.task])
    written = marked.forward if marked else output
    forward = written if wants_tools(request) else _drop_tool_calls(written)
    call = AgentCall(kit, draft.writer, request, make_writer_messages(request, draft), emit)
    author: AgentResult = call
    try:
        await call.answer(
            forward,
            has_reasoning_events=request.options.reasoning != "none",
            on_seam=make_seam_output(emit, (lambda: len(marked.text)) if marked else None),
        )
        if marked:
            await marked.finish()
            await emit(marked.describe(name))
    except UpstreamError as error:
        author = await _replace_answer(emit, kit, draft, call, error)
        text = _cut_at_stop(author.text, request.options.parameters.get("stop"))
        await output(text)
        if marked:
            await emit(describe_single(name, text, author.agent.name))
    report = call.report()
    return Answer(
        source=name,
        answered_by=author.agent.name,
        usage=kit.usage,
        cost=kit.cost,
        finish_reason=author.finish_reason,
        missing=draft.missing,
        is_substitute=call.stepped_down or author is not call,
        combiner=replace(report, text=marked.text) if marked and author is call else report,
    )


def _make_marked_output(request: RunRequest, draft: Draft, output: OnPiece) -> MarkedOutput | None:
    """Return the output without marks; None where none are wanted, as in JSON."""
    if not draft.has_provenance or "response_format" in request.options.parameters:
        return None
    return MarkedOutput(request.question, draft.answers, output)


def _drop_tool_calls(output: OnPiece) -> OnPiece:
    """Return an output without tool calls, which the request does not want."""

    def forward(piece: Piece) -> Awaitable[None]:
        return DONE if isinstance(piece, ToolCall) else output(piece)

    return forward


async def _replace_answer(
    emit: Emit, kit: Kit, draft: Draft, call: AgentCall, error: UpstreamError
) -> AgentResult:
    """Report the failed writer, and return the best single answer.

    Raises RunError if a part of the writer's answer was sent.
    """
    name = draft.writer.name
    if call.has_output:
        complete = [each for each in draft.answers if each.answered]
        retry = advise_retry([*complete, call], 1)
        raise RunError(error.code, error.message, name, retry=retry) from error
    kit.workflow.record_step_down(name, error.code)
    await emit(AgentFailed(name, error.code, error.message, call.report()))
    return choose_best(draft.answers)


def make_writer_messages(request: RunRequest, draft: Draft) -> list[Message]:
    """Return the conversation, with the agents' answers after its last question."""
    last = request.messages[-1]
    parts = ["Answers of the assistants:", *map(format_answer, draft.answers), *draft.notes]
    if last.role != "user":  # the result of a tool, which must follow its call
        return [*request.messages, Message("user", "\n\n".join(parts))]
    parts.insert(0, f"Question:\n{request.question}")
    return [*request.messages[:-1], Message("user", "\n\n".join(parts))]


def format_answer(answer: AgentResult) -> str:
    """Return an agent's answer with the agent's name above it."""
    cut = _describe_cut(answer)
    note = f" ({cut})" if cut else ""
    return f"[{answer.agent.name}]{note}\n{answer.text.strip()}"


def _describe_cut(result: AgentResult) -> str:
    """Return why the text of an agent is not its complete answer; empty for a complete one."""
    if result.answered:
        return _CUTS.get(result.finish_reason, "")
    if result.error:
        return "cut off before it was complete: its model server failed"
    return "cut off before it was complete"


_CUTS = {
    "length": "cut off before it was complete: it reached its limit of tokens",
    "content_filter": "cut off before it was complete: a content filter stopped it",
}


def _cut_at_stop(text: str, stop: str | Sequence[str] | None) -> str:
    stops = [stop] if isinstance(stop, str) else stop or ()
    return text[: min((at for each in stops if (at := text.find(each)) >= 0), default=len(text))]
