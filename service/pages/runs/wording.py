"""Words and numbers of a run for its page: states, durations, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from service.domain import Usage
from service.pages.words import format_cost as format_amount
from service.pages.words import format_duration
from service.runs.projections.summary import RunSummary

_RUN_STATES: Final = {
    "running": "The run is still in progress.",
    "completed": "The run is complete.",
    "failed": "The run failed.",
    "cancelled": "The run was stopped.",
    "interrupted": "The run was interrupted: its process ended before the answer was complete.",
}
_AGENT_STATES: Final = {"running": "answering", "cancelled": "stopped"}


def describe_run(run: RunSummary) -> list[str]:
    """Return the state of a run as sentences: the state, the failure, and what is missing."""
    sentences = [_RUN_STATES.get(run.state, f"The run is {run.state}.")]
    if run.code:
        sentences.append(f"{run.message or 'No reason is known.'} ({run.code})")
    if run.finish_reason == "length":
        sentences.append("The answer was cut off at its largest length.")
    elif run.finish_reason == "content_filter":
        sentences.append("The answer was cut off by a content filter.")
    return sentences + _describe_degradation(run)


def _describe_degradation(run: RunSummary) -> list[str]:
    sentences = []
    if "agents" in run.degraded_by:
        absent = join_names([f"{each.agent} ({each.code})" for each in run.missing])
        sentences.append(f"Degraded: the answer was made without {absent or 'some agents'}.")
    if "combiner" in run.degraded_by:
        writer = run.answered_by or "another agent"
        sentences.append(f"Degraded: {writer} replaced the combiner that was intended.")
    if "judge" in run.degraded_by:
        sentences.append("Degraded: the judge gave no usable verdict, and a fixed rule decided.")
    return sentences


def describe_agent_state(state: str) -> str:
    """Return the state of an agent in words; most states are words already."""
    return _AGENT_STATES.get(state, state)


def join_names(names: Sequence[str]) -> str:
    """Return names as an enumeration: "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def format_ms(duration_ms: float | None) -> str:
    """Return a duration with its unit; "–" for an unknown one."""
    return format_duration(duration_ms) or "–"


def format_cost(cost: float | None, usage: Usage) -> str:
    """Return a cost in US dollars; one of estimated tokens is marked with "about"."""
    if cost is None:
        return "unknown"
    return f"{'about ' if usage.estimated else ''}{format_amount(cost)}"


def format_tokens(usage: Usage) -> str:
    """Return token counts as text; those that the service estimated are marked with "about"."""
    about = "about " if usage.estimated else ""
    return f"{about}{usage.input_tokens:,} in, {usage.output_tokens:,} out"
