"""The recorder of one model call: the time and size of each piece of its response, and its end."""

from __future__ import annotations

from array import array

from service.domain import ReasoningPiece, ToolCall
from service.errors import UpstreamError
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.llm.response import Piece

TEXT, REASONING, RECALLED, TOOL = range(4)
"""Kinds of pieces, in the two lowest bits of an entry of `CallRecorder.sizes`."""

_MOST_PIECES = 20_000  # of one call; the rest arrives with its last piece when it is replayed


class CallRecorder:
    """One request to a model, while its response arrives. Moments are in loop time, in seconds.

    The texts are those of `reply`: `sizes` has four times the characters of each piece plus its
    kind, or for a tool call its index in `tools`; `times_s` has the times since the start.
    """

    __slots__ = ("agent", "call", "ended_at", "error", "reply", "sizes", "started_at", "times_s",
                 "tools")  # fmt: skip

    def __init__(self, agent: str, call: Call, reply: Reply, started_at: float) -> None:
        self.agent = agent
        self.call = call
        self.reply = reply
        self.started_at = started_at
        self.times_s = array("f")  # 4 bytes each: exact to 0.1 ms within half an hour
        self.sizes = array("I")
        self.tools: list[ToolCall] = []
        self.ended_at: float | None = None
        self.error: UpstreamError | None = None

    def add(self, piece: Piece, now: float) -> None:
        """Record a piece that arrived at `now`."""
        if len(self.sizes) >= _MOST_PIECES:
            return
        if isinstance(piece, str):  # nearly all
            entry = len(piece) * 4
        elif isinstance(piece, ReasoningPiece):
            entry = len(piece.text) * 4 + (RECALLED if piece.recalls else REASONING)
        else:
            entry = len(self.tools) * 4 + TOOL
            self.tools.append(piece)
        self.sizes.append(entry)
        self.times_s.append(now - self.started_at)
