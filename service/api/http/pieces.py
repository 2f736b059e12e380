"""Responses with long texts: loaded, encoded and sent in pieces.

As one piece, 25 MB of JSON block the event loop for 300 ms and take several times their size of
memory. A short response is sent as one piece, with its length.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, Self

from quart import Response

_BLOCK_CHARS = 65_536
_MAX_WHOLE_BYTES = 262_144  # of a response that is sent as one piece

# Loads a part of a response and returns its text in pieces.
Load = Callable[[], Awaitable[Iterable[str]]]
# Loads some items of a list.
LoadItems = Callable[[], Awaitable[Iterable[Mapping[str, Any]]]]


class PiecewiseBody:
    """The blocks of a response body; a part is loaded when those before it have been sent."""

    def __init__(self, parts: Iterable[Load]) -> None:
        self._parts = iter(parts)
        self._pieces: Iterator[str] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)  # sending does not wait while the client reads fast enough
        texts: list[str] = []
        size = 0
        while size < _BLOCK_CHARS:
            piece = next(self._pieces, None)
            if piece is not None:
                texts.append(piece)
                size += len(piece)
                continue
            load = next(self._parts, None)
            if load is None:
                break
            self._pieces = iter(await load())
        if not texts:
            raise StopAsyncIteration
        return "".join(texts).encode()


class _Remaining:
    """The blocks that were read already, then those of the body."""

    def __init__(self, ready: Sequence[bytes], body: PiecewiseBody) -> None:
        self._ready = iter(ready)
        self._body = body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        block = next(self._ready, None)
        return await anext(self._body) if block is None else block


async def respond_in_pieces(
    parts: Iterable[Load], content_type: str = "application/json"
) -> Response:
    """Return the response with these parts. Raises the errors of loading the first ones."""
    body = PiecewiseBody(parts)
    ready: list[bytes] = []
    size = 0
    async for block in body:
        ready.append(block)
        size += len(block)
        if size > _MAX_WHOLE_BYTES:
            return _stream(_Remaining(ready, body), content_type)
    return Response(b"".join(ready), content_type=content_type)


def _stream(body: PiecewiseBody | _Remaining, content_type: str) -> Response:
    response = Response(body, content_type=content_type)
    response.timeout = None  # Quart would cut the body after 60 s
    return response


def list_parts(
    before: Mapping[str, Any], name: str, loads: Iterable[LoadItems], after: Mapping[str, Any]
) -> Iterator[Load]:
    """Yield the parts of a JSON object with the list `name` between other fields."""
    yield _load_text(f"{_dump(before)[:-1]}{',' if before else ''}{_dump(name)}:[")
    separators = chain([""], repeat(","))
    for load in loads:
        yield partial(_load_items, load, separators)
    yield _load_text(f"]{',' if after else ''}{_dump(after)[1:]}\n")


def json_in_pieces(value: Any) -> Response:
    """Return the response with a JSON value."""
    if _count_chars(value) <= _BLOCK_CHARS:
        return Response(f"{_dump(value)}\n", content_type="application/json")

    async def load() -> Iterable[str]:
        return chain(encode_json(value), "\n")

    return _stream(PiecewiseBody([load]), "application/json")


def encode_json(value: Any) -> Iterator[str]:
    """Yield a JSON value in pieces: a long text is encoded part by part."""
    if _count_chars(value) <= _BLOCK_CHARS:
        yield _dump(value)
    elif isinstance(value, str):
        yield '"'
        for start in range(0, len(value), _BLOCK_CHARS):
            yield _dump(value[start : start + _BLOCK_CHARS])[1:-1]
        yield '"'
    elif isinstance(value, Mapping):
        for at, (key, each) in enumerate(value.items()):
            yield f"{',' if at else '{'}{_dump(key)}:"
            yield from encode_json(each)
        yield "}"
    else:
        for at, each in enumerate(value):
            yield "," if at else "["
            yield from encode_json(each)
        yield "]"


async def _load_items(load: LoadItems, separators: Iterator[str]) -> Iterable[str]:
    items = await load()
    return chain.from_iterable(chain([next(separators)], encode_json(item)) for item in items)


def _load_text(text: str) -> Load:
    async def load() -> Iterable[str]:
        return [text]

    return load


def _count_chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_count_chars(each) for each in value.values())
    if isinstance(value, Sequence):
        return sum(_count_chars(each) for each in value)
    return 0


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
