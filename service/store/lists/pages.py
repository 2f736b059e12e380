"""Pages of lists, and positions in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

Position = tuple[datetime, str]  # of a conversation in a list: its last update and its id

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of `total` items; `is_capped` if there are more than `total`.

    `unread` has the ids of runs whose question and answer are "" in `items`, because all texts of
    the page together are too long; they are the last ones, in parts to be read one by one.
    """

    items: Sequence[Item]
    total: int
    is_capped: bool = False
    unread: Sequence[Sequence[str]] = ()
