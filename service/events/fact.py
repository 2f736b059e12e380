"""Base classes of all events: immutable structs with their type as tag."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Fact(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """A past fact of a run. A struct, not a dataclass: the garbage collector skips it."""

    type: ClassVar[str]
    final: ClassVar[bool] = False


class FinalFact(Fact, frozen=True):
    """The one event that ends a run."""

    final: ClassVar[bool] = True
