"""Pictures of pages in 256 colours, a third of the size that a browser writes. No I/O.

Source: Portable Network Graphics, third edition, https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PIXEL_BYTES: Final = 3  # eight bits each of red, green and blue
_COLOURS: Final = 256

Pixel = bytes


def reduce_colours(picture: bytes) -> bytes:
    """Return an RGB picture with its 256 commonest colours; others become the nearest of them.

    Raises ValueError for another kind of picture.
    """
    chunks = dict(_read_chunks(picture))
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if kind != [8, 2, 0, 0, 0]:
        raise ValueError("the picture is not RGB with eight bits")
    rows = [*_decode_rows(zlib.decompress(chunks[b"IDAT"]), width * _PIXEL_BYTES)]
    pixels = [[*_split(row)] for row in rows]
    counts = Counter(pixel for row in pixels for pixel in row)
    palette = [pixel for pixel, _ in counts.most_common(_COLOURS)]
    indices = {pixel: index for index, pixel in enumerate(palette)}
    for pixel in counts.keys() - indices.keys():
        indices[pixel] = _find_nearest(pixel, palette)
    body = b"".join(b"\0" + bytes(indices[pixel] for pixel in row) for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = {
        b"IHDR": header,
        b"PLTE": b"".join(palette),
        b"IDAT": zlib.compress(body, 9),
        b"IEND": b"",
    }
    return _SIGNATURE + b"".join(_write_chunk(name, data) for name, data in parts.items())


def _read_chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each chunk; the parts of the image data are joined."""
    position, data = len(_SIGNATURE), b""
    while position < len(picture):
        size, name = struct.unpack(">I4s", picture[position : position + 8])
        content = picture[position + 8 : position + 8 + size]
        position += size + 12
        if name == b"IDAT":
            data += content
        else:
            yield name, content
    yield b"IDAT", data


def _write_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _decode_rows(data: bytes, row_bytes: int) -> Iterator[bytes]:
    """Yield the rows of pixels, whose bytes are stored as differences to their neighbours."""
    above = bytes(row_bytes)
    for start in range(0, len(data), row_bytes + 1):
        row = bytearray(data[start + 1 : start + 1 + row_bytes])
        _undo_filter(data[start], row, above)
        above = bytes(row)
        yield above


def _undo_filter(kind: int, row: bytearray, above: bytes) -> None:
    """Add to each byte the prediction of the filter `kind`. Source: PNG, 9.2"""
    for index, difference in enumerate(row):
        left = row[index - _PIXEL_BYTES] if index >= _PIXEL_BYTES else 0
        corner = above[index - _PIXEL_BYTES] if index >= _PIXEL_BYTES else 0
        up = above[index]
        if kind == 1:
            row[index] = (difference + left) & 255
        elif kind == 2:
            row[index] = (difference + up) & 255
        elif kind == 3:
            row[index] = (difference + ((left + up) >> 1)) & 255
        elif kind == 4:
            row[index] = (difference + _predict_paeth(left, up, corner)) & 255


def _predict_paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    return min((left, up, corner), key=lambda each: abs(estimate - each))


def _split(row: bytes) -> Iterator[Pixel]:
    return (row[each : each + _PIXEL_BYTES] for each in range(0, len(row), _PIXEL_BYTES))


def _find_nearest(pixel: Pixel, palette: Sequence[Pixel]) -> int:
    def distance(index: int) -> int:
        return sum((a - b) ** 2 for a, b in zip(pixel, palette[index], strict=True))

    return min(range(len(palette)), key=distance)
