"""Token counts of texts, computed locally and cached by hash.

The library includes the tables of its tokenizers: nothing is downloaded. Loading them takes 65 MB
and 50 ms with the GIL held, once per process, at the first count. The real usage of a call is
reported by the model's server.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Protocol

from service.ensembles.model_families import Encoding, family_of

if TYPE_CHECKING:
    from telemetry import AgentOperation, Telemetry

_FALLBACK_ENCODING: Final[Encoding] = "o200k"  # for models with another tokenizer than OpenAI's
# The library holds the GIL while it counts: 0.1 ms for this much prose, 3.4 ms for dashes, the
# slowest text found. A text of a megabyte would block the event loop, even from another thread.
_PIECE_CHARS = 4_096
_MAX_PIECES = 64  # of one text; a longer one is estimated from as many, evenly spread
_SPACE_SEARCH_CHARS = 128
_MAX_CHARS_AT_ONCE = 500_000  # to be hashed in the thread of the event loop; 4 ms
_MAX_TOKENS_PER_CHAR = 4  # a character is at most four bytes
_ENTRY_BYTES = 200  # measured: key, number and position


class Tokenizer(Protocol):
    """The part of the library's tokenizers that is used here."""

    def count(self, text: str, /) -> int: ...


class SharedCounts(Protocol):
    """Counts that processes share. Never raises; an unknown count is None."""

    async def get(
        self, keys: Sequence[str], parent: AgentOperation | None
    ) -> Sequence[int | None]: ...
    async def put(self, counts: Mapping[str, int], parent: AgentOperation | None) -> None: ...
    async def close(self) -> None: ...


class TokenCounter:
    """Counts tokens; the latest counts are cached in up to `limit_bytes`."""

    def __init__(self, shared: SharedCounts | None = None, limit_bytes: int = 8_388_608) -> None:
        self._shared = shared
        self._most_entries = limit_bytes // _ENTRY_BYTES
        self._known: OrderedDict[str, int] = OrderedDict()  # in order of use, latest last

    async def count(
        self, texts: Sequence[str], model: str, parent: AgentOperation | None = None
    ) -> list[int]:
        """Return the number of tokens of each text for `model`.

        Without a known tokenizer the numbers are a fifth higher, as a margin. Calls to Redis are
        spans below `parent`.
        """
        known = family_of(model).encoding
        encoding = known or _FALLBACK_ENCODING
        keys = await _make_keys(encoding, texts)
        by_key = dict(zip(keys, texts, strict=True))
        found = {key: self._known[key] for key in by_key if key in self._known}
        missing = {key: text for key, text in by_key.items() if key not in found}
        if missing and self._shared:
            found |= await _read_shared(self._shared, missing, parent)
            missing = {key: text for key, text in missing.items() if key not in found}
        if missing:
            counted = await _count_all(missing, encoding)
            found |= counted
            if self._shared:
                await self._shared.put(counted, parent)
        self._remember(found)
        return [found[key] if known else _add_margin(found[key]) for key in keys]

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._shared:
            await self._shared.close()

    def _remember(self, counts: Mapping[str, int]) -> None:
        for key, tokens in counts.items():
            self._known[key] = tokens
            self._known.move_to_end(key)
        while len(self._known) > self._most_entries:
            self._known.popitem(last=False)


def open_counter(redis_url: str | None, telemetry: Telemetry) -> TokenCounter:
    """Return a counter that shares its counts through Redis, if `redis_url` is set.

    Raises ValueError if `redis_url` is invalid.
    """
    if not redis_url:
        return TokenCounter()
    from service.llm.tokens.cache import RedisCounts

    return TokenCounter(RedisCounts(redis_url, telemetry))


def _add_margin(tokens: int) -> int:
    return -(-tokens * 6 // 5)


async def _make_keys(encoding: Encoding, texts: Sequence[str]) -> list[str]:
    def make() -> list[str]:
        return [_make_key(encoding, text) for text in texts]

    # Hashing releases the GIL. 80 MB of history take 0.7 s.
    is_long = sum(map(len, texts)) > _MAX_CHARS_AT_ONCE
    return await asyncio.to_thread(make) if is_long else make()


def _make_key(encoding: Encoding, text: str) -> str:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"llm-sse:tokens:{encoding}:{digest}"


async def _read_shared(
    shared: SharedCounts, texts: Mapping[str, str], parent: AgentOperation | None
) -> dict[str, int]:
    """Return counts of other processes, without implausible ones."""
    counts = await shared.get(list(texts), parent)
    return {
        key: tokens
        for (key, text), tokens in zip(texts.items(), counts, strict=True)
        if tokens is not None and 0 <= tokens <= _MAX_TOKENS_PER_CHAR * len(text)
    }


async def _count_all(texts: Mapping[str, str], encoding: Encoding) -> dict[str, int]:
    return await asyncio.to_thread(
        lambda: {key: _count_one(text, encoding) for key, text in texts.items()}
    )


def _count_one(text: str, encoding: Encoding) -> int:
    """Return the number of tokens of `text`; for a very long text an estimate."""
    tokenizer = _load_tokenizer(encoding)
    text = text.encode("utf-8", "replace").decode()  # without lone surrogates
    tokens = chars = 0
    for piece in _split_into_pieces(text):
        tokens += tokenizer.count(piece)
        chars += len(piece)
        time.sleep(0)  # releases the GIL for the event loop's thread
    return -(-tokens * len(text) // chars) if chars else 0


def _split_into_pieces(text: str) -> Iterator[str]:
    """Yield `text` in pieces, cut before a space if possible: no token spans such a cut.

    Yield at most _MAX_PIECES, evenly spread over a longer text.
    """
    gap = max(0, len(text) - _MAX_PIECES * _PIECE_CHARS) // _MAX_PIECES
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARS
        if end < len(text):
            space = text.rfind(" ", end - _SPACE_SEARCH_CHARS, end)
            end = space if space > start else end
        yield text[start:end]
        start = end + gap


def _load_tokenizer(encoding: Encoding) -> Tokenizer:
    """Return the tokenizer; the library loads its tables once and caches them."""
    from rs_bpe import openai  # imported here: most processes never count

    tokenizer: Tokenizer = openai.o200k_base() if encoding == "o200k" else openai.cl100k_base()
    return tokenizer
