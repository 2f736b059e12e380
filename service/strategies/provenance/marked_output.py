"""The output of a writer that marks its sources: clean text, and the provenance at its end."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import ReasoningPiece
from service.events.findings import ProvenanceFinished, ProvenancePart
from service.llm.response import OnPiece, Piece
from service.strategies.base import AgentResult
from service.strategies.provenance.marks import MarkFilter, choose_brackets
from service.strategies.provenance.support import find_dissent, find_provenance

_TASK = (
    "Mark your sources: after each sentence write in {0} and {1} the numbers of the answers that "
    "it rests on, for example {0}1{1} or {0}1,3{1}; write no mark after a sentence that rests on "
    "none. The marks are removed before anyone reads the answer, so do not mention them. If an "
    "answer states something that yours contradicts, add at the very end "
    "{0}dissent 2: its statement{1}."
)


class MarkedOutput:
    """Passes the pieces of an answer on without its marks."""

    def __init__(self, question: str, answers: Sequence[AgentResult], output: OnPiece) -> None:
        self._answers = answers
        self._output = output
        self._brackets = choose_brackets([question, *(each.text for each in answers)])
        self._filter = MarkFilter(self._brackets)
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._parts)

    @property
    def task(self) -> str:
        """The part of the writer's prompt that asks for marks."""
        numbers = [f"{number}: [{each.agent.name}]" for number, each in enumerate(self._answers, 1)]
        return f"{_TASK.format(*self._brackets)}\nThe numbers: {', '.join(numbers)}."

    async def forward(self, piece: Piece) -> None:
        """Pass on a piece, or the part of it that is certainly no mark."""
        if isinstance(piece, str):
            await self._send(self._filter.feed(piece))
            return
        if isinstance(piece, ReasoningPiece) and piece.recalls:
            self._filter = MarkFilter(self._brackets)
            self._parts.clear()
        await self._output(piece)

    async def finish(self) -> None:
        """Pass on the rest at the end of the answer."""
        await self._send(self._filter.finish())

    async def _send(self, text: str) -> None:
        if text:
            self._parts.append(text)
            await self._output(text)

    def describe(self, writer: str) -> ProvenanceFinished:
        """Return the event with the parts of the answer and their agents."""
        parts = find_provenance(self.text, self._filter, self._answers)
        return ProvenanceFinished(writer, parts, find_dissent(self._filter, self._answers))


def describe_single(writer: str, text: str, author: str) -> ProvenanceFinished:
    """Return the event of an answer that is the own text of `author`."""
    return ProvenanceFinished(writer, (ProvenancePart(text, 0, len(text), (author,)),))
