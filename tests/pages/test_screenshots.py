"""`make screenshots`: pictures of the pages in every look."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import environment
from tests._support.servers.programs import chromium
from tools.png import reduce_colours
from tools.screenshots import LOOKS

_PNG = b"\x89PNG\r\n\x1a\n"


def _read_size(picture: bytes) -> tuple[int, int]:
    """Return the width and the height that the header of a PNG file states."""
    assert picture.startswith(_PNG)
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def test_each_look_of_a_page_is_taken_from_a_service_with_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.screenshots", "--to", str(tmp_path)]
    taken = subprocess.run(
        [*command, "--only", "account"],
        cwd=ROOT,
        env=environment({"CHROMIUM": chromium()}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
    )
    assert taken.returncode == 0, taken.stderr
    for look, options in LOOKS.items():
        picture = (tmp_path / f"account-{look}.png").read_bytes()
        window = options["viewport"]
        assert _read_size(picture) == (window["width"], window["height"])
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == len(LOOKS)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_the_colours_of_a_picture_are_read_with_every_filter(kind: int) -> None:
    """Rows of the differences that filter `kind` stores, for a picture of four equal pixels."""
    pixel, none = bytes((9, 8, 7)), bytes(3)
    half = bytes((pixel[0] - pixel[0] // 2, pixel[1] - pixel[1] // 2, pixel[2] - pixel[2] // 2))
    first = {0: pixel + pixel, 1: pixel + none, 2: pixel + pixel, 3: pixel + half, 4: pixel + none}
    second = {0: pixel + pixel, 1: pixel + none, 2: none + none, 3: half + none, 4: none + none}
    data = bytes((kind,)) + first[kind] + bytes((kind,)) + second[kind]
    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    picture = _PNG + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", 0)
        for name, content in chunks
    )
    reduced = reduce_colours(picture)
    assert _read_size(reduced) == (2, 2)
    palette = reduced[reduced.index(b"PLTE") + 4 :][:3]
    start = reduced.index(b"IDAT") + 4
    size = struct.unpack(">I", reduced[start - 8 : start - 4])[0]
    assert palette == pixel
    assert zlib.decompress(reduced[start : start + size]) == bytes(6)


def test_the_pictures_in_the_repository_are_small() -> None:
    pictures = [*(ROOT / "docs" / "images").glob("*.png")]
    assert sum(each.stat().st_size for each in pictures) < 1_500_000
