"""`make screenshots`: pictures of the pages in every look."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import environment
from tests._support.servers.programs import chromium
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


def test_the_pictures_in_the_repository_are_small() -> None:
    pictures = [*(ROOT / "docs" / "images").glob("*.png")]
    assert sum(each.stat().st_size for each in pictures) < 1_500_000
