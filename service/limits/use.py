"""The use that a request makes of the service."""

from __future__ import annotations

from dataclasses import dataclass

from service.access.principal import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """The use that a request makes of the service.

    `starts_run`: it asks models. `is_answer`: its response is an answer, which counts as an open
    stream until its end. `is_local`: it comes from this machine, and no proxy is involved.
    """

    principal: Principal
    starts_run: bool = False
    is_answer: bool = False
    is_local: bool = False
