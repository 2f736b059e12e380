"""Label sets that bound the number of series: values outside a set become `_OTHER`."""

import re
from collections.abc import Callable, Iterable

from telemetry import semconv
from telemetry.semconv import OTHER

LabelSet = Callable[[str], str]

_SLUG = re.compile(r"[A-Za-z0-9_.:/<>{}*-]{1,96}")
_DATED = re.compile(r"-v?\d[\d.-]*(-preview)?")
_OPEN_SET_LIMIT = 128


class OpenLabelSet:
    """Label values that code sets, not input; above a size limit new ones are `_OTHER`."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: set[str] = {""}

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) > _OPEN_SET_LIMIT or not _SLUG.fullmatch(value):
            return OTHER
        self._seen.add(value)
        return value


class ClosedLabelSet:
    """The label values that the configuration names; others are `_OTHER`, "" stays "".

    With `dated`, a dated model snapshot counts as its model.
    """

    __slots__ = ("_dated", "names")

    def __init__(self, names: Iterable[str], *, dated: bool = False) -> None:
        self.names = frozenset(names)
        self._dated = dated

    def __call__(self, value: str) -> str:
        if value in self.names or not value:
            return value
        return self._find_undated(value) if self._dated else OTHER

    def _find_undated(self, value: str) -> str:
        # Providers report the model "gpt-4o-mini" as "gpt-4o-mini-2024-07-18".
        for name in self.names:
            if value.startswith(name) and _DATED.fullmatch(value, len(name)):
                return name
        return OTHER


class LabelSets:
    """The label set of every label name; `replace` applies a changed configuration."""

    def __init__(self) -> None:
        self._sets: dict[str, LabelSet] = {"method": ClosedLabelSet(semconv.KNOWN_METHODS)}
        self.version = 0
        self.replace(
            providers=semconv.KNOWN_PROVIDERS, workflows=(), agents=(), models=(), rules=()
        )

    def replace(
        self,
        *,
        workflows: Iterable[str] | None = None,
        agents: Iterable[str] | None = None,
        models: Iterable[str] | None = None,
        providers: Iterable[str] | None = None,
        rules: Iterable[str] | None = None,
    ) -> None:
        """Replace the given sets and leave the others unchanged."""
        self.version += 1
        named = {"workflow": workflows, "agent": agents, "model": models, "provider": providers}
        named["rule"] = rules
        for label, names in named.items():
            if names is not None:
                self._sets[label] = ClosedLabelSet(names)
        if models is not None:
            self._sets["request_model"] = self._sets["model"]
            self._sets["response_model"] = ClosedLabelSet(models, dated=True)

    def admit(self, label: str, value: str) -> str:
        """Return `value` if the set of `label` contains it, else `_OTHER`."""
        label_set = self._sets.get(label)
        if label_set is None:
            label_set = self._sets[label] = OpenLabelSet()
        return label_set(value)
