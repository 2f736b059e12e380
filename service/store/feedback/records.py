"""Records of feedback: one rating, and sums of many. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Thumb = Literal["up", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """The opinion of a user about the answer of a run, or with `agent` about that of one agent.

    `score` is 0 (worst) to 1. `better` is the agent whose answer was better than the answer of the
    run, or than that of the agent `than`. Models are "" where no agent is named.
    """

    agent: str = ""
    score: float | None = None
    thumb: Thumb | None = None
    comment: str | None = None
    better: str | None = None
    than: str | None = None
    model: str = ""
    better_model: str = ""


@dataclass(frozen=True, slots=True)
class StoredRating:
    """A rating with the times of its creation and of its last change."""

    rating: Rating
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class FeedbackSums:
    """Sums of ratings.

    `ratings` counts those with a score or a thumb, `score` is the sum of their scores, where a
    thumb alone counts as 1 or 0. `preferred` counts how often an agent was named as `better`.
    """

    ratings: int = 0
    score: float = 0.0
    preferred: int = 0

    def add(self, rating: Rating) -> None:
        """Add the score or the thumb of a rating; `preferred` belongs to another agent."""
        score = rating.score
        if score is None and rating.thumb is not None:
            score = 1.0 if rating.thumb == "up" else 0.0
        if score is not None:
            self.ratings += 1
            self.score += score

    @property
    def mean_score(self) -> float | None:
        """The mean score, 0 to 1; None without ratings."""
        return self.score / self.ratings if self.ratings else None
