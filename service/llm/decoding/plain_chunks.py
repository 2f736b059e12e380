"""Chunks that differ from an earlier one in nothing but their text. Sans-IO.

The chunks of one stream are nearly always equal up to their text. The bytes around the text of a
decoded chunk are remembered; when later events have the same bytes, their text is what lies
between them. This costs a tenth of decoding the JSON, and is as exact: equal bytes have an equal
meaning, and the text must be a JSON string that does not end before its quotation mark.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

_KEY: Final = b'"content"'
_DATA: Final = b"data: "
_END: Final = b"\n\n"
# Chunks that are remembered without a later equal one: some servers send other bytes each time.
_MOST_TRIALS: Final = 8

_decode_text = msgspec.json.Decoder(str).decode


class FoundText(NamedTuple):
    """The text of the first `chunks` events of a block, which are its first `size` bytes."""

    text: str
    chunks: int
    size: int


class PlainChunks:
    """The bytes around the text of the chunks of one stream."""

    __slots__ = ("_after", "_before", "_between", "_trials_left", "is_known")

    def __init__(self) -> None:
        self._before = self._between = self._after = b""
        self._trials_left = _MOST_TRIALS
        self.is_known = False

    def learn(self, data: bytes, text: str) -> None:
        """Remember the bytes around `text`, the content of the chunk `data`, which has no more."""
        if not self._trials_left:
            return
        self._trials_left -= 1
        value = b'"%b"' % text.encode("utf-8", "replace")
        start = data.find(_KEY) + len(_KEY)
        at = data.find(value, start)
        self.is_known = (
            data.count(_KEY) == 1  # also not in a nested object
            and data[start:at].strip() == b":"
            and b"\n" not in data
            and b"\r" not in data
        )
        if self.is_known:
            self._before = _DATA + data[: at + 1]
            self._after = data[at + len(value) - 1 :] + _END
            self._between = self._after + self._before

    def read(self, block: bytes) -> FoundText | None:
        """Return the text of the events at the start of `block`; None if they are not such chunks.

        The block must start with an event.
        """
        if not block.startswith(self._before):
            return None
        end = block.rfind(self._after)
        texts = block[len(self._before) : end].split(self._between)
        joined = b"".join(texts)
        # An event with other bytes is among the texts, with its line end. One without text has
        # no token.
        if end < 0 or b"\n" in joined or b"\r" in joined or b"" in texts:
            return None
        try:
            if b"\\" in joined or b'"' in joined:
                text = "".join([_decode_text(b'"%b"' % each) for each in texts])
            else:
                text = joined.decode()
        except ValueError:
            return None
        self._trials_left = _MOST_TRIALS
        return FoundText(text, len(texts), end + len(self._after))
