"""Events of answers that broke off and are continued: their seams."""

from __future__ import annotations

from typing import ClassVar

from service.events.fact import Fact


class AgentContinued(Fact, frozen=True, tag="agent.continued"):
    """The agent's answer broke off with `code`; `model` continues it.

    `position` is the number of characters (code points) of its text so far: the seam.
    """

    type: ClassVar[str] = "agent.continued"

    agent: str
    code: str
    message: str
    model: str
    position: int


class AnswerContinued(Fact, frozen=True, tag="answer.continued"):
    """The answer, which `agent` writes, broke off with `code`; `model` continues it.

    `position` is the number of characters (code points) of the answer so far: the seam.
    """

    type: ClassVar[str] = "answer.continued"

    agent: str
    code: str
    message: str
    model: str
    position: int


Seam = AgentContinued | AnswerContinued
