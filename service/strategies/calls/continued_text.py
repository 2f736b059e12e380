"""The text of an answer that consists of the parts before and after a seam."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import ToolCall
from service.llm.continuation.overlap import OverlapTrimmer
from service.llm.response import Piece


class ContinuedText:
    """The text of an answer: that before its last seam, and what the continuation adds."""

    def __init__(self, before: str) -> None:
        self._before = before
        self.restart()

    def restart(self) -> None:
        """Prepare for another request for the same continuation."""
        self._added: list[str] = []
        self._trimmer = OverlapTrimmer(self._before)
        self.has_output = False

    @property
    def text(self) -> str:
        """The complete text so far."""
        return self._before + "".join(self._added)

    def take(self, piece: Piece) -> Sequence[Piece]:
        """Return what `piece` of the continuation adds to the answer."""
        if isinstance(piece, str):
            return self._add(self._trimmer.feed(piece))
        if isinstance(piece, ToolCall):
            self.has_output = True
            return [*self.finish(), piece]
        if piece.recalls:  # the text of the continuation, but not that before it, was reasoning
            self._added.clear()
            return [piece, self._before]
        return [piece]

    def finish(self) -> Sequence[str]:
        """Return the rest of the text at the end of the continuation."""
        return self._add(self._trimmer.finish())

    def _add(self, text: str) -> Sequence[str]:
        if not text:
            return ()
        self.has_output = True
        self._added.append(text)
        return (text,)
