"""The result of a run that an evaluation needed, as stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.domain import AgentReport
from service.store.records import StoredRun


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run that has ended, with the reports of its agents; or the refusal of the run.

    `run` is None, and `refusal` a sentence, when no run was started.
    """

    run: StoredRun | None = None
    reports: Mapping[str, AgentReport] = field(default_factory=dict)
    refusal: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether the run has an answer."""
        return self.run is not None and self.run.state == "completed" and bool(self.text.strip())

    @property
    def run_id(self) -> str:
        return self.run.id if self.run else ""

    @property
    def text(self) -> str:
        """The answer, also a partial one."""
        return self.run.answer if self.run else ""

    @property
    def error(self) -> str:
        """The reason why there is no answer, in a sentence."""
        if self.is_answered:
            return ""
        return (self.run.error if self.run else self.refusal) or "There is no answer."

    @property
    def cost_usd(self) -> float | None:
        """The cost of the run's own calls; None when a price is not known."""
        return self.run.cost_usd if self.run else None

    @property
    def calls(self) -> int:
        """The number of answers that the run requested of models."""
        return sum(not each.reused for each in self.reports.values())

    @property
    def writer(self) -> AgentReport | None:
        """The report of the agent that wrote the answer."""
        return self.reports.get(self.run.answered_by or "") if self.run else None
