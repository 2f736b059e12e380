"""Content codings of a body: a server may compress although the request forbids it. Sans-IO.

The first bytes decide. Blocks are decompressed in bounded pieces, so that a small block cannot
become a large one; the decoder of the body limits the sum.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from service.errors import BadStream

_GZIP: Final = b"\x1f\x8b"
_ZLIB: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_AUTOMATIC: Final = 47  # zlib's format is detected, gzip's too
_PIECE_BYTES: Final = 4_096  # decoded before the event loop may do something else
_TEXT_STARTS: Final = (b"{", b"[", b"data:", b"event:", b"id:", b"retry:", b": ")
_FIRST_BYTES: Final = 6


class ContentDecoder:
    """Decoder of a body with the header `Content-Encoding: label`."""

    def __init__(self, label: str) -> None:
        self._label = label.strip().lower()
        self._inflater: zlib._Decompress | None = None
        self._start = b""
        self.is_plain = False  # after the first bytes: `decode` need not be called

    def decode(self, block: bytes) -> Iterator[bytes]:
        """Yield the pieces of the body in `block`.

        Raises BadStream for damaged data and for a coding that is not supported.
        """
        if self.is_plain:
            yield block
            return
        if self._inflater is None:
            self._start += block
            if len(self._start) < _FIRST_BYTES:
                return
            block, self._start = self._start, b""
            if not self._detect(block):
                self.is_plain = True
                yield block
                return
        yield from self._inflate(block)

    def finish(self) -> bytes:
        """Return the rest at the end of the body. Raises BadStream as `decode` does."""
        if self._inflater:
            return self._inflater.flush()
        if self._start:
            self._detect(self._start)
        return self._start

    def _detect(self, start: bytes) -> bool:
        """Return whether the body is compressed; a text never starts like these codings."""
        if start.startswith(_GZIP) or (self._label == "deflate" and start.startswith(_ZLIB)):
            self._inflater = zlib.decompressobj(_AUTOMATIC)
            return True
        is_text = start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_TEXT_STARTS)
        if self._label == "deflate" and not is_text:  # many servers omit zlib's header
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            return True
        if start.startswith(_ZSTD) or not (self._label in ("", "identity") or is_text):
            label = self._label or "zstd"
            raise BadStream(f"The model's server sent the encoding {label}, which is not accepted.")
        return False

    def _inflate(self, block: bytes) -> Iterator[bytes]:
        assert self._inflater is not None  # noqa: S101  (decode() above)
        try:
            while block:
                if piece := self._inflater.decompress(block, _PIECE_BYTES):
                    yield piece
                block = self._inflater.unconsumed_tail
        except zlib.error as error:
            raise BadStream("The model's server sent damaged compressed data.") from error
