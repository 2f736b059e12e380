"""Closed label sets: what configuration names may be a label's value, anything else is `_OTHER`."""

import re
from collections.abc import Callable, Iterable

from telemetry import semconv
from telemetry.semconv import OTHER

Guard = Callable[[str], str]

_SLUG = re.compile(r"[A-Za-z0-9_.:/<>{}*-]{1,96}")
_DATED = re.compile(r"-v?\d[\d.-]*(-preview)?")
_GROWING_LIMIT = 128


class OpenLabelSet:
    """A label set that code, not input, keeps small; past its limit a new value is `_OTHER`."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: set[str] = {""}

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) > _GROWING_LIMIT or not _SLUG.fullmatch(value):
            return OTHER
        self._seen.add(value)
        return value


class Closed:
    """A label set that configuration names; anything else is `_OTHER`, nothing stays empty."""

    __slots__ = ("_dated", "names")

    def __init__(self, names: Iterable[str], *, dated: bool = False) -> None:
        self.names = frozenset(names)
        self._dated = dated

    def __call__(self, value: str) -> str:
        if value in self.names or not value:
            return value
        return self._snapshot_of(value) if self._dated else OTHER

    def _snapshot_of(self, value: str) -> str:
        # Providers answer "gpt-4o-mini" as "gpt-4o-mini-2024-07-18".
        for name in self.names:
            if value.startswith(name) and _DATED.fullmatch(value, len(name)):
                return name
        return OTHER


class LabelSets:
    """The guard of every label name; `replace` follows a configuration that changed."""

    def __init__(self) -> None:
        self._guards: dict[str, Guard] = {"method": Closed(semconv.KNOWN_METHODS)}
        self.version = 0
        self.replace(providers=semconv.KNOWN_PROVIDERS, workflows=(), agents=(), models=())

    def replace(
        self,
        *,
        workflows: Iterable[str] | None = None,
        agents: Iterable[str] | None = None,
        models: Iterable[str] | None = None,
        providers: Iterable[str] | None = None,
    ) -> None:
        """Replace the sets that are given and leave the others."""
        self.version += 1
        named = {"workflow": workflows, "agent": agents, "model": models, "provider": providers}
        for label, names in named.items():
            if names is not None:
                self._guards[label] = Closed(names)
        if models is not None:
            self._guards["request_model"] = self._guards["model"]
            self._guards["response_model"] = Closed(models, dated=True)

    def admit(self, label: str, value: str) -> str:
        """Return `value` when `label` may carry it, else `_OTHER`."""
        guard = self._guards.get(label)
        if guard is None:
            guard = self._guards[label] = OpenLabelSet()
        return guard(value)
