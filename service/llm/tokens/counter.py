"""How many tokens a text is: counted here, and remembered by its hash.

The tables come with the library: nothing is downloaded. They take 65 MB, and 50 ms in which no
other thread goes on, once per process and only when something is counted. What a call really
used is for its server to say.
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

_FALLBACK_ENCODING: Final[Encoding] = "o200k"  # stands in for tokenizers that are not OpenAI's
# The library holds the GIL while it counts: 0.1 ms for this much prose, 3.4 ms for dashes, the
# worst we found. Text by the megabyte would stop the event loop from any thread.
_PIECE_CHARS = 4_096
_MAX_PIECES = 64  # of one text; what is longer is estimated from as many, evenly spread
_SPACE_SEARCH_CHARS = 128
_MAX_TOKENS_PER_CHAR = 4  # a character is at most four bytes
_ENTRY_BYTES = 200  # measured: key, number, and their place in the order


class Tokenizer(Protocol):
    """What is used of the library's tokenizers."""

    def count(self, text: str, /) -> int: ...


class SharedCounts(Protocol):
    """Counts that other processes know too. Never raises; what it does not know is None."""

    async def get(
        self, keys: Sequence[str], parent: AgentOperation | None
    ) -> Sequence[int | None]: ...
    async def put(self, counts: Mapping[str, int], parent: AgentOperation | None) -> None: ...
    async def close(self) -> None: ...


class TokenCounter:
    """Counts tokens, each text once for as long as it is remembered (`limit_bytes`)."""

    def __init__(self, shared: SharedCounts | None = None, limit_bytes: int = 8_388_608) -> None:
        self._shared = shared
        self._most_entries = limit_bytes // _ENTRY_BYTES
        self._known: OrderedDict[str, int] = OrderedDict()  # the latest used last

    async def count(
        self, texts: Sequence[str], model: str, parent: AgentOperation | None = None
    ) -> list[int]:
        """Return the tokens of each text for `model`, a fifth too many where its tokenizer is not
        known; calls to Redis are spans below `parent`.
        """
        known = family_of(model).encoding
        encoding = known or _FALLBACK_ENCODING
        keys = [_make_key(encoding, text) for text in texts]
        asked = dict(zip(keys, texts, strict=True))
        found = {key: self._known[key] for key in asked if key in self._known}
        missing = {key: text for key, text in asked.items() if key not in found}
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
    """Return a counter that shares what it counts through Redis when there is one.

    Raises ValueError when `redis_url` is none.
    """
    if not redis_url:
        return TokenCounter()
    # Here, not above: 150 ms of imports that only those with Redis need.
    from service.llm.tokens.cache import RedisCounts

    return TokenCounter(RedisCounts(redis_url, telemetry))


def _add_margin(tokens: int) -> int:
    return -(-tokens * 6 // 5)


def _make_key(encoding: Encoding, text: str) -> str:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"llm-sse:tokens:{encoding}:{digest}"


async def _read_shared(
    shared: SharedCounts, texts: Mapping[str, str], parent: AgentOperation | None
) -> dict[str, int]:
    """Return what others have counted, as far as it can be true."""
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
    """Return the tokens of `text`; for a very long one an estimate."""
    tokenizer = _load_tokenizer(encoding)
    text = text.encode("utf-8", "replace").decode()  # lone surrogates are no text
    tokens = chars = 0
    for piece in _split_into_pieces(text):
        tokens += tokenizer.count(piece)
        chars += len(piece)
        time.sleep(0)  # lets the event loop's thread go on
    return -(-tokens * len(text) // chars) if chars else 0


def _split_into_pieces(text: str) -> Iterator[str]:
    """Yield `text` in pieces, cut before spaces as far as there are: no token spans such a cut.

    Of a text of more than _MOST_PIECES pieces as many are taken, evenly spread.
    """
    apart = max(0, len(text) - _MAX_PIECES * _PIECE_CHARS) // _MAX_PIECES
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARS
        if end < len(text):
            space = text.rfind(" ", end - _SPACE_SEARCH_CHARS, end)
            end = space if space > start else end
        yield text[start:end]
        start = end + apart


def _load_tokenizer(encoding: Encoding) -> Tokenizer:
    """Return the tokenizer; the library loads its tables once and keeps them."""
    from rs_bpe import openai  # here, not above: most processes never count

    tokenizer: Tokenizer = openai.o200k_base() if encoding == "o200k" else openai.cl100k_base()
    return tokenizer
