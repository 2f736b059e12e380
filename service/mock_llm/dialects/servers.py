"""All dialects, by the name in the option `dialect` of a model's name."""

from __future__ import annotations

from collections.abc import Mapping

from service.mock_llm.dialects.dialect import Dialect
from service.mock_llm.dialects.hosted import HOSTED
from service.mock_llm.dialects.local import LOCAL

DIALECTS: Mapping[str, Dialect] = {**HOSTED, **LOCAL}


def find_dialect(name: str | None) -> Dialect | None:
    """Return the dialect of this name. Raises LookupError that lists the names."""
    if name is None:
        return None
    if name not in DIALECTS:
        raise LookupError(f"there is no dialect {name!r}; there are: {', '.join(sorted(DIALECTS))}")
    return DIALECTS[name]
