"""Tool calls in the pieces that model servers send. Sans-IO.

The only place that decides to which call a piece belongs. Servers leave out ids and indexes, send
all calls with the index 0, repeat names and ids, and send arguments as objects.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from service.domain import ToolCall
from service.errors import BadStream
from service.ids import new_id
from service.llm.surrogates import SurrogateJoiner, replace_lone_surrogates

_OWN_FIELDS = frozenset({"index", "id", "type", "function"})
_OWN_FUNCTION_FIELDS = frozenset({"name", "arguments"})
# The checks for each piece of a call take time in proportion to both.
MAX_CALLS: Final = 256
_MAX_CHECKED_CHARS: Final = 65_536


@dataclass(slots=True)
class _OpenCall:
    """A call so far. `server_id` and `server_index` are the server's; the id may be ours."""

    index: int
    server_id: str
    server_index: Any
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    joiner: SurrogateJoiner = field(default_factory=SurrogateJoiner)

    @property
    def has_complete_arguments(self) -> bool:
        """Whether the arguments are JSON; not checked for very long ones."""
        if sum(map(len, self.arguments)) > _MAX_CHECKED_CHARS:
            return False
        try:
            msgspec.json.decode("".join(self.arguments))
        except (ValueError, RecursionError):
            return False
        return True


class ToolCallReader:
    """Assigns pieces to calls. Calls are numbered from 0 in the order of their start."""

    def __init__(self) -> None:
        self._calls: list[_OpenCall] = []

    def read(self, tool_calls: Any) -> Iterator[ToolCall]:
        """Yield the pieces in a message's `tool_calls`, each with the number of its call."""
        pieces = tool_calls if isinstance(tool_calls, list) else [tool_calls]
        objects = [each for each in pieces if isinstance(each, dict)]
        for place, piece in enumerate(map(_normalize, objects)):
            if call := self._read_piece(piece, place, len(objects)):
                yield call

    def read_legacy(self, function_call: Any) -> Iterator[ToolCall]:
        """Yield the piece in a message's `function_call`, which has a name and arguments."""
        if isinstance(function_call, dict):
            piece = {"index": "function_call", "function": function_call}
            if call := self._read_piece(piece, 0, 1):
                yield call

    def end(self) -> Iterator[ToolCall]:
        """Yield the missing ends: half of a surrogate pair, and arguments that were never sent."""
        for call in self._calls:
            rest = call.joiner.end()
            if not any(call.arguments) and not rest:
                rest = "{}"
            if rest:
                call.arguments.append(rest)
                yield ToolCall(call.index, arguments=rest)

    def _read_piece(self, piece: Mapping[str, Any], place: int, count: int) -> ToolCall | None:
        """Return the piece with the number of its call; None if it would start an empty one."""
        function = piece["function"]
        server_id, name = _read_text(piece.get("id")), _read_text(function.get("name"))
        found = self._find(piece.get("index"), server_id, name, place if count > 1 else None)
        is_new = found is None
        if is_new and not (server_id or name or function.get("arguments")):
            return None
        own_id = self._choose_id(server_id) if is_new else ""
        call = found or self._add(piece.get("index"), server_id)
        if not is_new and name == call.name:
            name = ""
        call.server_id = call.server_id or server_id
        call.name += name
        arguments = call.joiner.join(_encode_arguments(function.get("arguments")))
        call.arguments.append(arguments)
        return ToolCall(call.index, own_id, name, arguments, _list_extra_fields(piece, function))

    def _choose_id(self, server_id: str) -> str:
        """Return the id of a new call: its server's, unless another call has it."""
        is_used = any(call.server_id == server_id for call in self._calls)
        return new_id("call") if is_used or not server_id else server_id

    def _add(self, server_index: Any, server_id: str) -> _OpenCall:
        if len(self._calls) == MAX_CALLS:
            raise BadStream(f"The model's answer has more than {MAX_CALLS} tool calls.")
        call = _OpenCall(len(self._calls), server_id, server_index)
        self._calls.append(call)
        return call

    def _find(self, index: Any, server_id: str, name: str, place: int | None) -> _OpenCall | None:
        """Return the call to which a piece belongs; None when it starts a call.

        `place` is the place of the piece in a list of several.
        """
        if same := [each for each in self._calls if server_id and each.server_id == server_id]:
            return _choose_by_index(same, index, name)
        found = self._find_by_index(index, place, bool(name))
        if found is None or not name:  # only a piece with a name can start a call
            return found
        if server_id and found.server_id:
            return None
        if name == found.name:
            return None if found.has_complete_arguments else found
        is_named_in_pieces = index is not None and not any(found.arguments)
        return found if is_named_in_pieces or not found.name else None

    def _find_by_index(self, index: Any, place: int | None, has_name: bool) -> _OpenCall | None:
        if index is not None:
            same = [call for call in self._calls if call.server_index == index]
            return same[-1] if same else None
        if place is not None:
            if has_name:
                return None
            return self._calls[place] if place < len(self._calls) else None
        return self._calls[-1] if self._calls else None


def _choose_by_index(same: Sequence[_OpenCall], index: Any, name: str) -> _OpenCall | None:
    """Return the call of a piece among those with its id; None when it starts another call.

    Some servers give all calls of an answer one id, others give each piece a new index.
    """
    last = next((call for call in same if call.server_index == index), same[-1])
    is_another = name and name != last.name and None not in (index, last.server_index)
    return None if is_another and index != last.server_index else last


def _normalize(piece: Mapping[str, Any]) -> dict[str, Any]:
    """Return a piece with its name and arguments in `function`, where some servers omit it."""
    function = piece.get("function")
    if isinstance(function, dict):
        return dict(piece)
    flat = {name: piece[name] for name in _OWN_FUNCTION_FIELDS if name in piece}
    if isinstance(function, str):
        flat.setdefault("name", function)
    rest = {name: each for name, each in piece.items() if name not in _OWN_FUNCTION_FIELDS}
    return {**rest, "function": flat}


def _read_text(value: Any) -> str:
    """Return an id or a name; servers send some ids as numbers."""
    if isinstance(value, str):
        return replace_lone_surrogates(value)
    return str(value) if type(value) is int else ""


def _encode_arguments(value: Any) -> str:
    """Return arguments as JSON text; some servers send the object itself."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _list_extra_fields(piece: Mapping[str, Any], function: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a call that only its server knows, such as signatures of thoughts."""
    extra = _select_extra(piece, _OWN_FIELDS)
    if inner := _select_extra(function, _OWN_FUNCTION_FIELDS):
        extra["function"] = inner
    return _make_storable(extra) if extra else extra


def _select_extra(fields: Mapping[str, Any], own: Container[str]) -> dict[str, Any]:
    return {name: each for name, each in fields.items() if name not in own and each is not None}


def _make_storable(fields: dict[str, Any]) -> dict[str, Any]:
    """Return `fields` without lone surrogates; empty when msgspec cannot encode them."""
    text = replace_lone_surrogates(json.dumps(fields, ensure_ascii=False))
    try:
        stored: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(json.loads(text)))
    except (ValueError, OverflowError, RecursionError):  # such as integers above 64 bits
        return {}
    return stored
